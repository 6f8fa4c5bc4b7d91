"""Last build into a directory, and whether another one would write the same.

A `make` without a change asks here, and imports nothing else of the pipeline, nor what reads and
shows footprints: a third of its time.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.lazy_import import import_lazily
from minbuild.manifest.model import Manifest
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.session import (
    BuildRequest,
    CacheRecovery,
    Session,
    digest_source_code,
    locate_lock,
    locate_output,
)

if TYPE_CHECKING:
    from minbuild.dib import elements
    from minbuild.footprint import document
    from minbuild.footprint.model import Footprint
else:  # few manifests have dib images; the footprint is read when it is asked for
    (elements,) = import_lazily("minbuild.dib", "elements")
    (document,) = import_lazily("minbuild.footprint", "document")


@dataclass(frozen=True)
class BuildResult:
    """A manifest whose images are in a directory."""

    manifest: Manifest
    directory: Path
    rebuilt: bool
    """False: nothing has changed since the last build, whose images these are."""

    @cached_property
    def footprint(self) -> "Footprint":
        """What the build measured, read when it is asked for."""
        return document.read_footprint(self.read_document(), str(self.directory / "footprint.json"))

    def read_document(self) -> str:
        """The text of its footprint.json."""
        return (self.directory / "footprint.json").read_text(encoding="utf-8")


def find_last_build(request: BuildRequest, session: Session) -> BuildResult | None:
    """The last build of a manifest when building again would write the same; else None.

    That of an installed root or with elements never counts: what they read is not recorded.
    Raises: ManifestError with every problem of the manifest.
    """
    recovery = CacheRecovery(session)
    while True:
        with recovery:
            manifest = load_manifest(request, session)
            inputs_digest = digest_inputs(manifest, session.store)
            if manifest.archive.root or manifest.elements:
                return None
            directory = locate_output(request, manifest)
            build_digest = digest_build(inputs_digest, locate_lock(request, manifest))
            if not is_current(session.store, directory, build_digest):
                return None
            return BuildResult(manifest, directory, rebuilt=False)


def digest_inputs(manifest: Manifest, store: Store) -> str:
    """What a build's outputs depend on beside its lock, as a digest: manifest, elements, this code."""
    digest = hashlib.sha256(repr(manifest).encode())
    digest.update(digest_source_code(store).encode())
    for dib_settings in manifest.image.dib:
        digest.update(elements.fingerprint_elements(dib_settings.elements).encode())
    return digest.hexdigest()


def digest_build(inputs_digest: str, lock_path: Path) -> str:
    """All that a build's outputs depend on, as a digest."""
    return hashlib.sha256(
        inputs_digest.encode() + (lock_path.read_bytes() if lock_path.exists() else b"")
    ).hexdigest()


def record_outputs(
    store: Store, directory: Path, build_digest: str, outputs: Iterable[Path]
) -> None:
    """Note what a finished build wrote."""
    top = directory.resolve()
    stamps = {path.relative_to(top).as_posix(): _read_stamp(path) for path in sorted(outputs)}
    record = {"key": build_digest, "outputs": stamps}
    store.put(RecordKind.BUILD, {str(top): json.dumps(record, sort_keys=True).encode()})


def update_stamp(store: Store, directory: Path, name: str) -> None:
    """Note that an output of a finished build was written again, and that it is still of that build."""
    value = store.get(RecordKind.BUILD, str(directory.resolve()))
    if value is None:
        return
    record = json.loads(value)
    if name in record["outputs"]:
        record["outputs"][name] = _read_stamp(directory / name)
        store.put(
            RecordKind.BUILD,
            {str(directory.resolve()): json.dumps(record, sort_keys=True).encode()},
        )


def is_current(store: Store, directory: Path, build_digest: str) -> bool:
    """Tell whether building there again would write what the last build did."""
    value = store.get(RecordKind.BUILD, str(directory.resolve()))
    if value is None:
        return False
    record = json.loads(value)
    if record["key"] != build_digest:
        return False
    for name, stamp in record["outputs"].items():
        path = directory / name
        if not path.exists() or _read_stamp(path) != stamp:
            return False
    return True


def find_page(store: Store, built: BuildResult, *, top: int, columns: int) -> str | None:
    """What was shown of a build that nothing has changed; None when that is not known.

    `top` and `columns`: rows and width that it is cut to.
    """
    page = store.get(RecordKind.BUILD_PAGE, str(built.directory.resolve()))
    if page is None:
        return None
    digest, _, text = page.decode().partition("\n")
    return text if digest == _digest_page(store, built.directory, top, columns) else None


def record_page(store: Store, built: BuildResult, page: str, *, top: int, columns: int) -> None:
    """Keep what is shown of a build as long as nothing changes."""
    digest = _digest_page(store, built.directory, top, columns)
    text = f"{digest}\n{page}".encode()
    store.put(RecordKind.BUILD_PAGE, {str(built.directory.resolve()): text})


def _digest_page(store: Store, directory: Path, top: int, columns: int) -> str:
    """A digest over inputs and outputs of the last build there, and all else that a page shows."""
    build = store.get(RecordKind.BUILD, str(directory.resolve())) or b""
    return hashlib.sha256(f"{directory}\n{top}\n{columns}\n".encode() + build).hexdigest()


def _read_stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
