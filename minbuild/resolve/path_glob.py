"""Globs over paths inside the image: `*` stays in one directory, `**` does not."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_TOKENS = re.compile(
    r"(?P<deep>\*\*)|(?P<star>\*)|(?P<any>\?)|\[(?P<set>!?\]?[^]]*)\]|(?P<text>.)", re.DOTALL
)

_PRINTABLE = tuple(map(chr, range(0x20, 0x7F)))
Characters = frozenset[str]


def is_glob(text: str) -> bool:
    """Tell a glob from a plain name."""
    return any(character in text for character in "*?[")


@lru_cache(maxsize=4096)
def compile_glob(glob: str) -> re.Pattern[str]:
    """Compile `glob`; use its `fullmatch`."""
    return re.compile("".join(_to_regex(token) for token in _TOKENS.finditer(glob)), re.DOTALL)


def matches(glob: str, text: str) -> bool:
    """Tell whether `glob` (or plain name) matches `text`."""
    return glob == text or (is_glob(glob) and compile_glob(glob).fullmatch(text) is not None)


def get_literal_prefix(glob: str) -> str:
    """The plain text that every match of `glob` starts with."""
    return re.split(r"[*?\[]", glob, maxsplit=1)[0]


def globs_intersect(first_glob: str, second_glob: str) -> bool:
    """Tell whether some text matches two flat globs: `*` runs over `/` in them too."""
    first, second = _list_characters(first_glob), _list_characters(second_glob)
    seen = {(0, 0)}
    queue = [(0, 0)]
    while queue:
        i, j = queue.pop()
        if i == len(first) and j == len(second):
            return True
        for state in _next_states(first[i : i + 1], second[j : j + 1], i, j):
            if state not in seen:
                seen.add(state)
                queue.append(state)
    return False


def _next_states(
    first: Sequence[Characters | None], second: Sequence[Characters | None], i: int, j: int
) -> Iterator[tuple[int, int]]:
    """Where a text may go on in both globs; None is `*`, which may also stand for nothing."""
    if first and first[0] is None:
        yield i + 1, j
        if second:
            yield i, j + 1
    if second and second[0] is None:
        yield i, j + 1
        if first:
            yield i + 1, j
    if first and second and first[0] and second[0] and first[0] & second[0]:
        yield i + 1, j + 1


@lru_cache(maxsize=4096)
def _list_characters(glob: str) -> tuple[Characters | None, ...]:
    """What may stand at each place of a flat glob; None for any text."""
    characters: list[Characters | None] = []
    for token in _TOKENS.finditer(glob):
        match token.lastgroup:
            case "deep" | "star":
                characters.append(None)
            case "text":
                characters.append(frozenset(token[0]))
            case _:
                letter = compile_glob(token[0])
                characters.append(frozenset(each for each in _PRINTABLE if letter.fullmatch(each)))
    return tuple(characters)


def _to_regex(token: re.Match[str]) -> str:
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
