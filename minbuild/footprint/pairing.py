"""Which path of one tree is which of another: by name, content, version, or a moved directory."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from minbuild.footprint.types import FileRow

VERSION = re.compile(r"\d+(?:[.+~:-]?[0-9a-z]*\d[0-9a-z]*)*(?:-[a-z]+-(?:amd64|arm64|riscv64))?")
"""Numbers with what a version writes between them: 6.12.117+deb13-cloud-amd64, 2.0.so excluded."""

Pairs = dict[str, str]
Rows = Mapping[str, FileRow]


def pair(before: Rows, after: Rows) -> Pairs:
    """Path before → path after, for all that is in both; the same pairs whichever way it is asked.

    Passes, each over what the last one left: the same path; the same content, when no other file
    has it; the same path but for versions, within a component; a directory that moved as a whole.
    """
    pairs = {path: path for path in before if path in after}
    for match in (_content, _version, _directory):
        gone = {path: row for path, row in before.items() if path not in pairs}
        taken = set(pairs.values())
        new = {path: row for path, row in after.items() if path not in taken}
        if not gone or not new:
            break
        pairs |= match(gone, new)
    return pairs


def normalised(path: str) -> str:
    """A path or package name without its version numbers."""
    return VERSION.sub("#", path)


def _content(gone: Rows, new: Rows) -> Pairs:
    return _unique(gone, new, lambda row: row.sha256 if row.type == "file" and row.size else "")


def _version(gone: Rows, new: Rows) -> Pairs:
    return _unique(gone, new, lambda row: f"{row.type} {row.component} {normalised(row.path)}")


def _unique(gone: Rows, new: Rows, key: Callable[[FileRow], str]) -> Pairs:
    """Pair what has a key that stands once on each side; "" is no key."""
    left, right = _once(gone.values(), key), _once(new.values(), key)
    return {left[name]: right[name] for name in left.keys() & right.keys()}


def _once(rows: Iterable[FileRow], key: Callable[[FileRow], str]) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if name := key(row):
            found[name].append(row.path)
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}


def _directory(gone: Rows, new: Rows) -> Pairs:
    """Files of a directory that moved: one new directory alone has most of its names."""
    before, after = _listed(gone), _listed(new)
    by_name: dict[str, list[str]] = defaultdict(list)
    for directory, names in after.items():
        for name in names:
            by_name[name].append(directory)
    moves = [
        (directory, other)
        for directory, names in before.items()
        for other, votes in Counter(o for name in names for o in by_name[name]).items()
        if 2 * votes > max(len(names), len(after[other]))
    ]
    left, right = Counter(one for one, _ in moves), Counter(other for _, other in moves)
    return {
        f"{directory}/{name}": f"{other}/{name}"
        for directory, other in moves
        if left[directory] == right[other] == 1
        for name in before[directory] & after[other]
        if gone[f"{directory}/{name}"].type == new[f"{other}/{name}"].type
    }


def _listed(rows: Rows) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in rows:
        directory, name = posixpath.split(path)
        if directory != "/":
            found[directory].add(name)
    return found
