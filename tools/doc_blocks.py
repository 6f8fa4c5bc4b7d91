"""Code blocks of the pages: where they are, how each is held against reality, what is wrong in them.

A block of `sh` or `console` is run by tests/e2e/test_guides.py, page by page, in its order, in an
empty directory; a block with a title is written to the file of that name first. A comment above a
block says what else holds:

    <!-- first: COMMANDS -->       run before the block, not shown
    <!-- runs long: REASON -->     run by `make test-long` alone
    <!-- not run: REASON -->       for a reader's machine only
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click
import yaml
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from minbuild.cli.main import minbuild

TOP = Path(__file__).parents[1]
SHELL_LANGUAGES = ("sh", "console")
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_MARK = re.compile(r"<!-- (first|runs long|not run): ((?:(?!-->).)*?) -->\s*\Z", re.DOTALL)


class Held(StrEnum):
    """How a block of commands is held against reality."""

    RUN = "run"
    LONG = "run long"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Command:
    """One command of a block, and the lines that it prints; none where the page shows none."""

    text: str
    output: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    """Relative to the top of the repository."""
    line: int
    language: str
    title: str
    text: str
    held: Held = Held.RUN
    reason: str = ""
    first: str = ""

    @property
    def is_shell(self) -> bool:
        """Tell whether the block has commands."""
        return self.language in SHELL_LANGUAGES

    def list_commands(self) -> tuple[Command, ...]:
        """The commands in their order."""
        if self.language == "sh":
            return (Command(self.text),)
        found: list[list[str]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append([line[2:]])
            elif found and found[-1][-1].endswith("\\") and len(found[-1]) == 1:
                found[-1][0] += "\n" + line
            elif found:
                found[-1].append(line)
        return tuple(Command(one[0], tuple(one[1:])) for one in found)


def list_pages() -> tuple[Path, ...]:
    """Every page whose blocks are held: those of people who use minbuild."""
    docs = sorted((TOP / "docs").rglob("*.md"))
    return (TOP / "README.md", *(path for path in docs if "decisions" not in path.parts))


def read_blocks(path: Path) -> tuple[Block, ...]:
    """Every fenced block of a page, in order."""
    page = path.relative_to(TOP).as_posix() if path.is_relative_to(TOP) else path.name
    return tuple(parse_blocks(path.read_text("utf-8"), page))


def parse_blocks(text: str, page: str) -> Iterator[Block]:
    """Every fenced block of the text of a page. Source: CommonMark 0.31, Fenced code blocks."""
    lines, number = text.splitlines(), 0
    while number < len(lines):
        start = _FENCE.match(lines[number])
        number += 1
        if start is None:
            continue
        opening, end = number, start["indent"] + start["ticks"]
        while number < len(lines) and lines[number].rstrip() != end:
            number += 1
        body = [line.removeprefix(start["indent"]) for line in lines[opening:number]]
        number += 1
        title = _TITLE.search(start["rest"])
        held, reason, first = _read_marks("\n".join(lines[: opening - 1]))
        yield Block(page, opening, start["language"], title[1] if title else "",
                    "\n".join(body) + "\n", held, reason, first)  # fmt: skip


def _read_marks(before: str) -> tuple[Held, str, str]:
    held, reason, first = Held.RUN, "", ""
    while mark := _MARK.search(before):
        text = re.sub(r"\n\s*", "\n", mark[2])
        if mark[1] == "first":
            first = text
        else:
            held = Held.LONG if mark[1] == "runs long" else Held.NOT_RUN
            reason = text
        before = before[: mark.start()]
    return held, reason, first


def find_problems(blocks: Sequence[Block]) -> list[str]:
    """What is wrong in the blocks of one page, each with its place."""
    problems = [f"{one.page}:{one.line}: {text}" for one in blocks for text in _examine_block(one)]
    shell = [one for one in blocks if one.is_shell]
    return problems + ([] if problems else _check_syntax(shell))


def find_named_problems(text: str, page: str) -> list[str]:
    """Commands and options of minbuild in the sentences and tables of a page that do not exist."""
    prose = re.sub(r"(?ms)^ *```.*?^ *```", "", text).replace("\\|", "|")
    spans = re.findall(r"`minbuild ([a-z][^`]*)`", prose)
    return [
        f"{page}: `minbuild {span}`: {problem}"
        for span in spans
        for problem in _check_command([word.strip("[]…") for word in span.split()])
    ]


def _examine_block(block: Block) -> Iterator[str]:
    if not block.language:
        yield "a block names no language: write text where it has none"
        return
    try:
        get_lexer_by_name(block.language)
    except ClassNotFound:
        yield f"no such language: {block.language}"
    try:
        if block.language in ("yaml", "yml"):
            yaml.safe_load(block.text)
        elif block.language == "json":
            json.loads(block.text)
    except (yaml.YAMLError, ValueError) as error:
        yield f"is no {block.language}: {error}"
    if block.is_shell and not block.list_commands():
        yield "a console block has no command: write it after `$ `"
    if block.is_shell:
        for command in block.list_commands():
            yield from _check_words(command.text)


def _check_syntax(blocks: Sequence[Block]) -> list[str]:
    """What bash says of the commands, without running them."""
    problems = []
    text = "\n".join(command.text for one in blocks for command in one.list_commands())
    result = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        problems.append(f"{blocks[0].page}: {result.stderr.strip()}")
    return problems


def _check_words(text: str) -> Iterator[str]:
    """Commands and options of minbuild that do not exist."""
    for line in text.replace("\\\n", " ").splitlines():
        for found in re.finditer(r"(?:^|[\s/(;&|])minbuild (?!minbuild )([a-z][^|;&()>#]*)", line):
            try:
                words = shlex.split(found[1])
            except ValueError:
                words = found[1].split()
            yield from _check_command(words)


def _check_command(words: Sequence[str]) -> Iterator[str]:
    command: click.Command = minbuild
    context = click.Context(minbuild)
    rest = [*words]
    while isinstance(command, click.Group) and rest:
        name = rest.pop(0)
        if "|" in name or name.isupper():  # several commands, or any
            return
        found = command.get_command(context, name)
        if found is None:
            yield f"minbuild has no command {name}"
            return
        command = found
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    known |= {"--help", "-h"}
    for word in rest:
        if word == "--":
            return
        if word.startswith("--") and word.partition("=")[0] not in known:
            yield f"minbuild {command.name} has no option {word}"
