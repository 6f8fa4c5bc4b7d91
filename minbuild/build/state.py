"""Telling that nothing has changed since the last build into a directory."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from minbuild.footprint import document
from minbuild.footprint.types import Footprint
from minbuild.manifest.types import Manifest
from minbuild.store import Store

KIND = "built/1"


def cause(manifest: Manifest) -> str:
    """What a build's outputs depend on beside its lock, as a digest: manifest, elements, this code."""
    digest = hashlib.sha256(repr(manifest).encode())
    digest.update(code().encode())
    for wish in manifest.image.dib:
        from minbuild.dib.elements import fingerprint

        digest.update(fingerprint(wish.elements).encode())
    return digest.hexdigest()


def key(cause: str, lock: Path) -> str:
    """All that a build's outputs depend on, as a digest."""
    return hashlib.sha256(
        cause.encode() + (lock.read_bytes() if lock.exists() else b"")
    ).hexdigest()


@cache
def code() -> str:
    """This very code, as a digest of its files' sizes and times of change."""
    import minbuild

    top = Path(minbuild.__file__).parent
    parts = []
    for path in sorted(top.rglob("*.py")):
        stat = path.stat()
        parts.append(f"{path.relative_to(top)} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def remember(store: Store, directory: Path, key: str, outputs: Iterable[Path]) -> None:
    """Note what a finished build wrote."""
    top = directory.resolve()
    stamps = {path.relative_to(top).as_posix(): _stamp(path) for path in sorted(outputs)}
    record = {"key": key, "outputs": stamps}
    store.put(KIND, {str(top): json.dumps(record, sort_keys=True).encode()})


def restamp(store: Store, directory: Path, name: str) -> None:
    """Note that an output of a finished build was written again, and that it is still of that build."""
    value = store.get(KIND, str(directory.resolve()))
    if value is None:
        return
    record = json.loads(value)
    if name in record["outputs"]:
        record["outputs"][name] = _stamp(directory / name)
        store.put(KIND, {str(directory.resolve()): json.dumps(record, sort_keys=True).encode()})


def unchanged(store: Store, directory: Path, key: str) -> Footprint | None:
    """The footprint of the last build there, when building again would write the same."""
    value = store.get(KIND, str(directory.resolve()))
    if value is None:
        return None
    record = json.loads(value)
    if record["key"] != key:
        return None
    for name, stamp in record["outputs"].items():
        path = directory / name
        if not path.exists() or _stamp(path) != stamp:
            return None
    path = directory / "footprint.json"
    return document.read(path.read_text(encoding="utf-8"), str(path))


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
