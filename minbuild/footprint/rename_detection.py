"""Detection of renamed paths: by name, content, version, or a moved directory."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from minbuild.footprint.model import FileRow

VERSION_PATTERN = re.compile(
    r"\d+(?:[.+~:-]?[0-9a-z]*\d[0-9a-z]*)*(?:-[a-z]+-(?:amd64|arm64|riscv64))?"
)
"""Numbers with what a version writes between them: 6.12.117+deb13-cloud-amd64, 2.0.so excluded."""

PathPairs = dict[str, str]
FileRows = Mapping[str, FileRow]


def match_paths(before: FileRows, after: FileRows) -> PathPairs:
    """Path before → path after, for all that is in both; the same pairs whichever way it is asked.

    Passes, each over what the last one left: the same path; the same content, when no other file
    has it; the same path but for versions, within a component; a directory that moved as a whole.
    """
    pairs = {path: path for path in before if path in after}
    for match in (_match_by_content, _match_by_version, _match_moved_directories):
        removed = {path: row for path, row in before.items() if path not in pairs}
        paired = set(pairs.values())
        added = {path: row for path, row in after.items() if path not in paired}
        if not removed or not added:
            break
        pairs |= match(removed, added)
    return pairs


def strip_version(path: str) -> str:
    """A path or package name without its version numbers."""
    return VERSION_PATTERN.sub("#", path)


def _match_by_content(removed: FileRows, added: FileRows) -> PathPairs:
    return _match_unique_keys(
        removed, added, lambda row: row.sha256 if row.type == "file" and row.size else ""
    )


def _match_by_version(removed: FileRows, added: FileRows) -> PathPairs:
    return _match_unique_keys(
        removed, added, lambda row: f"{row.type} {row.component} {strip_version(row.path)}"
    )


def _match_unique_keys(
    removed: FileRows, added: FileRows, key: Callable[[FileRow], str]
) -> PathPairs:
    """Pair paths with a key that occurs once on each side; "" is no key."""
    before, after = _index_unique(removed.values(), key), _index_unique(added.values(), key)
    return {before[name]: after[name] for name in before.keys() & after.keys()}


def _index_unique(rows: Iterable[FileRow], key: Callable[[FileRow], str]) -> dict[str, str]:
    paths_by_key: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if name := key(row):
            paths_by_key[name].append(row.path)
    return {name: paths[0] for name, paths in paths_by_key.items() if len(paths) == 1}


def _match_moved_directories(removed: FileRows, added: FileRows) -> PathPairs:
    """Files of a directory that moved: one new directory alone has most of its names."""
    before, after = _list_directories(removed), _list_directories(added)
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
    sources, targets = Counter(one for one, _ in moves), Counter(other for _, other in moves)
    return {
        f"{directory}/{name}": f"{other}/{name}"
        for directory, other in moves
        if sources[directory] == targets[other] == 1
        for name in before[directory] & after[other]
        if removed[f"{directory}/{name}"].type == added[f"{other}/{name}"].type
    }


def _list_directories(rows: FileRows) -> dict[str, set[str]]:
    names_by_directory: dict[str, set[str]] = defaultdict(set)
    for path in rows:
        directory, name = posixpath.split(path)
        if directory != "/":
            names_by_directory[directory].add(name)
    return names_by_directory
