"""Files that a manifest defines: rendered from templates, copied, or links."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from minbuild.manifest import templates
from minbuild.manifest.document.nodes import TEMPLATE_MARK, Problems, ScalarNode
from minbuild.manifest.input_files import InputFiles
from minbuild.manifest.model import (
    Component,
    LocatedName,
    Location,
    RenderedFile,
    TemplateSource,
    VariableValue,
)
from minbuild.manifest.raw import RawFile, RawFileEntry
from minbuild.manifest.text_use import InvalidTemplate, TemplateProblem, TextUse, classify_text
from minbuild.paths import USRMERGED, RootPath, to_root_path

BUSYBOX = "busybox"
"""Target of the link of an applet in /usr/bin. Source: busybox(1), USAGE."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders texts and files with the manifest's variables."""

    values: Mapping[str, VariableValue]
    inputs: InputFiles
    template_words: set[str] = field(default_factory=set)
    """Every word of the templates rendered so far, to find unused variables."""

    def render_text(self, node: ScalarNode) -> str | None:
        """Render a text of a document; None if it is invalid, which adds a problem."""
        where = node.where
        self._record_words(node.text)
        try:
            return templates.render_template(node.text, self.values)
        except InvalidTemplate as error:
            for fault in error.problems:
                block = Location(where.file, where.line + fault.line, 1, where.document)
                self.inputs.problems.add(fault.message, block if node.block else where, fault.fix)
            return None

    def render_files(self, entries: Iterable[RawFileEntry]) -> tuple[RenderedFile, ...]:
        """Render the files of one document, sorted by path."""
        rendered = [file for entry in entries if (file := self._render_file(entry))]
        return tuple(sorted(rendered, key=lambda file: (file.path, file.where.line)))

    def _record_words(self, text: str) -> None:
        if TEMPLATE_MARK.search(text):
            self.template_words.update(re.findall("[A-Za-z_][A-Za-z0-9_]*", text))

    def _render_file(self, entry: RawFileEntry) -> RenderedFile | None:
        raw = entry.file
        content = self._render_content(entry)
        path = to_root_path(entry.path)
        if ".." in entry.path.split("/") or path == "/" or path[1:] in USRMERGED:
            message = f"{entry.path} is not a valid path for a file"
            fix = "write an absolute path without .., below /usr for bin, sbin, lib and lib64"
            self.inputs.problems.add(message, entry.where, fix)
            return None
        if content is None:
            return None
        mode = 0o777 if raw.link is not None else 0o755 if raw.directory else 0o644
        return RenderedFile(
            path=path,
            where=entry.where,
            content=content[0],
            template=content[1],
            mode=mode if raw.mode is None else raw.mode,
            uid=raw.uid,
            gid=raw.gid,
            link=raw.link or "",
            directory=raw.directory,
        )

    def _render_content(self, entry: RawFileEntry) -> tuple[bytes, TemplateSource | None] | None:
        """Return content and template; b"" for links and directories; None after a problem."""
        raw = entry.file
        if raw.source is not None:
            data = self._read_local(raw.source)
            return None if data is None else (data, None)
        source = self._load_template(raw)
        if source is None:
            return b"", None
        text = None if source.text is None else self._render_source(entry, source)
        try:
            return None if text is None else (text.encode(), source)
        except UnicodeEncodeError:
            message = f"{entry.path} contains half of a surrogate pair"
            self.inputs.problems.add(message, entry.where, "write the character itself")
            return None

    def _read_local(self, name: LocatedName) -> bytes | None:
        return self.inputs.require(resolve_relative(name.where, name.text), name.where)

    def _load_template(self, raw: RawFile) -> TemplateSource | None:
        """Return the template of a file; None for links and directories."""
        if raw.content is not None:
            where = raw.content.where
            return TemplateSource(raw.content.text, where, where.line if raw.content.block else 0)
        return self._join_templates(raw.template) if raw.template else None

    def _join_templates(self, names: Sequence[LocatedName]) -> TemplateSource:
        """Join several files to one template; each ends with a newline."""
        parts: list[Location] = []
        texts = [self._read_template(name) for name in names]
        text = ""
        for name, template_text in zip(names, texts, strict=True):
            if text and not text.endswith("\n"):
                text += "\n"
            parts.append(
                Location(str(resolve_relative(name.where, name.text)), text.count("\n") + 1, 1)
            )
            text += template_text or ""
        return TemplateSource(None if None in texts else text, parts[0], parts=tuple(parts))

    def _read_template(self, name: LocatedName) -> str | None:
        data = self._read_local(name)
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError:
            message = f"{resolve_relative(name.where, name.text)} is not UTF-8 text"
            fix = "save it as UTF-8, or copy it unchanged with source:"
            self.inputs.problems.add(message, name.where, fix)
            return None

    def _render_source(self, entry: RawFileEntry, source: TemplateSource) -> str | None:
        text = source.text or ""
        self._record_words(text)
        use = classify_text(
            str(to_root_path(entry.path)), text, entry.file.mode or 0, source.where.file
        )
        faults: tuple[TemplateProblem, ...] = ()
        rendered = None
        try:
            rendered = templates.render_template(text, self.values, use)
            if use in (TextUse.SHELL, TextUse.COMMANDS):
                faults = templates.find_unquoted(text, self.values)
        except InvalidTemplate as error:
            faults = error.problems
        for fault in faults:
            self.inputs.problems.add(
                fault.message, locate_line(source, fault.line, fault.column), fault.fix
            )
        return None if faults else rendered


def locate_line(source: TemplateSource, line: int, column: int = 1) -> Location:
    """Return the place of a line of a template; for a one-line text, the place of the text."""
    where = source.where
    if source.lines_above:
        return Location(where.file, source.lines_above + line, 1, where.document)
    if not source.parts:
        return where
    started = [part for part in source.parts if part.line <= line]
    part = started[-1] if started else source.parts[0]
    return Location(part.file, line - part.line + 1, column)


def resolve_relative(where: Location, name: str) -> Path:
    """Return the path of a local file, relative to the directory of its document."""
    return Path(where.file).parent / name


def create_applet_links(applets: Iterable[LocatedName]) -> tuple[RenderedFile, ...]:
    """Create the link of each applet in /usr/bin."""
    return tuple(
        RenderedFile(RootPath(f"/usr/bin/{name.text}"), name.where, mode=0o777, link=BUSYBOX)
        for name in applets
    )


def deduplicate_files(
    components: Sequence[Component], own_files: Sequence[RenderedFile], problems: Problems
) -> tuple[Component, ...]:
    """Keep each path once: the manifest's own files win, duplicates count once.

    Different files of two components at one path are a problem.
    """
    replaced = {file.path for file in own_files}
    files_by_path: dict[RootPath, RenderedFile] = {}
    result = []
    for component in components:
        unique = []
        for file in component.files:
            first_file = files_by_path.setdefault(file.path, file)
            if file.path in replaced:
                continue
            if first_file is file:
                unique.append(file)
            elif replace(first_file, where=file.where) != file:
                problems.add(
                    f"{file.path} is defined twice with different content; also at {first_file.where}",
                    file.where,
                    "remove one of them, or define the path in the manifest's own files:",
                )
        result.append(replace(component, files=tuple(unique)))
    return tuple(result)


def is_regular_expression(text: str) -> bool:
    """Whether `text` is a regular expression, and means the same to every Python (`[[` does not)."""
    try:
        with warnings.catch_warnings(action="error", category=FutureWarning):
            re.compile(text)
    except (re.error, OverflowError, RecursionError, FutureWarning):
        return False
    return True
