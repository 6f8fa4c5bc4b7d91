"""Which word after a format option is its file: `--html out.html`, `--json build/host`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "text": (".txt", ".text", ".log"),
    "md": (".md", ".markdown"),
    "json": (".json",),
    "csv": (".csv",),
    "html": (".html", ".htm"),
    "junit": (".xml",),
    "sarif": (".sarif", ".json"),
    "dot": (".dot", ".gv"),
}
"""How files of a format usually end, and nothing that a command reads but for `.json`."""
STDOUT = "-"
MANY = 1 << 30
"""Of words that an argument takes as many of as there are."""


@dataclass(frozen=True, slots=True)
class Arity:
    """How many words a command takes beside its options."""

    least: int
    most: int
    has_path: bool = False
    """The last one may be a path inside the image."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """A command line whose format options have their files after `=`."""

    words: tuple[str, ...]
    left: Mapping[str, str]
    """Words that follow a format option and are arguments all the same → the option."""


def sort_words(words: Sequence[str], options: Mapping[str, bool], arity: Arity) -> Sorted:
    """Give each format option its file.

    `options`: each option of the command → whether it takes a value; formats are those of ENDINGS
    among them. The word after a bare format option is its file when it is `-`, when the command
    has all its arguments without it, or when it ends as files of that format do, the command does
    not lack it, and it names nothing that the command could read: no footprint that is there, no
    absolute path where a command takes a path inside the image.
    """
    formats = {f"--{name}": name for name in ENDINGS if f"--{name}" in options}
    found = list(_roles(words, options, formats))
    plain = sum(role == "argument" for _, role in found)
    out: list[str] = []
    left: dict[str, str] = {}
    for word, role in found:
        if role not in formats:
            out.append(f"{word}={STDOUT}" if role == "format" else word)
        elif word == STDOUT or _is_file(word, formats[role], plain, arity):
            out[-1] = f"{role}={word}"
        else:
            out.append(word)
            left[word] = role
            plain += 1
    return Sorted(tuple(out), left)


def _roles(
    words: Sequence[str], options: Mapping[str, bool], formats: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Each word as `format`, the format option that it follows, `argument` or `other`."""
    before = ""
    is_over = False
    for word in words:
        if is_over:
            yield word, "argument"
        elif word == "--":
            is_over = True
            yield word, "other"
        elif before and before not in formats:
            before = ""
            yield word, "other"
        elif before and (word == STDOUT or not word.startswith("-")):
            role, before = before, ""
            yield word, role
        elif word in formats:
            before = word
            yield word, "format"
        elif word.startswith("-") and word != STDOUT:
            before = word if options.get(word, False) else ""
            yield word, "other"
        else:
            before = ""
            yield word, "argument"


def _is_file(word: str, name: str, plain: int, arity: Arity) -> bool:
    if plain < arity.least or word.startswith("-"):
        return False
    if plain >= arity.most:
        return True
    if not word.lower().endswith(ENDINGS[name]):
        return False
    if arity.has_path and word.startswith("/"):
        return False
    return not (word.lower().endswith(".json") and Path(word).exists())


def arguments_of(words: Sequence[str], options: Mapping[str, bool]) -> tuple[str, ...]:
    """The words that are surely arguments: neither options, nor their values, nor after a format."""
    formats = {f"--{name}": name for name in ENDINGS if f"--{name}" in options}
    return tuple(word for word, role in _roles(words, options, formats) if role == "argument")


def options_of(command: click.Command) -> dict[str, bool]:
    """Each option of a command → whether it takes a value."""
    return {
        name: not (option.is_flag or option.count)
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def arity_of(command: click.Command) -> Arity:
    """How many words a command's arguments take."""
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    least = sum(max(one.nargs, 1) for one in arguments if one.required)
    most = sum(one.nargs if one.nargs > 0 else MANY for one in arguments)
    return Arity(least, most)
