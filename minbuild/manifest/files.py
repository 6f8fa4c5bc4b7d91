"""Files that a manifest makes: rendered, copied, linked, and no path twice."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from minbuild.manifest import template
from minbuild.manifest.inputs import Inputs
from minbuild.manifest.nodes import Scalar
from minbuild.manifest.problems import Problems
from minbuild.manifest.types import Component, Name, RenderedFile, Template, Value, Where
from minbuild.manifest.uses import Use, use_of
from minbuild.manifest.written import FileEntry, FileWish
from minbuild.paths import MERGED, RootPath, rootpath

BUSYBOX = "busybox"
"""What an applet's link in /usr/bin says. Source: busybox(1), USAGE."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders texts and files with the manifest's variables."""

    values: Mapping[str, Value]
    inputs: Inputs
    words: set[str] = field(default_factory=set)
    """Every word in the templates rendered so far: a variable that is none of them is not used."""

    def text(self, node: Scalar) -> str | None:
        """A document's text; None when it is faulty, which is then one of the problems."""
        where = node.where
        self._note(node.text)
        try:
            return template.render(node.text, self.values)
        except template.Faulty as error:
            for fault in error.faults:
                block = Where(where.file, where.line + fault.line, 1, where.document)
                self.inputs.problems.add(fault.what, block if node.block else where, fault.fix)
            return None

    def files(self, entries: Iterable[FileEntry]) -> tuple[RenderedFile, ...]:
        """The files of one document, sorted by path."""
        made = [file for entry in entries if (file := self._file(entry))]
        return tuple(sorted(made, key=lambda file: (file.path, file.where.line)))

    def _note(self, text: str) -> None:
        if template.MARKS.search(text):
            self.words.update(re.findall("[A-Za-z_][A-Za-z0-9_]*", text))

    def _file(self, entry: FileEntry) -> RenderedFile | None:
        wish = entry.wish
        content = self._content(entry)
        path = rootpath(entry.path)
        if ".." in entry.path.split("/") or path == "/" or path[1:] in MERGED:
            about = f"{entry.path} is no path of a file that a manifest can make"
            fix = "write an absolute path without .., below /usr for bin, sbin, lib and lib64"
            self.inputs.problems.add(about, entry.where, fix)
            return None
        if content is None:
            return None
        mode = 0o777 if wish.link is not None else 0o755 if wish.directory else 0o644
        return RenderedFile(
            path=path,
            where=entry.where,
            content=content[0],
            template=content[1],
            mode=mode if wish.mode is None else wish.mode,
            uid=wish.uid,
            gid=wish.gid,
            link=wish.link or "",
            directory=wish.directory,
        )

    def _content(self, entry: FileEntry) -> tuple[bytes, Template | None] | None:
        """The file's bytes, b"" for links and directories; None when they cannot be had."""
        wish = entry.wish
        if wish.source is not None:
            data = self._local(wish.source)
            return None if data is None else (data, None)
        made = self._written(wish)
        if made is None:
            return b"", None
        text = None if made.text is None else self._rendered(entry, made)
        try:
            return None if text is None else (text.encode(), made)
        except UnicodeEncodeError:
            about = f"{entry.path} holds half of a surrogate pair, which is no text"
            self.inputs.problems.add(about, entry.where, "write the character itself")
            return None

    def _local(self, name: Name) -> bytes | None:
        return self.inputs.wanted(beside(name.where, name.text), name.where)

    def _written(self, wish: FileWish) -> Template | None:
        """The template that a file is made from; None for links and directories."""
        if wish.content is not None:
            where = wish.content.where
            return Template(wish.content.text, where, where.line if wish.content.block else 0)
        return self._joined(wish.template) if wish.template else None

    def _joined(self, names: Sequence[Name]) -> Template:
        """One template of several files; a file without an end of its last line gets one."""
        parts: list[Where] = []
        texts = [self._template_text(name) for name in names]
        text = ""
        for name, more in zip(names, texts, strict=True):
            if text and not text.endswith("\n"):
                text += "\n"
            parts.append(Where(str(beside(name.where, name.text)), text.count("\n") + 1, 1))
            text += more or ""
        return Template(None if None in texts else text, parts[0], parts=tuple(parts))

    def _template_text(self, name: Name) -> str | None:
        data = self._local(name)
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError:
            about = f"{beside(name.where, name.text)} is not UTF-8 text"
            fix = "save it as UTF-8, or copy it as it is with source:"
            self.inputs.problems.add(about, name.where, fix)
            return None

    def _rendered(self, entry: FileEntry, made: Template) -> str | None:
        text = made.text or ""
        self._note(text)
        use = use_of(str(rootpath(entry.path)), text, entry.wish.mode or 0, made.where.file)
        faults: tuple[template.Fault, ...] = ()
        rendered = None
        try:
            rendered = template.render(text, self.values, use)
            if use in (Use.SHELL, Use.COMMANDS):
                faults = template.unquoted(text, self.values)
        except template.Faulty as error:
            faults = error.faults
        for fault in faults:
            self.inputs.problems.add(
                fault.what, place_in(made, fault.line, fault.column), fault.fix
            )
        return None if faults else rendered


def place_in(made: Template, line: int, column: int = 1) -> Where:
    """Where a line of a template stands; of a text on one line of a document, the text's place."""
    where = made.where
    if made.above:
        return Where(where.file, made.above + line, 1, where.document)
    if not made.parts:
        return where
    begun = [part for part in made.parts if part.line <= line]
    part = begun[-1] if begun else made.parts[0]
    return Where(part.file, line - part.line + 1, column)


def beside(where: Where, name: str) -> Path:
    """A local file that a document names: relative to the document's directory."""
    return Path(where.file).parent / name


def applet_links(applets: Iterable[Name]) -> tuple[RenderedFile, ...]:
    """The link of each applet, in /usr/bin."""
    return tuple(
        RenderedFile(RootPath(f"/usr/bin/{name.text}"), name.where, mode=0o777, link=BUSYBOX)
        for name in applets
    )


def unrepeated(
    components: Sequence[Component], own: Sequence[RenderedFile], problems: Problems
) -> tuple[Component, ...]:
    """The components with each path once: the manifest's own files win, equal ones are kept once.

    Two components that make different files of one path are a problem.
    """
    replaced = {file.path for file in own}
    first: dict[RootPath, RenderedFile] = {}
    result = []
    for component in components:
        kept = []
        for file in component.files:
            known = first.setdefault(file.path, file)
            if file.path in replaced:
                continue
            if known is file:
                kept.append(file)
            elif replace(known, where=file.where) != file:
                problems.add(
                    f"{file.path} is made twice, and not alike: also at {known.where}",
                    file.where,
                    "remove one of them, or say which under the manifest's files:",
                )
        result.append(replace(component, files=tuple(kept)))
    return tuple(result)


def is_pattern(text: str) -> bool:
    """Tell whether `text` is a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True
