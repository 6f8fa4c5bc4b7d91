"""How tools of the archive run from the store, with none of this machine's libraries."""

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.facts.types import Entry
from minbuild.manifest.types import Tool
from minbuild.paths import RootPath, rootpath
from minbuild.run import alone, paste, run
from minbuild.store import Store
from minbuild.toolbox import intact
from minbuild.toolbox.laid import LOADERS, Laid
from minbuild.toolbox.lay import inner_links, lay, tree_key
from minbuild.toolbox.waiting import Waiting

DOS_BEGAN = 315532800
"""1980-01-01: FAT's oldest date."""


class Toolbox:
    """The build's own programs, each pinned by the lock; laid down when the first one is used."""

    def __init__(
        self,
        tools: Sequence[Tool],
        entries: Sequence[Entry],
        store: Store,
        *,
        arch: str,
        epoch: int = 0,
    ) -> None:
        """Know tools and the entries of their closure, whose contents the store holds.

        `arch` is this machine's. `epoch`, seconds UTC, is the time that tools write into files.
        """
        self._tools = {tool.name: tool for tool in tools}
        self._entries = {entry.path: entry for entry in entries}
        self._store = store
        self._loader = LOADERS[arch]
        self._epoch = max(epoch, DOS_BEGAN)
        self._waiting: dict[str, Waiting] = {}

    @cached_property
    def root(self) -> Path:
        """The directory on this machine that is the tools' root."""
        for waiting in self._waiting.values():
            if waiting.sound:
                return self.place
        return lay(tuple(self._entries.values()), self._store)

    @cached_property
    def place(self) -> Path:
        """Where the tools lie, or will lie once they are laid down."""
        return self._store.tree(tree_key(tuple(self._entries.values())))

    @property
    def places(self) -> tuple[Path, ...]:
        """The directories of this machine that hold the tools and their files."""
        return (self.root,)

    @property
    def store(self) -> Store:
        """The store that the tools lie in."""
        return self._store

    def forget(self) -> None:
        """Lay the tools down anew when they are used next: they are gone."""
        self.rest()
        for name in ("root", "_laid"):
            self.__dict__.pop(name, None)

    @property
    def libraries(self) -> RootPath:
        """The tools' main library directory: /usr/lib/x86_64-linux-gnu."""
        return self._loader.libraries

    def path(self, path: RootPath) -> Path:
        """Where a file of the toolbox lies on this machine.

        Raises: ToolError when the toolbox has no such file.
        """
        return self._laid.path(path)

    def digest(self, path: RootPath) -> str:
        """The SHA-256 of a file of the toolbox, its links followed; nothing is laid down."""
        seen: set[RootPath] = set()
        while (entry := self._entries.get(path)) and entry.target and path not in seen:
            seen.add(path)
            path = rootpath(posixpath.join(posixpath.dirname(path), entry.target))
        return entry.sha256 if entry else ""

    def argv(self, name: str) -> tuple[str, ...]:
        """The words that start a tool; its own arguments follow them.

        Raises: UsageError when there is no tool of that name, ToolError when none can be started.
        """
        tool = self._tool(name)
        laid = self._laid
        if os.statvfs(self.root).f_flag & os.ST_NOEXEC:
            raise ToolError(
                f"{name} cannot be started: the store lies on a file system that is mounted noexec",
                where=str(self._store.directory),
                fix="use a store elsewhere (--store DIR or MINBUILD_STORE), or mount that one with exec",
            )
        return laid.argv(tool)

    def environment(self) -> dict[str, str]:
        """The whole environment of a tool: nothing of this machine's, nothing that varies."""
        return self._laid.environment()

    def run(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        what: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> bytes:
        """Run a tool to its end and return its stdout; `env` is added to its environment.

        Raises: ToolError when it fails, with its last lines and a command to paste.
        """
        argv = self.argv(name)
        out = self._asked(name, args, cwd, env or {}) if stdin is None else None
        if out is None:
            out = self._started(name, [*argv, *args], args, what, cwd, env or {}, stdin)
        if "-P" in argv:  # a Python script
            intact.note_bytecode(self.root, self._store)
        return out

    def confined(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        what: str,
        reads: Sequence[Path] = (),
        writes: Path | None = None,
        stdin: bytes = b"",
        stdout: Path | None = None,
        env: Mapping[str, str] | None = None,
        output: int = 256 << 20,
        file: int = 1 << 20,
        codes: Sequence[int] = (0,),
        note: Callable[[str], None] | None = None,
    ) -> bytes:
        """Run a tool over what a stranger wrote: it sees the tools, `reads` and `writes` alone.

        `output`, `file`: bytes of its stdout, and of the largest file that it may write;
        `codes`: how it may exit. Returns its stdout; b"" where that goes to the file `stdout`.
        Raises: ToolError when it fails, or is ended for what it used up.
        """
        # here, since ctypes is slow to import and few commands read what strangers wrote
        from minbuild.sandbox.run import Bounds, Confined
        from minbuild.sandbox.run import run as sandboxed

        temporary = {"TMPDIR": str(writes)} if writes is not None else {}
        program = Confined(
            [*self.argv(name), *args], [self.root, *reads], self.environment() | temporary | dict(env or {}),
            writes, Bounds(output=output, file=file),
        )  # fmt: skip
        try:
            if stdout is None:
                return sandboxed(program, what=what, stdin=stdin, codes=codes, note=note)
            with stdout.open("wb") as out:
                return sandboxed(
                    program, what=what, stdin=stdin, stdout=out.fileno(), codes=codes, note=note
                )
        except ToolError as error:
            error.what = error.what.replace(Path(program.argv[0]).name, name, 1)
            error.where = ", ".join(map(str, reads)) or error.where
            raise

    def begin(self, name: str, at_once: int = 1) -> None:
        """Check the tools and load a Python script ahead, beside other work; then `rest`.

        So many processes will ask it `at_once`.

        Does nothing where no process can be forked safely, and for what is not laid down.
        Raises: ToolError when the tool cannot be started.
        """
        if name in self._waiting or not alone() or not self.place.is_dir():
            return
        laid = self._at(self.place)
        *python, script = laid.argv(self._tool(name))
        if "-P" not in python:
            return
        entries = tuple(self._entries.values())
        links, noted = inner_links(entries), intact.noted(self.place, self._store)
        known = "root" in self.__dict__
        self._waiting[name] = Waiting(
            python,
            script,
            laid.environment(),
            lambda: known or intact.is_sound(self.place, entries, links, noted),
            at_once,
        )

    def rest(self) -> None:
        """End the tools that were begun."""
        for name in list(self._waiting):
            self._waiting.pop(name).end()

    def _asked(
        self, name: str, args: Sequence[str | Path], cwd: Path | None, env: Mapping[str, str]
    ) -> bytes | None:
        """The stdout of a tool that was begun; None when it was not, or failed: then it runs anew."""
        waiting = self._waiting.get(name)
        return None if waiting is None else waiting.ask(args, cwd=cwd, env=env)

    def _started(
        self,
        name: str,
        argv: Sequence[str | Path],
        args: Sequence[str | Path],
        what: str,
        cwd: Path | None,
        env: Mapping[str, str],
        stdin: bytes | None,
    ) -> bytes:
        environment = self.environment() | dict(env)
        try:
            return run(argv, what=what, cwd=cwd, env=environment, stdin=stdin)
        except ToolError as error:
            again = paste(["minbuild", "tool", name, "--", *args])
            raise ToolError(
                error.what.replace(Path(argv[0]).name, name, 1),
                where=str(cwd or ""),
                fix=f"run this to see it alone: {again}",
            ) from error

    def _tool(self, name: str) -> Tool:
        if name not in self._tools:
            raise UsageError(
                f"there is no tool {name}", fix=f"name one of {', '.join(sorted(self._tools))}"
            )
        return self._tools[name]

    @cached_property
    def _laid(self) -> Laid:
        return self._at(self.root)

    def _at(self, root: Path) -> Laid:
        return Laid(root, self._entries.keys(), self._loader, self._epoch)
