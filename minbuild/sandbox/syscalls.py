"""System calls that confine a process: namespaces, mounts, Landlock, seccomp, prctl.

It imports nothing of minbuild: the launcher loads it before every program.
Source: unshare(2), mount(2), pivot_root(2), prctl(2), capset(2), landlock(7).
"""

import ctypes
import errno
import os
import struct
import sys

_DENIED_EVERYWHERE = (
    *range(424, 434),  # pidfd_send_signal, io_uring, the new mount calls
    434, 438, 442, 467,  # pidfd_open, pidfd_getfd, mount_setattr, open_tree_attr
)  # fmt: skip
_DENIED_X86_64 = (
    29, 41, 53, 57, 58, 64, 68, 101, 103, 129, 133, 154, 155, 161, 163, 165, 166, 167, 169, 172,
    173, 175, 176, 179, 200, 246, 248, 249, 250, 256, 259, 272, 279, 297, 298, 303, 304, 308, 310,
    311, 312, 313, 320, 321, 323, 443,
)  # fmt: skip
"""shmget socket socketpair fork vfork semget msgget ptrace syslog rt_sigqueueinfo mknod modify_ldt
pivot_root chroot acct mount umount2 swapon reboot iopl ioperm init_module delete_module quotactl
tkill kexec_load add_key request_key keyctl migrate_pages mknodat unshare move_pages
rt_tgsigqueueinfo perf_event_open name_to_handle_at open_by_handle_at setns process_vm_readv
process_vm_writev kcmp finit_module kexec_file_load bpf userfaultfd quotactl_fd."""
_DENIED_GENERIC = (
    33, 39, 40, 41, 51, 60, 89, 97, 104, 105, 106, 116, 117, 130, 138, 142, 186, 190, 194, 198,
    199, 217, 218, 219, 224, 238, 239, 240, 241, 264, 265, 268, 270, 271, 272, 273, 280, 282, 294,
    443,
)  # fmt: skip
"""The same calls as newer architectures number them."""
_CLONE3 = 435
_CLONE_THREAD = 0x00010000
_MACHINES = {
    # machine: audit number, denied calls, clone, calls allowed on this process only
    "x86_64": (0xC000003E, _DENIED_X86_64, 56, (62, 234, 302)),
    "aarch64": (0xC00000B7, _DENIED_GENERIC, 220, (129, 131, 261)),
    "riscv64": (0xC00000F3, _DENIED_GENERIC, 220, (129, 131, 261)),
}
"""The last three: kill, tgkill, prlimit64."""
_BPF_LOAD, _BPF_JUMP_EQUAL, _BPF_JUMP_AT_LEAST, _BPF_JUMP_ANY_BIT, _BPF_RETURN = (
    0x20,
    0x15,
    0x35,
    0x45,
    0x06,
)
_RETURN_KILL, _RETURN_ERRNO, _RETURN_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_SYSCALL_OFFSET, _ARCH_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
"""Where struct seccomp_data has the call, the architecture and the first argument."""


def build_seccomp_filter() -> bytes:
    """Build the seccomp filter of this process; b"" for an unknown machine.

    A call that starts or signals another process, opens a socket, mounts or loads a module fails
    with EPERM.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        return b""
    arch, denied, clone, own_process_calls = machine
    refuse = _RETURN_ERRNO | errno.EPERM
    instructions = [
        (_BPF_LOAD, 0, 0, _ARCH_OFFSET), (_BPF_JUMP_EQUAL, 1, 0, arch), (_BPF_RETURN, 0, 0, _RETURN_KILL),
        (_BPF_LOAD, 0, 0, _SYSCALL_OFFSET),
        (_BPF_JUMP_AT_LEAST, 0, 1, 0x40000000), (_BPF_RETURN, 0, 0, refuse),  # calls of x32
        (_BPF_JUMP_EQUAL, 0, 1, _CLONE3), (_BPF_RETURN, 0, 0, _RETURN_ERRNO | errno.ENOSYS),  # then clone is used
    ]  # fmt: skip
    for call in (*_DENIED_EVERYWHERE, *denied):
        instructions += [(_BPF_JUMP_EQUAL, 0, 1, call), (_BPF_RETURN, 0, 0, refuse)]
    instructions += [
        (_BPF_JUMP_EQUAL, 0, 4, clone), (_BPF_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET), (_BPF_JUMP_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_BPF_RETURN, 0, 0, refuse), (_BPF_RETURN, 0, 0, _RETURN_ALLOW),
    ]  # fmt: skip
    for call in own_process_calls:
        instructions += [
            (_BPF_JUMP_EQUAL, 0, 5, call), (_BPF_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET), (_BPF_JUMP_EQUAL, 2, 0, os.getpid()),
            (_BPF_JUMP_EQUAL, 1, 0, 0), (_BPF_RETURN, 0, 0, refuse), (_BPF_RETURN, 0, 0, _RETURN_ALLOW),
        ]  # fmt: skip
    instructions.append((_BPF_RETURN, 0, 0, _RETURN_ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in instructions)


NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
ALL_NAMESPACES = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_UMOUNT_DETACH = 2
_INHERITED_FLAGS = {os.ST_NOSUID: NOSUID, os.ST_NODEV: NODEV, os.ST_NOEXEC: NOEXEC, os.ST_RDONLY: RDONLY,
              os.ST_NOATIME: 1024, os.ST_NODIRATIME: 2048, os.ST_RELATIME: 1 << 21}  # fmt: skip
"""Flag of a mount (statvfs) → flag to repeat when it is remounted."""
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 1, 22, 38, 24
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_CAPABILITY_VERSION = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15
_FILE_RIGHTS_BY_VERSION = (
    0,
    (1 << 13) - 1,
    (1 << 14) - 1,
    (1 << 15) - 1,
    (1 << 15) - 1,
    (1 << 16) - 1,
)
"""File access rights of each Landlock version; later versions have those of the last."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check_result(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave namespaces. Raises: OSError with the name of the call, as all of these do."""
    _check_result(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system."""
    encoded = [word.encode(errors="surrogateescape") for word in (source, target, kind, options)]
    device, mount_point, name, data = encoded
    result = _libc.mount(device, mount_point, name or None, ctypes.c_ulong(flags), data or None)
    _check_result(result, f"mount {target}")


def bind_mount(source: str, target: str, flags: int) -> None:
    """Bind-mount a file or directory, with no more rights than it had."""
    mount(source, target, flags=BIND | REC)
    mounted_flags = os.statvfs(target).f_flag
    inherited = sum(flag for mark, flag in _INHERITED_FLAGS.items() if mounted_flags & mark)
    mount("", target, flags=REMOUNT | BIND | inherited | flags)


def enter_root(root: str) -> None:
    """Make a mount the root of this process, and detach the old one."""
    os.chdir(root)
    _check_result(_libc.pivot_root(b".", b"."), "pivot_root")
    _check_result(_libc.umount2(b".", _UMOUNT_DETACH), "umount2")
    os.chdir("/")


def drop_privileges(*, bounding: bool) -> None:
    """Drop all capabilities, and prevent programs from gaining any.

    `bounding`: empty the bounding set, too, from which a program of root would regain them.
    """
    number = 0
    while bounding and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    head = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    _check_result(_libc.capset(head, bytes(24)), "capset")
    _check_result(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def set_parent_death_signal(number: int) -> None:
    """Request a signal for the end of the parent."""
    _check_result(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def install_seccomp_filter(program: bytes) -> None:
    """Install a seccomp filter, after no_new_privs."""
    buffer = ctypes.create_string_buffer(program, len(program))
    size = len(program) // 8
    fprog = struct.pack("=H6xQ", size, ctypes.addressof(buffer))
    _check_result(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(fprog), 0, 0), "seccomp")


def read_landlock_version() -> int:
    """Return the Landlock version of this kernel; 0 without Landlock."""
    version: int = _libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), 1
    )
    return max(0, version)


def restrict_with_landlock(rights: list[tuple[str, int]], *, network: bool = False) -> None:
    """Allow only these rights below these paths; no network unless `network`, no signals.

    Of the rights on a file, only those of files count. Requires no_new_privs.
    """
    version = _call_landlock(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    handled = _FILE_RIGHTS_BY_VERSION[min(version, len(_FILE_RIGHTS_BY_VERSION) - 1)]
    attributes = (
        [handled] + ([0 if network else 3] if version >= 4 else []) + ([3] if version >= 6 else [])
    )
    attr = struct.pack(f"={len(attributes)}Q", *attributes)
    ruleset = _call_landlock(_LANDLOCK_CREATE_RULESET, attr, ctypes.c_size_t(len(attr)), 0)
    for path, allowed in rights:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        permitted = handled if os.path.isdir(path) else handled & _FILE_RIGHTS  # noqa: PTH112
        rule = struct.pack("=Qi", allowed & permitted, descriptor)
        _call_landlock(_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)
        os.close(descriptor)
    _call_landlock(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _call_landlock(number: int, *arguments: object) -> int:
    return _check_result(_libc.syscall(ctypes.c_long(number), *arguments), "landlock")
