"""Looking after a store: what it holds, what of it is damaged, what nobody has used for long."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from minbuild.archive import compact, suite
from minbuild.build import tools
from minbuild.facts import record
from minbuild.facts.types import Entry, Kind
from minbuild.image import segments
from minbuild.store import Lost, Store
from minbuild.toolbox import intact
from minbuild.toolbox.lay import inner, tree_key

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of entry takes up."""

    kind: str
    """package, index, segment, content, tool, record or partial."""
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Wound:
    """An entry that was damaged, and is gone."""

    kind: str
    name: str


def size(store: Store) -> tuple[Row, ...]:
    """What the store takes up, by kind; in a fixed order."""
    known = kinds(store)
    found = dict.fromkeys(("package", "index", "segment", "content"), (0, 0))
    for path in files(store):
        kind = known.get(path.name, "content")
        entries, total = found[kind]
        found[kind] = (entries + 1, total + _stat(path).st_size)
    rows = [Row(kind, *counted) for kind, counted in found.items()]
    rows.append(_tree("tool", store.directory / "trees"))
    databases = [path for path in store.directory.glob("records-*") if path.is_file()]
    rows.append(Row("record", store.count(), sum(_stat(path).st_size for path in databases)))
    rows.append(_tree("partial", store.directory / "partial"))
    return tuple(rows)


def check(store: Store) -> tuple[int, tuple[Wound, ...]]:
    """Hold every entry against its digest; a damaged one is removed, so that it is made anew.

    Returns how many entries were checked, and the damaged ones, sorted.
    """
    known = kinds(store)
    paths = list(files(store))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        sound = list(pool.map(lambda path: store.sound(path.name) is not None, paths))
    wounds = [
        Wound(known.get(path.name, "content"), path.name)
        for path, good in zip(paths, sound, strict=True)
        if not good
    ]
    for path in [path for path in (store.directory / "files").glob("*/*") if path not in paths]:
        wounds.append(Wound("stranger", path.name))  # not named as the store names its files
        path.unlink(missing_ok=True)
    trees = list(_check_trees(store))
    wounds += [wound for wound in trees if wound is not None]
    counted, bad = store.check_records()
    wounds += [Wound("record", name) for name in bad]
    checked = len(paths) + len(trees) + counted
    return checked, tuple(sorted(wounds, key=lambda wound: (wound.kind, wound.name)))


def collect(store: Store, *, days: int) -> tuple[Row, ...]:
    """Remove what nobody has read for `days`, and what killed builds left a day ago.

    Returns what went, by kind. What a build needs again is fetched or made anew.
    """
    now = time.time()
    gone: dict[str, list[int]] = {}
    known = kinds(store)
    for path in files(store):
        stat = _stat(path)
        if now - max(stat.st_atime, stat.st_mtime) >= days * DAY:
            path.unlink(missing_ok=True)
            gone.setdefault(known.get(path.name, "content"), []).append(stat.st_size)
    for name, kind, age in (("trees", "tool", days), ("partial", "partial", max(days, 1))):
        for path in sorted((store.directory / name).iterdir()):
            if now - _newest(path) >= age * DAY:
                gone.setdefault(kind, []).append(_tree(kind, path).bytes)
                _remove(path)
    for path in sorted(store.directory.glob("records-*.sqlite*")):
        current = path.name.startswith(store.records.name)
        if not current and now - path.stat().st_mtime >= max(days, 1) * DAY:
            gone.setdefault("record", []).append(path.stat().st_size)
            path.unlink(missing_ok=True)
    store.shrink()
    return tuple(Row(kind, len(sizes), sum(sizes)) for kind, sizes in sorted(gone.items()))


def files(store: Store) -> Iterator[Path]:
    """Every file of the store that is named by a digest, sorted."""
    for path in sorted((store.directory / "files").glob("*/*")):
        if len(path.name) == 64 and path.parent.name == path.name[:2]:
            yield path


def packages(store: Store) -> tuple[str, ...]:
    """Digests of the packages that the store holds, sorted."""
    known = kinds(store)
    return tuple(path.name for path in files(store) if known.get(path.name) == "package")


def kinds(store: Store) -> dict[str, str]:
    """Digest → kind, of every file that a record tells of; all others are contents."""
    found = dict.fromkeys(store.get_all(record.FILES), "package")
    found |= {value.decode(): "segment" for value in store.get_all(segments.KIND).values()}
    indices = store.get_all(compact.FORMAT)
    found |= dict.fromkeys(indices, "index")
    found |= {value.decode(): "index" for value in indices.values()}
    found |= dict.fromkeys(store.get_all(suite.READ), "index")
    return found


def _check_trees(store: Store) -> Iterator[Wound | None]:
    for value in store.get_all(tools.KIND).values():
        entries: list[Entry] = [one.entry for one in tools.read_rows(json.loads(value))]
        place = store.tree(tree_key(entries))
        if not place.is_dir():
            continue
        links = {one.path: inner(one.path, one.target) for one in entries if one.kind is Kind.LINK}
        try:
            intact.check(place, entries, links, store)
        except Lost as lost:
            yield Wound("tool", lost.where.rpartition(": ")[2])
        else:
            yield None


def _tree(kind: str, top: Path) -> Row:
    """A directory's own entries, and the bytes of all files below."""
    if not top.is_dir():
        return Row(kind, 1, _stat(top).st_size)
    below = [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    return Row(kind, sum(1 for _ in top.iterdir()), sum(_stat(path).st_size for path in below))


def _newest(top: Path) -> float:
    """When something below a path was last read or written."""
    stats = [_stat(path) for path in (top, *top.rglob("*"))]
    return max(max(stat.st_atime, stat.st_mtime) for stat in stats)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _stat(path: Path) -> os.stat_result:
    """Of a path that another process may remove: then as empty and long unused."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return os.stat_result((0,) * 10)
