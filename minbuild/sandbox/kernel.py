"""What the kernel is asked for to confine a process: namespaces, mounts, Landlock, prctl.

Nothing of minbuild is imported here: the launcher starts with it, before every program.
Source: unshare(2), mount(2), pivot_root(2), prctl(2), capset(2), landlock(7).
"""

import ctypes
import os
import struct

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
ALONE = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_INHERITED = {os.ST_NOSUID: NOSUID, os.ST_NODEV: NODEV, os.ST_NOEXEC: NOEXEC, os.ST_RDONLY: RDONLY,
              os.ST_NOATIME: 1024, os.ST_NODIRATIME: 2048, os.ST_RELATIME: 1 << 21}  # fmt: skip
"""What a mount says of itself (statvfs) → what a change of it must ask for again."""
_DEATHSIG, _SECCOMP, _NO_NEW_PRIVILEGES, _DROP = 1, 22, 38, 24
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CAPABILITIES = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15
_ALL = (0, (1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1)
"""Every right to files that a version of Landlock knows, by version; later ones know the last."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave namespaces. Raises: OSError, as all of these do, with the call that was refused."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount something."""
    words = [word.encode(errors="surrogateescape") for word in (source, target, kind, options)]
    device, place, name, data = words
    result = _libc.mount(device, place, name or None, ctypes.c_ulong(flags), data or None)
    _check(result, f"mount {target}")


def bind(source: str, target: str, flags: int) -> None:
    """Show a file or directory at another place, with no more rights than it had."""
    mount(source, target, flags=BIND | REC)
    has = os.statvfs(target).f_flag
    kept = sum(flag for mark, flag in _INHERITED.items() if has & mark)
    mount("", target, flags=REMOUNT | BIND | kept | flags)


def enter_root(place: str) -> None:
    """Make a mount the root of this process's file system and let go of the old one."""
    os.chdir(place)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount2")
    os.chdir("/")


def give_up_privileges(*, bounding: bool) -> None:
    """No program that starts from here gains or keeps a privilege.

    `bounding`: also those are dropped that a program of root's would have again.
    """
    number = 0
    while bounding and _libc.prctl(_DROP, number, 0, 0, 0) == 0:
        number += 1
    head = struct.pack("=Ii", _CAPABILITIES, 0)
    _check(_libc.capset(head, bytes(24)), "capset")
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")


def die_with_parent(number: int) -> None:
    """Be sent this signal when the parent ends."""
    _check(_libc.prctl(_DEATHSIG, number, 0, 0, 0), "prctl")


def filter_calls(program: bytes) -> None:
    """Install a seccomp filter; no_new_privs is set before."""
    text = ctypes.create_string_buffer(program, len(program))
    size = len(program) // 8
    fprog = struct.pack("=H6xQ", size, ctypes.addressof(text))
    _check(_libc.prctl(_SECCOMP, 2, ctypes.c_char_p(fprog), 0, 0), "seccomp")


def landlock_version() -> int:
    """The version of Landlock that this kernel has; 0 without any."""
    version: int = _libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), 1)
    return max(0, version)


def landlock(rights: list[tuple[str, int]], *, network: bool = False) -> None:
    """Allow these rights below these paths and no others; no `network`, signals to nobody.

    `rights`: of a path that is no directory, those of files are taken. no_new_privs is set before.
    """
    version = _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    handled = _ALL[min(version, len(_ALL) - 1)]
    words = (
        [handled] + ([0 if network else 3] if version >= 4 else []) + ([3] if version >= 6 else [])
    )
    attr = struct.pack(f"={len(words)}Q", *words)
    ruleset = _syscall(_CREATE_RULESET, attr, ctypes.c_size_t(len(attr)), 0)
    for path, allowed in rights:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        within = handled if os.path.isdir(path) else handled & _FILE_RIGHTS  # noqa: PTH112
        rule = struct.pack("=Qi", allowed & within, place)
        _syscall(_ADD_RULE, ruleset, 1, rule, 0)
        os.close(place)
    _syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _syscall(number: int, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), "landlock")
