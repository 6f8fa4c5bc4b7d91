"""Damaging a store as a failing disk does: one bit of one entry, of every kind in turn."""

import random
from pathlib import Path

from minbuild.cache.store import Store
from minbuild.pipeline import cache_maintenance


def list_entries_by_kind(store: Path) -> dict[str, list[Path]]:
    """The files of a store that hold entries, by kind."""
    opened = Store(store)
    by_path = cache_maintenance.classify_files(opened)
    by_kind: dict[str, list[Path]] = {}
    for path in cache_maintenance.list_files(opened):
        by_kind.setdefault(by_path.get(path.name, "content"), []).append(path)
    tools = [path for path in sorted((store / "trees").rglob("*")) if path.is_file()]
    by_kind["tool"] = [path for path in tools if not path.is_symlink() and path.stat().st_size]
    by_kind["record"] = [opened.current_file]
    return {kind: paths for kind, paths in by_kind.items() if paths}


def flip(path: Path, source: random.Random) -> None:
    """Turn one bit over, wherever it falls."""
    data = bytearray(path.read_bytes())
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


def cut(path: Path, source: random.Random) -> None:
    """Lose the end of a file."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(source.randrange(max(path.stat().st_size, 1)))
    path.chmod(mode)
