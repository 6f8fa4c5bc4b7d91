"""Running a tree's own loader inside the tree, as root or not."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

CLONE_NEWUSER = 0x10000000


def trace(tree: Path, program: str) -> str:
    """What the tree's loader says of a program or library, as ldd would ask it.

    `ld.so --list` would end at the first library that is not found.
    """
    done = subprocess.run(
        ["/lib64/ld-linux-x86-64.so.2", program],
        capture_output=True,
        text=True,
        env={"LD_TRACE_LOADED_OBJECTS": "1"},
        preexec_fn=entering(tree),
    )
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
    return done.stdout


def entering(tree: Path) -> Callable[[], None]:
    """A function that makes `tree` the root directory of the calling process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        if os.geteuid() != 0 and libc.unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "no user namespace")
        os.chroot(tree)
        os.chdir("/")

    return enter
