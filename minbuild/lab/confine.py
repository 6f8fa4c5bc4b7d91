"""QEMU sees its own files and nothing else: what it runs is a stranger's, and it has faults.

The program of this module is started with what may be reached, confines itself by Landlock, and
becomes QEMU. Nothing of minbuild is imported but the sandbox's calls, so that it starts at once.
Source: landlock(7).
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from minbuild.sandbox import kernel

READ = kernel.EXECUTE | kernel.READ_FILE | kernel.READ_DIR
DEVICE = READ | 1 << 15
"""LANDLOCK_ACCESS_FS_IOCTL_DEV: a block device is asked for its size so."""
WRITE = ~kernel.EXECUTE
"""All but to execute."""
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sys/module", "/sys/devices/system")
"""What every program may read; nothing there is a user's."""
DEVICES = ("/dev/kvm", "/dev/null", "/dev/urandom")

PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); import minbuild.lab.confine as it; it.main()"
)


def words(
    reads: Iterable[Path], writes: Iterable[Path], argv: Sequence[str], *, network: bool
) -> tuple[str, ...]:
    """What starts a program that reaches these files and directories, and the system's.

    `network`: TCP, too; QEMU's own network speaks to the programs that it starts by loopback.
    Without Landlock (Linux before 5.13, or switched off) that is the program alone.
    """
    if not available():
        return tuple(argv)
    top = Path(__file__).parents[2]
    own = (Path(sys.prefix), Path(sys.base_prefix), top / "minbuild")
    rights = [
        (str(path), DEVICE if path.is_block_device() else READ)
        for path in (*own, *map(Path, SYSTEM), *reads)
    ]
    rights += [(str(path), WRITE) for path in (*writes, *map(Path, DEVICES))]
    return (sys.executable, "-ISc", PROGRAM, str(top), json.dumps([network, rights]), *argv)


UNABLE = "QEMU may read all that you may: this kernel has no Landlock to confine it with"


def available() -> bool:
    """Whether this kernel confines by Landlock."""
    return kernel.landlock_version() > 0


def main() -> NoReturn:
    """Take the rights and the program from the command line, and become it."""
    (network, rights), argv = json.loads(sys.argv[2]), sys.argv[3:]
    kernel.give_up_privileges(bounding=False)
    there = [(path, allowed) for path, allowed in rights if Path(path).exists()]
    kernel.landlock(there, network=network)
    os.execv(argv[0], argv)
