"""Similar paths: those of an image that a mistyped path may have meant."""

import difflib
import re
from collections.abc import Iterable

from minbuild.paths import RootPath

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
