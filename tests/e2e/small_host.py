"""A small host, its packages as text, and the command line that resolves it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.archive import Archive
from tests.support.forked_command import command_server
from tests.support.server import Server, serve

PACKAGES = r"""
Package: linux-image-cloud-amd64
Version: 6.1
Depends: linux-image-6.1-cloud-amd64
/usr/share/doc/linux-image-cloud-amd64/copyright file "text"

Package: linux-image-6.1-cloud-amd64
Version: 6.1
/boot/vmlinuz-6.1-cloud-amd64 file "MZ kernel"
/boot/config-6.1-cloud-amd64 file "CONFIG_INET=y\nCONFIG_KVM=m\n# CONFIG_XEN is not set\n"
/usr/lib/modules/6.1-cloud-amd64/modules.builtin file "kernel/fs/ext4/ext4.ko\n"
/usr/lib/modules/6.1-cloud-amd64/kernel/kvm.ko.xz module name=kvm depends=irqbypass
/usr/lib/modules/6.1-cloud-amd64/kernel/irqbypass.ko.xz module name=irqbypass

Package: hello
Version: 1.0
Depends: libhello1, libc6
/usr/bin/hello 0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=libhello.so.1

Package: libhello1
Version: 1.0
Depends: libc6
/usr/lib/x86_64-linux-gnu/libhello.so.1 -> libhello.so.1.2
/usr/lib/x86_64-linux-gnu/libhello.so.1.2 elf soname=libhello.so.1

Package: libc6
Version: 2.41
/usr/lib64/ld-linux-x86-64.so.2 -> ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 0755 elf soname=ld-linux-x86-64.so.2

Package: broken
Version: 1.0
Depends: libc6
/usr/bin/broken 0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=libnowhere.so.7
"""

MANIFEST = """\
minbuild: 1
name: small
archive: {suites: [trixie], signed-by: %(key)s}
kernel: {package: linux-image-cloud-amd64}
keep:
  - {package: hello, paths: [/usr/bin/hello]}
"""


@dataclass(frozen=True, slots=True)
class Small:
    """A manifest in a directory of its own, and the archive that serves it."""

    directory: Path
    archive: Archive
    server: Server
    mirror: str

    def write(self, more: str = "", *, name: str = "small.yaml", base: str = MANIFEST) -> Path:
        """Write the manifest, with more lines at its end."""
        path = self.directory / name
        path.write_text(base % {"key": self.archive.certificate} + more, encoding="utf-8")
        return path

    def argv(self, *argv: str) -> list[str]:
        """A command line with this archive and a store of its own."""
        return [*argv, "--mirror", self.mirror, "--store", str(self.directory / "store")]


@contextmanager
def serve_small_host(path: Path, packages: str) -> Iterator[Small]:
    """A signed archive of packages as text, served on loopback, and a directory to work in."""
    (path / "archive").mkdir()
    (path / "work").mkdir()
    archive = Archive(path / "archive")
    archive.publish("trixie", packages)
    with serve(archive.directory) as server:
        yield Small(path / "work", archive, server, f"{server.url}/debian")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a run of the command ended."""

    code: int
    out: str
    err: str


def minbuild(
    *argv: str, cwd: Path, env: dict[str, str] | None = None, within: Sequence[str] = ()
) -> CommandResult:
    """Run the command in a process of its own, in `cwd`; `within` stands before its words."""
    environment = {name: value for name, value in os.environ.items() if name != "MINBUILD_MIRROR"}
    environment |= env or {}
    if not within and command_server().can_run_with(environment):
        return CommandResult(*command_server().run(list(argv), cwd, environment))
    result = subprocess.run(
        [*within, sys.executable, "-m", "minbuild", *argv],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    return CommandResult(result.returncode, result.stdout, result.stderr)
