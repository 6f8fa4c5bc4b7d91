"""Chains of needs that lead to a path, its other possible sources, and paths with a similar name."""

import difflib
import heapq
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from minbuild.footprint.model import STRING_PRIORITY, FileRow, Footprint, WaiverRow
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob
from minbuild.resolve.model import Need, NeedKind, OptionalFile

MAX_SIMILAR = 3
_ENDINGS = re.compile(r"\.ko(\.(xz|zst|gz))?$|\.so[.0-9]*$")
_MIN_RATIO = 0.75
_MIN_LETTERS = 3
"""Letters of a name that another may begin with."""


def find_similar(path: RootPath, paths: Iterable[RootPath]) -> tuple[RootPath, ...]:
    """Find those of `paths` whose last name is nearest: the same, a form of it, or one misspelt."""
    target_name, directory = _basename(path), path.rpartition("/")[0]
    ranked = [
        (_rank(target_name, _basename(one)), _count_steps(directory, one), one) for one in paths
    ]
    best = sorted(candidate for candidate in ranked if candidate[0] < _FAR)[:MAX_SIMILAR]
    sure = [one for rank, _, one in best if rank[0] < _GUESS]
    if not best:
        return _find_containing(target_name, ranked)
    return tuple(sure or (one for _, _, one in best))  # a namesake leaves no room for guesses


def _find_containing(
    target_name: str, ranked: Iterable[tuple[object, int, RootPath]]
) -> tuple[RootPath, ...]:
    """Paths whose last name has the wanted one in it, or what all libraries would call it."""
    stem = _strip_affixes(target_name).removeprefix("lib")
    if len(stem) < _MIN_LETTERS:
        return ()
    matches = sorted(
        (len(_basename(one)), apart, one) for _, apart, one in ranked if stem in _basename(one)
    )
    return tuple(one for _, _, one in matches[:MAX_SIMILAR])


_SAME, _FORMED, _GUESS, _NONE = range(4)
_FAR = (_NONE, 0.0)


def _rank(target_name: str, name: str) -> tuple[int, float]:
    """How far two last names are apart; _FAR for strangers."""
    if target_name == name:
        return (_SAME, 0.0)
    target_stem, name_stem = _strip_affixes(target_name), _strip_affixes(name)
    if target_stem == name_stem:
        return (_FORMED, 0.0)
    if not target_stem or not name_stem or target_stem[0] != name_stem[0]:
        return _FAR  # hardly anybody misspells the first letter, and most strangers differ in it
    shorter, longer = sorted((target_stem, name_stem), key=len)
    ratio = 2 * len(shorter) / (len(target_stem) + len(name_stem))  # at the most
    ratio = (
        difflib.SequenceMatcher(None, target_stem, name_stem).ratio()
        if ratio >= _MIN_RATIO
        else ratio
    )
    if ratio >= _MIN_RATIO or (len(shorter) >= _MIN_LETTERS and _has_prefix(shorter, longer)):
        return (_GUESS, 1 - ratio)
    return _FAR


def _has_prefix(shorter: str, longer: str) -> bool:
    """Tell whether one name is the first words of the other: kvm of kvm_amd."""
    return longer.startswith(shorter) and not longer[len(shorter)].isalnum()


def _strip_affixes(name: str) -> str:
    """What is left of a name without what all libraries or all modules share."""
    stem = _ENDINGS.sub("", name)
    if stem == name:
        return name
    return stem.removeprefix("lib") if ".so" in name else stem.replace("-", "_")


def _basename(path: RootPath) -> str:
    return path.rpartition("/")[2]


def _count_steps(directory: str, path: RootPath) -> int:
    """How many directories must be left and entered between the two."""
    ours, theirs = directory.split("/"), path.split("/")[:-1]
    shared = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    shared = min(len(ours), len(theirs)) if shared is None else shared
    return len(ours) + len(theirs) - 2 * shared


Chain = tuple[Need, ...]
"""From a component down: each need's `path` is the next one's `by`."""


def find_chains(
    needs: Iterable[Need], path: RootPath, *, limit: int | None = None
) -> tuple[Chain, ...]:
    """List the chains to `path`, shortest first and without circles; no more than `limit`.

    Of chains of one length the order is that of their needs, from `path` upwards.
    """
    return tuple(islice(iterate_chains(needs, path), limit))


def iterate_chains(needs: Iterable[Need], path: RootPath) -> Iterator[Chain]:
    """Yield chains one by one: all of them can be very many."""
    by_path: dict[str, list[Need]] = {}
    for need in sorted(set(needs)):
        by_path.setdefault(need.path, []).append(need)
    height = _measure_heights(by_path)
    if path not in height:
        return
    # a chain grows from `path` upwards; what is still to climb is known, so the first that
    # arrives at a component is the shortest
    heap: list[tuple[int, tuple[Need, ...]]] = [(height[path], ())]
    while heap:
        _, partial = heapq.heappop(heap)
        top = partial[-1].needed_by if partial else path
        if partial and not top.startswith("/"):
            yield partial[::-1]
            continue
        walked = {need.path for need in partial}
        for need in by_path.get(top, ()):
            if need.needed_by not in walked and need.needed_by != path and need.needed_by in height:
                heapq.heappush(heap, (len(partial) + 1 + height[need.needed_by], (*partial, need)))


def _measure_heights(by_path: Mapping[str, list[Need]]) -> dict[str, int]:
    """How many needs lie between every path and its nearest component."""
    dependencies: dict[str, list[str]] = {}
    for path, needs in by_path.items():
        for need in needs:
            dependencies.setdefault(need.needed_by, []).append(path)
    height = {by: 0 for by in dependencies if not by.startswith("/")}
    queue = deque(height)
    while queue:
        node = queue.popleft()
        for path in dependencies.get(node, ()):
            if path not in height:
                height[path] = height[node] + 1
                queue.append(path)
    return height


MAX_CHAINS = 64
"""Chains that are listed at the most."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a path is in an image, or that it is not."""

    image: str
    path: RootPath
    row: FileRow | None
    """None: the path is not in the image."""
    chains: tuple[Chain, ...]
    """Shortest first."""
    similar_paths: tuple[RootPath, ...] = ()
    """Paths of the image with a similar name, when the path is not in it."""
    waivers: tuple[WaiverRow, ...] = ()
    """Lines of the manifest that leave the path out."""
    other_sources: tuple[str, ...] = ()
    """Where else the path could come from, in words."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Path → its package and version."""
    possible_dlopens: tuple[str, ...] = ()
    """Libraries not in the image that the path may open by name at run time."""
    named_paths: tuple[OptionalFile, ...] = ()
    """Paths that a text names: those of this path's text, or by whom an absent path is named."""
    requested_name: str = ""
    """The name or glob that was asked for in place of an absent path."""


def explain_all(
    footprint: Footprint, query: str, *, all_chains: bool = False
) -> tuple[Explanation, ...]:
    """An answer for each path that a word stands for: a path, a name, or a glob of either.

    Links to other namesakes are left out where a file is there.
    """
    paths = [str(row.path) for row in footprint.files if row.type != "directory"]
    if query in paths or str(to_root_path(query)) in paths:
        return (explain(footprint, query, all_chains=all_chains),)
    if "/" in query:
        glob = str(to_root_path(query))
        matches = [path for path in paths if path_glob.matches(glob, path)]
    else:
        matches = [path for path in paths if path_glob.matches(query, path.rpartition("/")[2])]
    if not matches:
        return (explain(footprint, query, all_chains=all_chains),)
    return tuple(explain(footprint, path, all_chains=all_chains) for path in matches)


def explain(footprint: Footprint, query: str, *, all_chains: bool = False) -> Explanation:
    """Find the shortest chain to a path, or every one of them (64 at the most).

    A word without a slash stands for the only path that ends with it.
    """
    rows = {row.path: row for row in footprint.files}
    namesakes = [path for path in rows if path.endswith(f"/{query}")] if "/" not in query else []
    exact = [path for path in rows if path == query]  # /bin/su, where /bin is a directory
    path = namesakes[0] if len(namesakes) == 1 else exact[0] if exact else to_root_path(query)
    row = rows.get(path)
    if row is None:
        return _explain_absence(footprint, path, "" if "/" in query else query)
    need_chains = find_chains(footprint.edges, path, limit=MAX_CHAINS if all_chains else 1)
    versions = {one.name: f"{one.name} {one.version}".rstrip() for one in footprint.packages}
    owners = {
        str(file_row.path): versions.get(file_row.package, file_row.package)
        if file_row.package
        else ""
        for file_row in footprint.files
    }
    possible = footprint.possible_dlopens.get(path, ())
    named_paths = tuple(one for one in _list_string_paths(footprint) if one.by == path)
    return Explanation(
        footprint.name,
        path,
        row,
        need_chains,
        owners=owners,
        possible_dlopens=possible,
        named_paths=named_paths,
    )


def _explain_absence(footprint: Footprint, path: RootPath, requested_name: str) -> Explanation:
    """Say what leaves a path out, what names it, and which paths of the image are like it."""
    similar_paths = find_similar(
        path, (one.path for one in footprint.files if one.type != "directory")
    )
    waivers = tuple(one for one in footprint.waivers if _matches_waiver(one.path, path))
    named_by = tuple(
        one for one in _list_string_paths(footprint) if f"{path}/".startswith(f"{one.wanted}/")
    )
    return Explanation(
        footprint.name,
        path,
        None,
        (),
        similar_paths,
        waivers,
        named_paths=named_by,
        requested_name=requested_name,
    )


def _list_string_paths(footprint: Footprint) -> list[OptionalFile]:
    return [one for one in footprint.possible_data if one.priority == STRING_PRIORITY]


def locate_evidence(need: Need, owners: Mapping[str, str]) -> str:
    """Where the evidence of a need can be read."""
    if not need.needed_by.startswith("/"):
        return need.evidence
    location = need.kind.evidence_location
    if need.kind is NeedKind.DLOPEN and need.evidence.startswith(".note.dlopen"):
        location = "the section .note.dlopen"
    elif need.kind is NeedKind.DLOPEN and need.evidence.startswith("DT_"):
        location = NeedKind.NEEDED.evidence_location
    return f"{location} of {need.needed_by} ({owners.get(need.needed_by) or 'made by minbuild'})"


def _matches_waiver(text: str, path: RootPath) -> bool:
    """Tell whether a waiver's path, glob or name stands for a path."""
    if "/" in text:
        return path_glob.matches(str(to_root_path(text)), path)
    return path_glob.matches(text, path.rpartition("/")[2])
