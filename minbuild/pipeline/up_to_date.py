"""Telling that nothing has changed since the last build into a directory."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from minbuild.cache.kinds import RecordKind
from minbuild.cache.store import Store
from minbuild.footprint import document
from minbuild.footprint.model import Footprint
from minbuild.manifest.model import Manifest


def digest_inputs(manifest: Manifest) -> str:
    """What a build's outputs depend on beside its lock, as a digest: manifest, elements, this code."""
    digest = hashlib.sha256(repr(manifest).encode())
    digest.update(digest_source_code().encode())
    for dib_settings in manifest.image.dib:
        from minbuild.dib.elements import fingerprint_elements

        digest.update(fingerprint_elements(dib_settings.elements).encode())
    return digest.hexdigest()


def digest_build(inputs_digest: str, lock_path: Path) -> str:
    """All that a build's outputs depend on, as a digest."""
    return hashlib.sha256(
        inputs_digest.encode() + (lock_path.read_bytes() if lock_path.exists() else b"")
    ).hexdigest()


@cache
def digest_source_code() -> str:
    """This very code, as a digest of its files' sizes and times of change."""
    import minbuild

    top = Path(minbuild.__file__).parent
    parts = []
    for path in sorted(top.rglob("*.py")):
        stat = path.stat()
        parts.append(f"{path.relative_to(top)} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


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


def find_current_footprint(store: Store, directory: Path, build_digest: str) -> Footprint | None:
    """The footprint of the last build there, when building again would write the same."""
    value = store.get(RecordKind.BUILD, str(directory.resolve()))
    if value is None:
        return None
    record = json.loads(value)
    if record["key"] != build_digest:
        return None
    for name, stamp in record["outputs"].items():
        path = directory / name
        if not path.exists() or _read_stamp(path) != stamp:
            return None
    path = directory / "footprint.json"
    return document.read_footprint(path.read_text(encoding="utf-8"), str(path))


def _read_stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
