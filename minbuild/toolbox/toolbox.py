"""How tools of the archive run from the store, with none of this machine's libraries."""

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.facts.types import Entry
from minbuild.manifest.types import Tool
from minbuild.paths import RootPath, rootpath, under
from minbuild.run import paste, run
from minbuild.store import Store
from minbuild.toolbox.intact import BYTECODE, note_bytecode
from minbuild.toolbox.lay import EMPTY, GCONV, lay

DOS_BEGAN = 315532800
"""1980-01-01: FAT's oldest date."""


@dataclass(frozen=True, slots=True)
class Loader:
    """Where an architecture's dynamic loader and libraries lie."""

    path: RootPath
    libraries: RootPath


LOADERS: Mapping[str, Loader] = {
    "amd64": Loader(
        RootPath("/usr/lib64/ld-linux-x86-64.so.2"), RootPath("/usr/lib/x86_64-linux-gnu")
    ),
    "arm64": Loader(
        RootPath("/usr/lib/ld-linux-aarch64.so.1"), RootPath("/usr/lib/aarch64-linux-gnu")
    ),
    "riscv64": Loader(
        RootPath("/usr/lib/ld-linux-riscv64-lp64d.so.1"), RootPath("/usr/lib/riscv64-linux-gnu")
    ),
}
"""By Debian architecture. Source: Debian Policy 9.1.1; glibc's SYSDEPS for each."""


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

    @cached_property
    def root(self) -> Path:
        """The directory on this machine that is the tools' root."""
        return lay(tuple(self._entries.values()), self._store)

    @property
    def libraries(self) -> RootPath:
        """The tools' main library directory: /usr/lib/x86_64-linux-gnu."""
        return self._loader.libraries

    def path(self, path: RootPath) -> Path:
        """Where a file of the toolbox lies on this machine.

        Raises: ToolError when the toolbox has no such file.
        """
        place = under(self.root, path)
        if not place.exists():
            raise ToolError(
                f"the toolbox has no {path}",
                where=str(self.root),
                fix="write the lock anew, so that it pins every tool: minbuild lock",
            )
        return place

    def digest(self, path: RootPath) -> str:
        """The SHA-256 of a file of the toolbox, its links followed; nothing is laid down."""
        seen: set[RootPath] = set()
        while (entry := self._entries.get(path)) and entry.target and path not in seen:
            seen.add(path)
            path = rootpath(posixpath.join(posixpath.dirname(path), entry.target))
        return entry.sha256 if entry else ""

    def argv(self, name: str) -> tuple[str, ...]:
        """The words that start a tool; its own arguments follow them.

        Raises: UsageError when there is no tool of that name.
        """
        program = self.path(self._tool(name).run)
        with program.open("rb") as file:
            start = file.read(256)
        if start.startswith(b"#!"):
            return (*self._python(start, program), str(program))
        return self._load(program, name)

    def environment(self) -> dict[str, str]:
        """The whole environment of a tool: nothing of this machine's, nothing that varies."""
        return {
            "GCONV_PATH": str(under(self.root, GCONV)),
            "HOME": str(under(self.root, EMPTY)),
            "LC_ALL": "C",
            "LOCPATH": str(under(self.root, EMPTY)),
            "MKE2FS_CONFIG": str(under(self.root, RootPath("/etc/mke2fs.conf"))),
            "MKE2FS_DETERMINISTIC": "1",
            "MTOOLSRC": os.devnull,
            "OPENSSL_CONF": os.devnull,
            "PATH": str(under(self.root, EMPTY)),
            "PYTHONHASHSEED": "0",
            "PYTHONHOME": str(under(self.root, RootPath("/usr"))),
            "PYTHONPATH": str(under(self.root, RootPath("/usr/lib/python3/dist-packages"))),
            "PYTHONPYCACHEPREFIX": str(under(self.root, BYTECODE)),
            "PYTHONUTF8": "1",
            "QEMU_MODULE_DIR": str(under(self.root, EMPTY)),
            "SOURCE_DATE_EPOCH": str(self._epoch),
            "TZ": "UTC0",
        }

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
        environment = self.environment() | dict(env or {})
        try:
            out = run([*argv, *args], what=what, cwd=cwd, env=environment, stdin=stdin)
        except ToolError as error:
            again = paste(["minbuild", "tool", name, "--", *args])
            raise ToolError(
                error.what.replace(Path(argv[0]).name, name, 1),
                where=str(cwd or ""),
                fix=f"run this to see it alone: {again}",
            ) from error
        if "-P" in argv:  # a Python script
            note_bytecode(self.root, self._store)
        return out

    def _tool(self, name: str) -> Tool:
        if name not in self._tools:
            raise UsageError(
                f"there is no tool {name}", fix=f"name one of {', '.join(sorted(self._tools))}"
            )
        return self._tools[name]

    def _load(self, program: Path, name: str) -> tuple[str, ...]:
        """Start an ELF program by the tools' own loader. Source: ld.so(8)."""
        return (
            str(self.path(self._loader.path)),
            "--inhibit-cache",
            "--library-path",
            self._library_path,
            "--argv0",
            name,
            str(program),
        )

    def _python(self, start: bytes, script: Path) -> tuple[str, ...]:
        """Start a Python script: no site directories, no user's, nothing of the machine's."""
        line = start.partition(b"\n")[0].decode("utf-8", "replace")
        name = posixpath.basename(line[2:].split()[-1]) if line[2:].split() else ""
        if not name.startswith("python3"):
            raise ToolError(
                "the toolbox starts Python scripts only",
                where=f"{script}: {line}",
                fix="name a program or a Python script in the tool's `run`",
            )
        python = self.path(rootpath(f"/usr/bin/{name}"))
        return (*self._load(python, str(python)), "-P", "-s", "-S")

    @cached_property
    def _library_path(self) -> str:
        """Every directory of the tree that holds libraries, so that the loader looks nowhere else."""
        first = [self._loader.libraries, rootpath("/usr/lib")]
        holding = {
            RootPath(posixpath.dirname(path))
            for path in self._entries
            if ".so" in posixpath.basename(path) and "/lib-dynload/" not in path
        }
        rest = sorted(holding - {*first, RootPath(posixpath.dirname(self._loader.path))})
        return ":".join(str(under(self.root, path)) for path in (*first, *rest))
