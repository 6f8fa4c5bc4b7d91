"""Running a tree's own loader inside the tree, as root or not."""

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.elf import LOADER

MOST_SECONDS = 2
"""Of a loader's processor time: some worlds keep it turning for ever."""
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def trace_loader(tree: Path, program: str) -> subprocess.CompletedProcess[str]:
    """What the tree's loader says of a program or library, as ldd would ask it.

    `ld.so --list` would end at the first library that is not found.
    """
    return subprocess.run(
        [LOADER, program],
        capture_output=True,
        text=True,
        env={"LD_TRACE_LOADED_OBJECTS": "1"},
        preexec_fn=make_chroot(tree, bound=True),
    )


def make_chroot(tree: Path, *, proc: bool = False, bound: bool = False) -> Callable[[], None]:
    """A function that makes `tree` the root directory of the calling process.

    `proc`: its /proc is this machine's, in a name space of its own: $ORIGIN of a program is read
    from /proc/self/exe. `bound`: it ends by a signal when it takes too long.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        flags = (CLONE_NEWUSER if os.geteuid() != 0 else 0) | (CLONE_NEWNS if proc else 0)
        if flags and libc.unshare(flags) != 0:
            raise OSError(ctypes.get_errno(), "no name space of its own")
        if proc:
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            if libc.mount(b"/proc", bytes(tree / "proc"), None, MS_BIND | MS_REC, None) != 0:
                raise OSError(ctypes.get_errno(), "/proc cannot be bound")
        if bound:
            resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 1))
        os.chroot(tree)
        os.chdir("/")

    return enter
