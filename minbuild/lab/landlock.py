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

from minbuild.sandbox import syscalls

READ_RIGHTS = syscalls.EXECUTE | syscalls.READ_FILE | syscalls.READ_DIR
DEVICE_RIGHTS = READ_RIGHTS | 1 << 15
"""LANDLOCK_ACCESS_FS_IOCTL_DEV: a block device is asked for its size so."""
WRITE_RIGHTS = ~syscalls.EXECUTE
"""All but to execute."""
SYSTEM_PATHS = ("/usr", "/lib", "/lib64", "/bin", "/sys/module", "/sys/devices/system")
"""What every program may read; nothing there is a user's."""
DEVICE_PATHS = ("/dev/kvm", "/dev/null", "/dev/urandom")

BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); import minbuild.lab.landlock as it; it.main()"
)


def build_confined_argv(
    reads: Iterable[Path], writes: Iterable[Path], argv: Sequence[str], *, network: bool
) -> tuple[str, ...]:
    """What starts a program that reaches these files and directories, and the system's.

    `network`: TCP, too; QEMU's own network speaks to the programs that it starts by loopback.
    Without Landlock (Linux before 5.13, or switched off) that is the program alone.
    """
    if not is_available():
        return tuple(argv)
    package_parent = Path(__file__).parents[2]
    runtime_paths = (Path(sys.prefix), Path(sys.base_prefix), package_parent / "minbuild")
    rights = [
        (str(path), DEVICE_RIGHTS if path.is_block_device() else READ_RIGHTS)
        for path in (*runtime_paths, *map(Path, SYSTEM_PATHS), *reads)
    ]
    rights += [(str(path), WRITE_RIGHTS) for path in (*writes, *map(Path, DEVICE_PATHS))]
    return (
        sys.executable,
        "-ISc",
        BOOTSTRAP,
        str(package_parent),
        json.dumps([network, rights]),
        *argv,
    )


UNCONFINED_NOTE = "QEMU may read all that you may: this kernel has no Landlock to confine it with"


def is_available() -> bool:
    """Whether this kernel confines by Landlock."""
    return syscalls.read_landlock_version() > 0


def main() -> NoReturn:
    """Take the rights and the program from the command line, and become it."""
    (network, rights), argv = json.loads(sys.argv[2]), sys.argv[3:]
    syscalls.drop_privileges(bounding=False)
    existing = [(path, allowed) for path, allowed in rights if Path(path).exists()]
    syscalls.restrict_with_landlock(existing, network=network)
    os.execv(argv[0], argv)
