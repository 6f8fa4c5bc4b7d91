"""Toolbox of a build: Debian's programs, run from the cache with their own libraries."""

import os
import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from minbuild.cache.store import Store
from minbuild.errors import ToolError, UsageError
from minbuild.facts.model import FileEntry
from minbuild.formats import magic
from minbuild.manifest.model import Tool
from minbuild.paths import RootPath, to_host_path, to_root_path
from minbuild.process import format_command, run_program
from minbuild.toolbox.install import (
    BYTECODE_DIRECTORY,
    EMPTY_DIRECTORY,
    GCONV_DIRECTORY,
    compute_tree_key,
    install_tools,
    record_bytecode,
)


@dataclass(frozen=True, slots=True)
class LoaderPaths:
    """Where an architecture's dynamic loader and libraries lie."""

    path: RootPath
    libraries: RootPath


LOADER_PATHS: Mapping[str, LoaderPaths] = {
    "amd64": LoaderPaths(
        RootPath("/usr/lib64/ld-linux-x86-64.so.2"), RootPath("/usr/lib/x86_64-linux-gnu")
    ),
    "arm64": LoaderPaths(
        RootPath("/usr/lib/ld-linux-aarch64.so.1"), RootPath("/usr/lib/aarch64-linux-gnu")
    ),
    "riscv64": LoaderPaths(
        RootPath("/usr/lib/ld-linux-riscv64-lp64d.so.1"), RootPath("/usr/lib/riscv64-linux-gnu")
    ),
}
"""By Debian architecture. Source: Debian Policy 9.1.1; glibc's SYSDEPS for each."""


def is_python_script(argv: Sequence[str]) -> bool:
    """Whether the words that `build_argv` gives start a Python script."""
    return "-P" in argv


@dataclass(frozen=True)
class InstalledTools:
    """Tools as files of this machine."""

    root: Path
    paths: Collection[RootPath]
    """Every path of the tree."""
    loader: LoaderPaths
    epoch: int
    """Seconds UTC: the time that tools write into files."""

    def find_path(self, path: RootPath) -> Path:
        """Where a file of the tree lies on this machine.

        Raises: ToolError when there is no such file.
        """
        file_path = to_host_path(self.root, path)
        if not file_path.exists():
            raise ToolError(
                f"the toolbox has no {path}",
                where=str(self.root),
                fix="write the lock anew, so that it pins every tool: minbuild lock",
            )
        return file_path

    def build_argv(self, tool: Tool) -> tuple[str, ...]:
        """The words that start a tool; its own arguments follow them."""
        program = self.find_path(tool.run)
        with program.open("rb") as file:
            start = file.read(256)
        if start.startswith(magic.SCRIPT):
            return (*self._build_python_argv(start, program), str(program))
        return self._build_loader_argv(program, tool.name)

    def build_environment(self) -> dict[str, str]:
        """The whole environment of a tool: nothing of this machine's, nothing that varies."""
        return {
            "GCONV_PATH": str(to_host_path(self.root, GCONV_DIRECTORY)),
            "HOME": str(to_host_path(self.root, EMPTY_DIRECTORY)),
            "LC_ALL": "C",
            "LOCPATH": str(to_host_path(self.root, EMPTY_DIRECTORY)),
            "MKE2FS_CONFIG": str(to_host_path(self.root, RootPath("/etc/mke2fs.conf"))),
            "MKE2FS_DETERMINISTIC": "1",
            "MTOOLSRC": os.devnull,
            "OPENSSL_CONF": os.devnull,
            "PATH": str(to_host_path(self.root, EMPTY_DIRECTORY)),
            "PYTHONHASHSEED": "0",
            "PYTHONHOME": str(to_host_path(self.root, RootPath("/usr"))),
            "PYTHONPATH": str(to_host_path(self.root, RootPath("/usr/lib/python3/dist-packages"))),
            "PYTHONPYCACHEPREFIX": str(to_host_path(self.root, BYTECODE_DIRECTORY)),
            "PYTHONUTF8": "1",
            "QEMU_MODULE_DIR": str(to_host_path(self.root, EMPTY_DIRECTORY)),
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "TZ": "UTC0",
        }

    def _build_loader_argv(self, program: Path, name: str) -> tuple[str, ...]:
        """Start an ELF program by the tools' own loader. Source: ld.so(8)."""
        return (
            str(self.find_path(self.loader.path)),
            "--inhibit-cache",
            "--library-path",
            self._library_path,
            "--argv0",
            name,
            str(program),
        )

    def _build_python_argv(self, start: bytes, script: Path) -> tuple[str, ...]:
        """Start a Python script: no site directories, no user's, nothing of the machine's."""
        line = start.partition(b"\n")[0].decode("utf-8", "replace")
        name = posixpath.basename(line[2:].split()[-1]) if line[2:].split() else ""
        if not name.startswith("python3"):
            raise ToolError(
                "the toolbox starts Python scripts only",
                where=f"{script}: {line}",
                fix="name a program or a Python script in the tool's `run`",
            )
        python = self.find_path(to_root_path(f"/usr/bin/{name}"))
        return (*self._build_loader_argv(python, str(python)), "-P", "-s", "-S")

    @cached_property
    def _library_path(self) -> str:
        """Every directory of the tree that holds libraries, so that the loader looks nowhere else."""
        first = [self.loader.libraries, to_root_path("/usr/lib")]
        directories = {
            RootPath(posixpath.dirname(path))
            for path in self.paths
            if ".so" in posixpath.basename(path) and "/lib-dynload/" not in path
        }
        others = sorted(directories - {*first, RootPath(posixpath.dirname(self.loader.path))})
        return ":".join(str(to_host_path(self.root, path)) for path in (*first, *others))


DOS_EPOCH = 315532800
"""1980-01-01: FAT's oldest date."""


class Toolbox:
    """Programs that a build starts, each pinned by the lock; installed when the first one is used.

    `root` is a tree in the cache that is named by its content, so several builds share one. No
    program reads libraries or configuration of this machine.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        entries: Sequence[FileEntry],
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
        self._loader_paths = LOADER_PATHS[arch]
        self._epoch = max(epoch, DOS_EPOCH)

    @cached_property
    def root(self) -> Path:
        """The directory on this machine that is the tools' root."""
        return install_tools(tuple(self._entries.values()), self._store)

    @cached_property
    def install_path(self) -> Path:
        """Where the tools lie, or will lie once they are laid down."""
        return self._store.tree_path(compute_tree_key(tuple(self._entries.values())))

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directories of this machine that hold the tools and their files."""
        return (self.root,)

    @property
    def store(self) -> Store:
        """The store that the tools lie in."""
        return self._store

    def invalidate(self) -> None:
        """Lay the tools down anew when they are used next: they are gone."""
        for name in ("root", "_installed"):
            self.__dict__.pop(name, None)

    @property
    def libraries(self) -> RootPath:
        """The tools' main library directory: /usr/lib/x86_64-linux-gnu."""
        return self._loader_paths.libraries

    def find_path(self, path: RootPath) -> Path:
        """Where a file of the toolbox lies on this machine.

        Raises: ToolError when the toolbox has no such file.
        """
        return self._installed.find_path(path)

    def find_digest(self, path: RootPath) -> str:
        """The SHA-256 of a file of the toolbox, its links followed; nothing is laid down."""
        seen: set[RootPath] = set()
        while (entry := self._entries.get(path)) and entry.target and path not in seen:
            seen.add(path)
            path = to_root_path(posixpath.join(posixpath.dirname(path), entry.target))
        return entry.sha256 if entry else ""

    def build_argv(self, name: str) -> tuple[str, ...]:
        """The words that start a tool; its own arguments follow them.

        Raises: UsageError when there is no tool of that name, ToolError when none can be started.
        """
        tool = self._find_tool(name)
        installed = self._installed
        if os.statvfs(self.root).f_flag & os.ST_NOEXEC:
            raise ToolError(
                f"{name} cannot be started: the store lies on a file system that is mounted noexec",
                where=str(self._store.directory),
                fix="use a store elsewhere (--store DIR or MINBUILD_STORE), or mount that one with exec",
            )
        return installed.build_argv(tool)

    def build_environment(self) -> dict[str, str]:
        """The whole environment of a tool: nothing of this machine's, nothing that varies."""
        return self._installed.build_environment()

    def run(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        purpose: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> bytes:
        """Run a tool to its end and return its stdout; `env` is added to its environment.

        Raises: ToolError when it fails, with its last lines and a command to paste.
        """
        argv = self.build_argv(name)
        environment = self.build_environment() | dict(env or {})
        try:
            out = run_program(
                [*argv, *args], purpose=purpose, cwd=cwd, env=environment, stdin=stdin
            )
        except ToolError as error:
            command = format_command(["minbuild", "tool", name, "--", *args])
            raise ToolError(
                error.what.replace(Path(argv[0]).name, name, 1),
                where=str(cwd or ""),
                fix=f"run this to see it alone: {command}",
            ) from error
        if is_python_script(argv):
            record_bytecode(self.root, self._store)
        return out

    def run_confined(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        purpose: str,
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
        from minbuild.sandbox import runner

        temporary = {"TMPDIR": str(writes)} if writes is not None else {}
        program = runner.ConfinedProgram(
            [*self.build_argv(name), *args], [self.root, *reads], self.build_environment() | temporary | dict(env or {}),
            writes, runner.ResourceLimits(output=output, file=file),
        )  # fmt: skip
        run = partial(runner.run_confined, program, purpose=purpose, stdin=stdin, codes=codes, note=note)  # fmt: skip
        try:
            if stdout is None:
                return run()
            with stdout.open("wb") as out:
                return run(stdout=out.fileno())
        except ToolError as error:
            error.what = error.what.replace(Path(program.argv[0]).name, name, 1)
            error.where = ", ".join(map(str, reads)) or error.where
            raise

    def _find_tool(self, name: str) -> Tool:
        if name not in self._tools:
            raise UsageError(
                f"there is no tool {name}", fix=f"name one of {', '.join(sorted(self._tools))}"
            )
        return self._tools[name]

    @cached_property
    def _installed(self) -> InstalledTools:
        return self._open_installed(self.root)

    def _open_installed(self, root: Path) -> InstalledTools:
        return InstalledTools(root, self._entries.keys(), self._loader_paths, self._epoch)
