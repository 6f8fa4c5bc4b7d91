"""A tree of tools that lies on this machine: how its programs start, with nothing of the machine's."""

import os
import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.formats import magic
from minbuild.manifest.model import Tool
from minbuild.paths import RootPath, to_host_path, to_root_path
from minbuild.toolbox.install import BYTECODE_DIRECTORY, EMPTY_DIRECTORY, GCONV_DIRECTORY


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
