"""Syntax of rendered shell scripts, and the places in them where a quoted value is no word."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minbuild.errors import ManifestError
from minbuild.facts.shell.syntax import SyntaxNode, explain_syntax_error, parse_script
from minbuild.manifest.files import locate_line
from minbuild.manifest.model import RenderedFile, TemplateSource
from minbuild.manifest.text_use import QUOTED_MARK
from minbuild.parallel import map_in_threads

_QUOTED_CONTEXTS = {
    "SglQuoted": "single quotes",
    "DblQuoted": "double quotes",
    "Hdoc": "a here-document",
    "Comments": "a comment",
    "Last": "a comment",
    "ArithmExp": "arithmetic",
    "ArithmCmd": "arithmetic",
    "Index": "an index",
    "Backquotes": "backquotes",
}


@dataclass(frozen=True, slots=True)
class _MisplacedMark:
    line: int
    """Of the rendered script."""
    context: str


def find_syntax_faults(
    files_by_data: Mapping[bytes, RenderedFile],
) -> dict[bytes, list[ManifestError]]:
    """Parse scripts, each with a mark for every quoted value, and list the faults of each.

    Raises: ToolError without shfmt.
    """
    trees = map_in_threads(parse_script, files_by_data)
    return {
        data: list(_find_faults(file, file.template, tree)) if file.template else []
        for (data, file), tree in zip(files_by_data.items(), trees, strict=True)
    }


def _find_faults(
    file: RenderedFile, source: TemplateSource, tree: SyntaxNode | None
) -> Iterator[ManifestError]:
    """List what is wrong in a script; a mark parses where, and as, a quoted value does."""
    if tree is None:
        line, cause = explain_syntax_error(file.content)
        yield ManifestError(
            f"{file.path} is no shell script that can be run: {cause}",
            where=f"{locate_line(source, line)}, line {line} as it is rendered",
            fix="correct it; what is no shell script has another first line, or no x in its mode",
        )
        return
    for mark in sorted({*_find_misplaced_marks(tree)}, key=lambda mark: mark.line):
        yield ManifestError(
            f"a quoted value stands in {mark.context}, where its quotes are none",
            where=f"{locate_line(source, mark.line)}, line {mark.line} as it is rendered",
            fix=f"set a variable of the script to it (NAME={{{{ … | quote }}}}), and write $NAME in "
            f"{file.path}",
        )  # fmt: skip


def _find_misplaced_marks(tree: SyntaxNode) -> Iterator[_MisplacedMark]:
    """Where marks stand that are no words of the shell's."""
    todo: list[tuple[Any, tuple[str, ...], int]] = [(tree, (), 1)]
    while todo:
        node, above, line = todo.pop()
        if isinstance(node, list):
            todo += ((each, above, line) for each in node)
            continue
        if not isinstance(node, dict):
            continue
        line = (node.get("Pos") or {}).get("Line", line)
        if node.get("Type") == "CmdSubst":  # within it words begin anew
            above = ("Backquotes",) if node.get("Backquotes") else ()
        for key, value in node.items():
            kinds = (*above, node.get("Type") or "", key)
            if not isinstance(value, str):
                todo.append((value, kinds, line))
            elif QUOTED_MARK in value and (
                context := _explain_context(kinds, node.get("Type"), value)
            ):
                at = value[: value.index(QUOTED_MARK)].count("\n")
                yield _MisplacedMark(line + at, context)


def _explain_context(kinds: Sequence[str], kind: str | None, value: str) -> str:
    """Why a mark in a text of a node is no word; "" when it is one."""
    for name in reversed(kinds):
        if name in _QUOTED_CONTEXTS:
            return _QUOTED_CONTEXTS[name]
    if kind != "Lit" or "Parts" not in kinds or "Param" in kinds or "Slice" in kinds:
        return "the name of a variable, or an expression"
    before = value[: value.index(QUOTED_MARK)]
    slashes = len(before) - len(before.rstrip("\\"))
    return "a place behind a backslash" if slashes % 2 else ""
