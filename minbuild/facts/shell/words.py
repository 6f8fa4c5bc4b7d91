"""Words of a shell script: their constant text and variables.

Source: POSIX.1-2024, Shell Command Language, "Quoting".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minbuild.facts.shell.shfmt import SyntaxNode


@dataclass(frozen=True, slots=True)
class ShellWord:
    """One word of a command, its quotes undone."""

    text: str | None
    """None where a part of it is known only when the script runs."""
    line: int
    variable: str = ""
    """The variable that the whole word stands for."""


def read_word(node: SyntaxNode, line_offset: int) -> ShellWord:
    """Read a word; `above`: lines before the script that it stands in."""
    line = line_offset + node["Pos"]["Line"]
    parts = node.get("Parts", ())
    flat = list(walk_parts(parts))
    if len(flat) == 1 and find_parameter(flat[0]):
        return ShellWord(None, line, find_parameter(flat[0]))
    texts = []
    for part in parts:
        text = (
            _read_double_quoted(part.get("Parts", ()))
            if part["Type"] == "DblQuoted"
            else _read_unquoted(part)
        )
        if text is None:
            return ShellWord(None, line)
        texts.append(text)
    return ShellWord("".join(texts), line)


def _read_unquoted(part: SyntaxNode) -> str | None:
    """What an unquoted or single-quoted part says; None for what is known only when run."""
    value = str(part.get("Value", ""))
    if part["Type"] == "SglQuoted":
        return value
    if part["Type"] != "Lit" or any(letter in value for letter in "*?~"):
        return None
    return value.replace("\\\n", "").replace("\\", "")


def _read_double_quoted(parts: Sequence[SyntaxNode]) -> str | None:
    if any(part["Type"] != "Lit" for part in parts):
        return None
    text = "".join(str(part.get("Value", "")) for part in parts)
    return text.replace("\\\n", "").replace('\\"', '"').replace("\\$", "$").replace("\\`", "`")


def find_parameter(part: SyntaxNode) -> str:
    """The variable of $X and ${X}; "" for all else."""
    if part["Type"] != "ParamExp" or not {*part} <= _PLAIN_FIELDS:
        return ""
    return str(part.get("Param", {}).get("Value", ""))


_PLAIN_FIELDS = {"Type", "Pos", "End", "Dollar", "Rbrace", "Short", "Param"}


def walk_parts(parts: Sequence[SyntaxNode]) -> Iterator[SyntaxNode]:
    """Go through the parts of a word, those between double quotes among them."""
    for part in parts:
        if part["Type"] == "DblQuoted":
            yield from walk_parts(part.get("Parts", ()))
        else:
            yield part
