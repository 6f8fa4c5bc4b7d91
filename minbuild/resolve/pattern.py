"""Globs over paths inside the image: `*` stays in one directory, `**` does not."""

import re
from functools import lru_cache

_TOKENS = re.compile(
    r"(?P<deep>\*\*)|(?P<star>\*)|(?P<any>\?)|\[(?P<set>!?\]?[^]]*)\]|(?P<text>.)", re.DOTALL
)


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
