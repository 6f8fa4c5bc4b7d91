"""Landlock confinement of QEMU, so that an untrusted image cannot reach other files through it.

This module is also a program: it takes rights and a command line, restricts itself and executes the
command. To start fast it imports nothing of minbuild but the sandbox's system calls.
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
"""LANDLOCK_ACCESS_FS_IOCTL_DEV: QEMU reads the size of a block device by an ioctl."""
WRITE_RIGHTS = ~syscalls.EXECUTE
"""All rights but to execute."""
SYSTEM_PATHS = ("/usr", "/lib", "/lib64", "/bin", "/sys/module", "/sys/devices/system")
"""Directories that every program may read; no user's data is there."""
DEVICE_PATHS = ("/dev/kvm", "/dev/null", "/dev/urandom")

BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); import minbuild.lab.landlock as it; it.exec_restricted()"


def build_confined_argv(
    reads: Iterable[Path], writes: Iterable[Path], argv: Sequence[str], *, network: bool
) -> tuple[str, ...]:
    """Extend a command line so that the program reaches only these paths and the system's.

    `network`: allow TCP; on QEMU's user network QEMU connects to its helper program by loopback.
    Without Landlock (Linux before 5.13, or switched off) the command line stays the same.
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


UNCONFINED_NOTE = "QEMU runs unconfined, with all your rights: this kernel has no Landlock"


def is_available() -> bool:
    """Whether this kernel supports Landlock."""
    return syscalls.read_landlock_version() > 0


def exec_restricted() -> NoReturn:
    """Restrict this process to the rights on the command line, and execute the program."""
    (network, rights), argv = json.loads(sys.argv[2]), sys.argv[3:]
    syscalls.drop_privileges(bounding=False)
    existing = [(path, allowed) for path, allowed in rights if Path(path).exists()]
    syscalls.restrict_with_landlock(existing, network=network)
    os.execv(argv[0], argv)
