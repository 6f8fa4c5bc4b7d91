"""Shell scripts that a manifest renders: each can be parsed, and each quoted value stands as a word.

`quote` makes a word of any text only where the shell looks for words: within quotes, comments and
here-documents its own quotes mean something else. Each script is therefore parsed once with a mark
in place of every quoted value, and the mark must stand in a word, outside of quotes.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minbuild.cache.kinds import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ManifestError, combine
from minbuild.facts.shell.shfmt import SyntaxNode, explain_syntax_error, parse_script
from minbuild.manifest import templates
from minbuild.manifest.components import OWN_COMPONENT
from minbuild.manifest.files import locate_line
from minbuild.manifest.model import (
    Location,
    Manifest,
    PackagePaths,
    RenderedFile,
    TemplateSource,
    VariableValue,
)
from minbuild.manifest.text_use import QUOTED_MARK, TextUse, classify_text
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob


def drop_overridden_waivers(manifest: Manifest) -> Manifest:
    """The manifest without the `drop` of an extended one for a path that it keeps itself.

    Raises: ManifestError for a path that one document keeps and drops, and for one that the
    manifest keeps and a glob of an extended one drops.
    """
    kept_paths = [
        (text, one)
        for part in manifest.components
        if part.name.endswith(f"/{OWN_COMPONENT}")
        for one in part.packages
        for text in one.paths
        if not path_glob.is_glob(text)
    ]
    problems: list[ManifestError] = []
    drop = []
    for waiver in manifest.drop:
        match = next(
            ((text, one) for text, one in kept_paths if _is_covered(waiver.path, text)), None
        )
        is_override = match is not None and _is_own_line(match[1].where, manifest)
        if match is None or (waiver.where.file != match[1].where.file and not is_override):
            drop.append(waiver)  # the later line holds: this one
        elif waiver.where.file == match[1].where.file or path_glob.is_glob(waiver.path):
            problems.append(_describe_conflict(match[0], match[1], waiver.path, f"{waiver.where}"))
    if problems:
        raise combine(problems)
    return manifest if len(drop) == len(manifest.drop) else replace(manifest, drop=tuple(drop))


def _is_own_line(location: Location, manifest: Manifest) -> bool:
    """Whether a line stands in the manifest itself, and in none that it extends."""
    return Path(location.file).absolute() == Path(manifest.file).absolute()


def _is_covered(glob: str, kept_path: str) -> bool:
    return path_glob.matches(to_root_path(glob), to_root_path(kept_path))


def _describe_conflict(path: str, keeper: PackagePaths, dropped: str, where: str) -> ManifestError:
    return ManifestError(
        f"{path} is kept, and drop: {dropped} at {where} leaves it out",
        where=f"{keeper.where}",
        fix="remove one of the two lines; a glob of an extended manifest is not undone for one path",
    )


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


def check_scripts(
    manifest: Manifest, store: Store, sourced: Collection[RootPath] | None = None
) -> None:
    """Make sure that every rendered script can be run as it is meant.

    `sourced`: look at these files alone, which scripts of the image read.
    Raises: ManifestError with every problem; ToolError without shfmt.
    """
    scripts = [
        _RenderedScript(file, file.template)
        for part in manifest.components
        for file in part.files
        if file.template is not None and file.template.text is not None
        and _is_script_to_check(file, file.template, sourced)
    ]  # fmt: skip
    problems = [
        one
        for text in scripts
        if sourced
        for one in _find_unquoted_values(text, manifest.variables)
    ]
    scripts_by_data = {text.render_with_marks(manifest.variables): text for text in scripts}
    unchecked = {
        data: text
        for data, text in scripts_by_data.items()
        if store.get(RecordKind.CHECKED_SCRIPT, _digest_script(data)) is None
    }
    if unchecked:
        from concurrent.futures import ThreadPoolExecutor

        from minbuild.facts.process_pool import count_cpus  # 10 ms, and most scripts are known

        with ThreadPoolExecutor(count_cpus()) as pool:
            trees = dict(zip(unchecked, pool.map(parse_script, unchecked), strict=True))
        faults_by_data = {
            data: list(_find_faults(text, trees[data])) for data, text in unchecked.items()
        }
        problems += [one for faults in faults_by_data.values() for one in faults]
        store.put(
            RecordKind.CHECKED_SCRIPT,
            {_digest_script(data): b"" for data, faults in faults_by_data.items() if not faults},
        )
    if problems:
        raise combine(problems)


@dataclass(frozen=True, slots=True)
class _RenderedScript:
    """A script and what it was made from."""

    file: RenderedFile
    source: TemplateSource

    def render_with_marks(self, values: Mapping[str, VariableValue]) -> bytes:
        """The script with a mark for every quoted value."""
        return templates.render_template(
            self.source.text or "", values, TextUse.SHELL, marked=True
        ).encode()


def _digest_script(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_script_to_check(
    file: RenderedFile, source: TemplateSource, sourced: Collection[RootPath] | None
) -> bool:
    use = classify_text(str(file.path), source.text or "", file.mode, source.where.file)
    if sourced is not None:
        return use is TextUse.FILE and file.path in sourced
    return use is TextUse.SHELL


def _find_unquoted_values(
    script: _RenderedScript, values: Mapping[str, VariableValue]
) -> Iterator[ManifestError]:
    """Values without the filter, in a file of which only now is known that scripts read it."""
    for fault in templates.find_unquoted(script.source.text or "", values):
        location = locate_line(script.source, fault.line)
        yield ManifestError(fault.message, where=f"{location}", fix=fault.fix)


def _find_faults(script: _RenderedScript, tree: SyntaxNode | None) -> Iterator[ManifestError]:
    """What is wrong in a script; a mark parses where, and as, a quoted value does."""
    file, source = script.file, script.source
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
