"""What the words of a shell script say before it runs.

Source: POSIX.1-2024, Shell Command Language, "Quoting".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minbuild.facts.shfmt import Node


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command, its quotes undone."""

    text: str | None
    """None where a part of it is known only when the script runs."""
    line: int
    variable: str = ""
    """The variable that the whole word stands for."""


def unquoted(node: Node, above: int) -> Word:
    """Read a word; `above`: lines before the script that it stands in."""
    line = above + node["Pos"]["Line"]
    parts = node.get("Parts", ())
    flat = list(flattened(parts))
    if len(flat) == 1 and parameter(flat[0]):
        return Word(None, line, parameter(flat[0]))
    texts = []
    for part in parts:
        text = _quoted(part.get("Parts", ())) if part["Type"] == "DblQuoted" else _plain(part)
        if text is None:
            return Word(None, line)
        texts.append(text)
    return Word("".join(texts), line)


def _plain(part: Node) -> str | None:
    """What an unquoted or single-quoted part says; None for what is known only when run."""
    value = str(part.get("Value", ""))
    if part["Type"] == "SglQuoted":
        return value
    if part["Type"] != "Lit" or any(letter in value for letter in "*?~"):
        return None
    return value.replace("\\\n", "").replace("\\", "")


def _quoted(parts: Sequence[Node]) -> str | None:
    if any(part["Type"] != "Lit" for part in parts):
        return None
    text = "".join(str(part.get("Value", "")) for part in parts)
    return text.replace("\\\n", "").replace('\\"', '"').replace("\\$", "$").replace("\\`", "`")


def parameter(part: Node) -> str:
    """The variable of $X and ${X}; "" for all else."""
    if part["Type"] != "ParamExp" or not {*part} <= _SIMPLE:
        return ""
    return str(part.get("Param", {}).get("Value", ""))


_SIMPLE = {"Type", "Pos", "End", "Dollar", "Rbrace", "Short", "Param"}


def flattened(parts: Sequence[Node]) -> Iterator[Node]:
    """Go through the parts of a word, those between double quotes among them."""
    for part in parts:
        if part["Type"] == "DblQuoted":
            yield from flattened(part.get("Parts", ()))
        else:
            yield part
