"""The system calls that a program which only reads a file has no use for: a seccomp filter.

Nothing of minbuild is imported here: the launcher starts with it, before every program.
Source: seccomp(2); the kernel's syscall_64.tbl and scripts/syscall.tbl; linux/bpf_common.h.
"""

import errno
import os
import struct
import sys

_COMMON = (
    *range(424, 434),  # pidfd_send_signal, io_uring, the new mount calls
    434, 438, 442, 467,  # pidfd_open, pidfd_getfd, mount_setattr, open_tree_attr
)  # fmt: skip
_X86_64 = (
    29, 41, 53, 57, 58, 64, 68, 101, 103, 129, 133, 154, 155, 161, 163, 165, 166, 167, 169, 172,
    173, 175, 176, 179, 200, 246, 248, 249, 250, 256, 259, 272, 279, 297, 298, 303, 304, 308, 310,
    311, 312, 313, 320, 321, 323, 443,
)  # fmt: skip
"""shmget socket socketpair fork vfork semget msgget ptrace syslog rt_sigqueueinfo mknod modify_ldt
pivot_root chroot acct mount umount2 swapon reboot iopl ioperm init_module delete_module quotactl
tkill kexec_load add_key request_key keyctl migrate_pages mknodat unshare move_pages
rt_tgsigqueueinfo perf_event_open name_to_handle_at open_by_handle_at setns process_vm_readv
process_vm_writev kcmp finit_module kexec_file_load bpf userfaultfd quotactl_fd."""
_GENERIC = (
    33, 39, 40, 41, 51, 60, 89, 97, 104, 105, 106, 116, 117, 130, 138, 142, 186, 190, 194, 198,
    199, 217, 218, 219, 224, 238, 239, 240, 241, 264, 265, 268, 270, 271, 272, 273, 280, 282, 294,
    443,
)  # fmt: skip
"""The same calls as newer architectures number them."""
_CLONE3 = 435
_THREAD = 0x00010000
_MACHINES = {
    # machine: its mark, calls, clone, those whose first argument must be this process or nobody
    "x86_64": (0xC000003E, _X86_64, 56, (62, 234, 302)),
    "aarch64": (0xC00000B7, _GENERIC, 220, (129, 131, 261)),
    "riscv64": (0xC00000F3, _GENERIC, 220, (129, 131, 261)),
}
"""The last three: kill, tgkill, prlimit64."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCH, _FIRST = 0, 4, 16
"""Where struct seccomp_data has the call, the architecture and the first argument."""


def program() -> bytes:
    """The filter for this machine and this process; b"" for a machine that is not known.

    No process starts another, reaches another, opens a socket, mounts or loads anything: such a
    call fails with EPERM.
    """
    known = _MACHINES.get(os.uname().machine)
    if known is None or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        return b""
    arch, denied, clone, own = known
    refuse = _ERRNO | errno.EPERM
    lines = [
        (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, refuse),  # calls of x32
        (_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),  # then clone is used
    ]  # fmt: skip
    for call in (*_COMMON, *denied):
        lines += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, refuse)]
    lines += [
        (_EQUAL, 0, 4, clone), (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 1, 0, _THREAD),
        (_RETURN, 0, 0, refuse), (_RETURN, 0, 0, _ALLOW),
    ]  # fmt: skip
    for call in own:
        lines += [
            (_EQUAL, 0, 5, call), (_LOAD, 0, 0, _FIRST), (_EQUAL, 2, 0, os.getpid()),
            (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, refuse), (_RETURN, 0, 0, _ALLOW),
        ]  # fmt: skip
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
