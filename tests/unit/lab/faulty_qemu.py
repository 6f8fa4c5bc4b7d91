"""QEMU whose KVM fails in one of several ways, for tests of the accelerator."""

import contextlib
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from minbuild.cache.store import Store
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox

PROGRAM = """#!{python} -IS
import os, socket, sys, time
way, words = sys.argv[1], sys.argv[2:]
by_kvm, trial = "kvm" in words, any("isa-debug-exit" in word for word in words)
cpus = words[words.index("-smp") + 1] if "-smp" in words else "1"
what = "version" if "--version" in words else "trial" if trial else "system"
# a boot's QEMU may write nowhere
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
    log.sendto(f"{{'kvm' if by_kvm else 'tcg'}} {{what}}".encode(), {log!r})
if what == "version" and way == "another QEMU":
    sys.exit(print("QEMU emulator version 99"))
if by_kvm and not (way == "good" or (way == "one processor" and cpus == "1")):
    if way == "resets":
        sys.exit(0)
    if way == "aborts":
        sys.exit("qemu-system-x86_64: error: failed to set MSR 0x10a to 0xc000069")
    if way in ("stops", "one processor"):
        time.sleep(3600)
    if not trial:
        said = {{
            "trial alone": "",
            "resets a system": "",
            "firmware alone": 'BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)\\r\\n'
                              "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID\\r\\n",
            "kernel alone": "[    0.000000] Linux version 6.12\\r\\n[    0.2] smp: secondary CPUs\\r\\n",
            "gives up": "",
        }}[way]
        sys.stdout.write(said)
        sys.stdout.flush()
        if way == "gives up":
            sys.stderr.write("KVM internal error. Suberror: 1\\n")
            sys.stderr.flush()
        if way == "resets a system":
            sys.exit(0)
        time.sleep(3600)
words = ["tcg,thread=multi" if word == "kvm" else word for word in words]
words = ["EPYC,-xsaves" if word == "host" else word for word in words]
os.execv(words[0], words)
"""


class FaultyQemu:
    """A toolbox whose QEMU is started through the program above, with a new store."""

    def __init__(self, tools: Toolbox, way: str, directory: Path) -> None:
        self._tools = tools
        self._way = way
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(directory / "log"))
        self._log.setblocking(False)
        self._program = directory / "qemu"
        self._program.write_text(PROGRAM.format(python=sys.executable, log=str(directory / "log")))
        self._program.chmod(stat.S_IRWXU)
        self.store = Store(directory / "store")

    def close(self) -> None:
        """Close the log and the store."""
        self._log.close()
        self.store.close()

    @property
    def starts(self) -> list[str]:
        """Read and clear what QEMU was started for: `kvm trial`, `tcg system`."""
        received = []
        with contextlib.suppress(BlockingIOError):
            while True:
                received.append(self._log.recv(100).decode())
        # on a busy machine a slow trial is compared with an emulated one
        return [start for start in received if start not in {"tcg version", "tcg trial"}]

    def build_argv(self, name: str) -> tuple[str, ...]:
        real = self._tools.build_argv(name)
        return (str(self._program), self._way, *real) if name.startswith("qemu") else real

    def build_environment(self) -> Mapping[str, str]:
        return self._tools.build_environment()

    @property
    def directories(self) -> tuple[Path, ...]:
        return self._tools.directories

    def find_path(self, path: RootPath) -> Path:
        return self._tools.find_path(path)
