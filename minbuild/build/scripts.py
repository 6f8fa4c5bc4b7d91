"""Shell scripts that a manifest renders: each can be parsed, and each quoted value stands as a word.

`quote` makes a word of any text only where the shell looks for words: within quotes, comments and
here-documents its own quotes mean something else. Each script is therefore parsed once with a mark
in place of every quoted value, and the mark must stand in a word, outside of quotes.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minbuild.errors import ManifestError, together
from minbuild.facts.shfmt import Node, complaint, parse
from minbuild.manifest import template
from minbuild.manifest.files import place_in
from minbuild.manifest.types import Manifest, RenderedFile, Template, Value
from minbuild.manifest.uses import MARK, Use, use_of
from minbuild.paths import RootPath
from minbuild.store import Store

KIND = "script/1"
"""SHA-256 of a script, its quoted values marked → nothing: it can be parsed, its marks are words."""
_PLACES = {
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
class _Place:
    line: int
    """Of the rendered script."""
    where: str


def check_scripts(
    manifest: Manifest, store: Store, sourced: Collection[RootPath] | None = None
) -> None:
    """Make sure that every rendered script can be run as it is meant.

    `sourced`: look at these files alone, which scripts of the image read.
    Raises: ManifestError with every problem; ToolError without shfmt.
    """
    texts = [
        _Text(file, file.template)
        for part in manifest.components
        for file in part.files
        if file.template is not None and file.template.text is not None
        and _is_asked(file, file.template, sourced)
    ]  # fmt: skip
    problems = [one for text in texts if sourced for one in _bare(text, manifest.variables)]
    marked = {text.marked(manifest.variables): text for text in texts}
    new = {data: text for data, text in marked.items() if store.get(KIND, _key(data)) is None}
    if new:
        from concurrent.futures import ThreadPoolExecutor

        from minbuild.facts.pool import cores  # 10 ms, and most scripts are known

        with ThreadPoolExecutor(cores()) as pool:
            trees = dict(zip(new, pool.map(parse, new), strict=True))
        found = {data: list(_faults(text, trees[data])) for data, text in new.items()}
        problems += [one for faults in found.values() for one in faults]
        store.put(KIND, {_key(data): b"" for data, faults in found.items() if not faults})
    if problems:
        raise together(problems)


@dataclass(frozen=True, slots=True)
class _Text:
    """A script and what it was made from."""

    file: RenderedFile
    made: Template

    def marked(self, values: Mapping[str, Value]) -> bytes:
        """The script with a mark for every quoted value."""
        return template.render(self.made.text or "", values, Use.SHELL, marked=True).encode()


def _key(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_asked(file: RenderedFile, made: Template, sourced: Collection[RootPath] | None) -> bool:
    use = use_of(str(file.path), made.text or "", file.mode, made.where.file)
    if sourced is not None:
        return use is Use.FILE and file.path in sourced
    return use is Use.SHELL


def _bare(text: _Text, values: Mapping[str, Value]) -> Iterator[ManifestError]:
    """Values without the filter, in a file of which only now is known that scripts read it."""
    for fault in template.unquoted(text.made.text or "", values):
        where = place_in(text.made, fault.line)
        yield ManifestError(fault.what, where=f"{where}", fix=fault.fix)


def _faults(text: _Text, tree: Node | None) -> Iterator[ManifestError]:
    """What is wrong in a script; a mark parses where, and as, a quoted value does."""
    file, made = text.file, text.made
    if tree is None:
        line, cause = complaint(file.content)
        yield ManifestError(
            f"{file.path} is no shell script that can be run: {cause}",
            where=f"{place_in(made, line)}, line {line} as it is rendered",
            fix="correct it; what is no shell script has another first line, or no x in its mode",
        )
        return
    for place in sorted({*_places(tree)}, key=lambda place: place.line):
        yield ManifestError(
            f"a quoted value stands in {place.where}, where its quotes are none",
            where=f"{place_in(made, place.line)}, line {place.line} as it is rendered",
            fix=f"set a variable of the script to it (NAME={{{{ … | quote }}}}), and write $NAME in "
            f"{file.path}",
        )  # fmt: skip


def _places(tree: Node) -> Iterator[_Place]:
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
            elif MARK in value and (where := _wrong(kinds, node.get("Type"), value)):
                at = value[: value.index(MARK)].count("\n")
                yield _Place(line + at, where)


def _wrong(kinds: Sequence[str], kind: str | None, value: str) -> str:
    """Why a mark in a text of a node is no word; "" when it is one."""
    for name in reversed(kinds):
        if name in _PLACES:
            return _PLACES[name]
    if kind != "Lit" or "Parts" not in kinds or "Param" in kinds or "Slice" in kinds:
        return "the name of a variable, or an expression"
    before = value[: value.index(MARK)]
    slashes = len(before) - len(before.rstrip("\\"))
    return "a place behind a backslash" if slashes % 2 else ""
