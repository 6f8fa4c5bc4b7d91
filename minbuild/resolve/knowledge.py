"""Needs that no header shows, as data: each with what proves it."""

PROGRAM_DIRECTORIES = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
)
"""Where `env NAME` looks. Source: Debian Policy 10, login's and init's default PATH."""

RUNTIME = ("/dev", "/proc", "/run", "/sys", "/tmp")
"""Directories filled while the host runs: no package's file is ever seen there.

Source: hier(7); Filesystem Hierarchy Standard 3.0, sections 3.15, 3.18 and 6.1.
"""

UNWINDER = "libgcc_s.so.1"
"""What glibc itself loads to unwind a thread's stack. Source: glibc misc/unwind-link.c."""

UNWINDS = ("pthread_cancel", "pthread_exit", "thrd_exit")
"""Functions of libc that end the process when they cannot load UNWINDER.

Source: glibc nptl/pthread_cancel.c, nptl/pthread_exit.c ("libgcc_s.so.1 must be installed for
pthread_cancel to work"). backtrace() only returns nothing then, so it is none of them.
"""
