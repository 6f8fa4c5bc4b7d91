"""Globs over paths inside the image: `*` stays in one directory, `**` does not."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_TOKENS = re.compile(
    r"(?P<deep>\*\*)|(?P<star>\*)|(?P<any>\?)|\[(?P<set>!?\]?[^]]*)\]|(?P<text>.)", re.DOTALL
)

_PRINTABLE = tuple(map(chr, range(0x20, 0x7F)))
Letters = frozenset[str]


def is_pattern(text: str) -> bool:
    """Tell a glob from a plain name."""
    return any(character in text for character in "*?[")


@lru_cache(maxsize=4096)
def compiled(glob: str) -> re.Pattern[str]:
    """Compile `glob`; use its `fullmatch`."""
    return re.compile("".join(_regex(token) for token in _TOKENS.finditer(glob)), re.DOTALL)


def matches(glob: str, text: str) -> bool:
    """Tell whether `glob` (or plain name) stands for `text`."""
    return glob == text or (is_pattern(glob) and compiled(glob).fullmatch(text) is not None)


def prefix(glob: str) -> str:
    """The plain text that every match of `glob` starts with."""
    return re.split(r"[*?\[]", glob, maxsplit=1)[0]


def overlap(one: str, other: str) -> bool:
    """Tell whether some text matches two flat globs: `*` runs over `/` in them too."""
    first, second = _letters(one), _letters(other)
    seen = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(first) and j == len(second):
            return True
        for state in _steps(first[i : i + 1], second[j : j + 1], i, j):
            if state not in seen:
                seen.add(state)
                todo.append(state)
    return False


def _steps(
    one: Sequence[Letters | None], other: Sequence[Letters | None], i: int, j: int
) -> Iterator[tuple[int, int]]:
    """Where a text may go on in both globs; None is `*`, which may also stand for nothing."""
    if one and one[0] is None:
        yield i + 1, j
        if other:
            yield i, j + 1
    if other and other[0] is None:
        yield i, j + 1
        if one:
            yield i + 1, j
    if one and other and one[0] and other[0] and one[0] & other[0]:
        yield i + 1, j + 1


@lru_cache(maxsize=4096)
def _letters(glob: str) -> tuple[Letters | None, ...]:
    """What may stand at each place of a flat glob; None for any text."""
    found: list[Letters | None] = []
    for token in _TOKENS.finditer(glob):
        match token.lastgroup:
            case "deep" | "star":
                found.append(None)
            case "text":
                found.append(frozenset(token[0]))
            case _:
                letter = compiled(token[0])
                found.append(frozenset(each for each in _PRINTABLE if letter.fullmatch(each)))
    return tuple(found)


def _regex(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "deep":
            return ".*"
        case "star":
            return "[^/]*"
        case "any":
            return "[^/]"
        case "set":
            inside = token["set"]
            negated = inside.startswith("!")
            body = re.sub(r"([\\\[\]^])", r"\\\1", inside[1:] if negated else inside)
            return f"[{'^/' if negated else ''}{body}]"
        case _:
            return re.escape(token[0])
