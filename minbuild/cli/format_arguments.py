"""Format options that may stand alone: which word after one is its file, and which an argument."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from minbuild.data import is_manifest_name

STDOUT = "-"
UNLIMITED = 1 << 30
"""`Arity.most` of an argument that takes any number of words."""


@dataclass(frozen=True, slots=True)
class Arity:
    """How many words a command takes beside its options."""

    least: int
    most: int
    has_path: bool = False
    """The last one may be a path inside the image."""


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """A command line whose format options have their files after `=`."""

    arguments: tuple[str, ...]
    not_files: Mapping[str, str]
    """Words that follow a format option and are arguments all the same → the option."""


def assign_format_files(
    argv: Sequence[str],
    options: Mapping[str, bool],
    formats: Mapping[str, tuple[str, ...]],
    arity: Arity,
) -> ParsedArguments:
    """Give each format option its file.

    `options`: each option of the command → whether it takes a value; `formats`: those of them that
    write a format → the endings of its files. The word after a bare format option is its file when it is `-`, when the command
    has all its arguments without it, or when it ends as files of that format do, the command does
    not lack it, and it names nothing that the command could read: no footprint that is there, no
    absolute path where a command takes a path inside the image.
    """
    roles = list(_classify_words(argv, options, formats))
    argument_count = sum(role == "argument" for _, role in roles)
    arguments: list[str] = []
    not_files: dict[str, str] = {}
    for word, role in roles:
        if role not in formats:
            arguments.append(f"{word}={STDOUT}" if role == "format" else word)
        elif word == STDOUT or _is_file(word, formats[role], argument_count, arity):
            arguments[-1] = f"{role}={word}"
        else:
            arguments.append(word)
            not_files[word] = role
            argument_count += 1
    return ParsedArguments(tuple(arguments), not_files)


def _classify_words(
    argv: Sequence[str], options: Mapping[str, bool], formats: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Each word as `format`, the format option that it follows, `argument` or `other`."""
    pending = ""
    is_over = False
    for word in argv:
        if is_over:
            yield word, "argument"
        elif word == "--":
            is_over = True
            yield word, "other"
        elif pending and pending not in formats:
            pending = ""
            yield word, "other"
        elif pending and (word == STDOUT or not word.startswith("-")):
            role, pending = pending, ""
            yield word, role
        elif word in formats:
            pending = word
            yield word, "format"
        elif word.startswith("-") and word != STDOUT:
            pending = word if options.get(word, False) else ""
            yield word, "other"
        else:
            pending = ""
            yield word, "argument"


def _is_file(word: str, endings: tuple[str, ...], argument_count: int, arity: Arity) -> bool:
    if argument_count < arity.least or word.startswith("-"):
        return False
    if argument_count >= arity.most:
        return True
    if not word.lower().endswith(endings):
        return False
    if arity.has_path and word.startswith("/"):
        return False
    return not (word.lower().endswith(".json") and Path(word).exists())


def find_path_arity(command: click.Command, argv: Sequence[str], formats: Collection[str]) -> Arity:
    """How many words [IMAGE|MANIFEST] and a path inside it are."""
    least = count_arguments(command).least
    roles = _classify_words(argv, list_options(command), formats)
    first = next((word for word, role in roles if role == "argument"), "")
    return Arity(2 if least and _is_image(first) else least, 2, has_path=True)


def list_options(command: click.Command) -> dict[str, bool]:
    """Each option of a command → whether it takes a value."""
    return {
        name: not (option.is_flag or option.count)
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def count_arguments(command: click.Command) -> Arity:
    """How many words a command's arguments take."""
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    least = sum(max(argument.nargs, 1) for argument in arguments if argument.required)
    most = sum(argument.nargs if argument.nargs > 0 else UNLIMITED for argument in arguments)
    return Arity(least, most)


def _is_image(name: str) -> bool:
    return name.startswith("git:") or (bool(name) and Path(name).exists()) or is_manifest_name(name)
