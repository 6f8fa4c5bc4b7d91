"""Which paths of an image somebody may have meant by one that it has not."""

import difflib
import re
from collections.abc import Iterable

from minbuild.paths import RootPath

MOST = 3
_FORM = re.compile(r"\.ko(\.(xz|zst|gz))?$|\.so[.0-9]*$")
_CLOSE = 0.75
_LEAST = 3
"""Letters of a name that another may begin with."""


def similar(path: RootPath, paths: Iterable[RootPath]) -> tuple[RootPath, ...]:
    """Find those of `paths` whose last name is nearest: the same, a form of it, or one misspelt."""
    wanted, directory = _last(path), path.rpartition("/")[0]
    ranked = [(_rank(wanted, _last(one)), _apart(directory, one), one) for one in paths]
    best = sorted(each for each in ranked if each[0] < _FAR)[:MOST]
    sure = [one for rank, _, one in best if rank[0] < _GUESS]
    if not best:
        return _holding(wanted, ranked)
    return tuple(sure or (one for _, _, one in best))  # a namesake leaves no room for guesses


def _holding(wanted: str, ranked: Iterable[tuple[object, int, RootPath]]) -> tuple[RootPath, ...]:
    """Paths whose last name has the wanted one in it, or what all libraries would call it."""
    word = _stem(wanted).removeprefix("lib")
    if len(word) < _LEAST:
        return ()
    found = sorted((len(_last(one)), apart, one) for _, apart, one in ranked if word in _last(one))
    return tuple(one for _, _, one in found[:MOST])


_SAME, _FORMED, _GUESS, _NONE = range(4)
_FAR = (_NONE, 0.0)


def _rank(wanted: str, name: str) -> tuple[int, float]:
    """How far two last names are apart; _FAR for strangers."""
    if wanted == name:
        return (_SAME, 0.0)
    one, other = _stem(wanted), _stem(name)
    if one == other:
        return (_FORMED, 0.0)
    if not one or not other or one[0] != other[0]:
        return _FAR  # hardly anybody misspells the first letter, and most strangers differ in it
    shorter, longer = sorted((one, other), key=len)
    ratio = 2 * len(shorter) / (len(one) + len(other))  # at the most
    ratio = difflib.SequenceMatcher(None, one, other).ratio() if ratio >= _CLOSE else ratio
    if ratio >= _CLOSE or (len(shorter) >= _LEAST and _begins(shorter, longer)):
        return (_GUESS, 1 - ratio)
    return _FAR


def _begins(shorter: str, longer: str) -> bool:
    """Tell whether one name is the first words of the other: kvm of kvm_amd."""
    return longer.startswith(shorter) and not longer[len(shorter)].isalnum()


def _stem(name: str) -> str:
    """What is left of a name without what all libraries or all modules share."""
    stem = _FORM.sub("", name)
    if stem == name:
        return name
    return stem.removeprefix("lib") if ".so" in name else stem.replace("-", "_")


def _last(path: RootPath) -> str:
    return path.rpartition("/")[2]


def _apart(directory: str, path: RootPath) -> int:
    """How many directories must be left and entered between the two."""
    ours, theirs = directory.split("/"), path.split("/")[:-1]
    shared = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    shared = min(len(ours), len(theirs)) if shared is None else shared
    return len(ours) + len(theirs) - 2 * shared
