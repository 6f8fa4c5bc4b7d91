"""Program that confines itself, then runs another; `runner` starts it.

It has one thread and imports nothing of minbuild but `syscalls`: so it starts fast and can
unshare its namespaces.
"""

import contextlib
import fcntl
import marshal
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from minbuild.sandbox import syscalls

NAMESPACES, LANDLOCK, LIMITS = "namespaces", "landlock", "limits"
NO_CONFINEMENT, NOT_STARTED = 125, 126
"""Exit codes if the confinement, or the program, cannot be set up; the pipe has the reason."""
RESPONSE_HEADER = struct.Struct(">iQ")
"""Exit code, and bytes that follow."""
REQUEST_HEADER = struct.Struct(">Q")
_NOBODY_ID = 65534
_DEVICE = "/dev/null"
_CHUNK = 1 << 20
_PIPE_SIZE = 1031
"""F_SETPIPE_SZ."""
_FULL_READ = syscalls.EXECUTE | syscalls.READ_FILE | syscalls.READ_DIR

Job = Mapping[str, Any]
"""A `runner.ConfinedProgram` as a dictionary, for marshal."""


def launch_job() -> NoReturn:
    """Run the job on the command line."""
    job: Job = marshal.loads(bytes.fromhex(sys.argv[1]))
    os.umask(0o077)
    os.set_inheritable(job["status"], False)
    try:
        if job["means"] == NAMESPACES:
            _enter_namespaces(job)
        elif job["means"] == LANDLOCK:
            _apply_landlock(job)
    except OSError as error:
        _report_failure(job, error, NO_CONFINEMENT)
    try:
        _start_job(job)
    except OSError as error:
        _report_failure(job, error, NOT_STARTED)


def _report_failure(job: Job, error: OSError, code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(job["status"], str(error.args[1] if len(error.args) > 1 else error).encode())
    os._exit(code)


def _enter_namespaces(job: Job) -> None:
    """Unshare every namespace and change the root; the caller continues as process 1."""
    user, group = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(syscalls.NEWUSER | syscalls.ALL_NAMESPACES)
    except OSError:
        if user:
            raise
        syscalls.unshare(
            syscalls.ALL_NAMESPACES
        )  # root may, where user namespaces are switched off
    else:
        _write_file("/proc/self/setgroups", "deny")
        _write_file("/proc/self/uid_map", f"{_NOBODY_ID} {user} 1")
        _write_file("/proc/self/gid_map", f"{_NOBODY_ID} {group} 1")
    child = os.fork()
    if child:
        os.close(job["status"])
        _exit_like(child)
    syscalls.set_parent_death_signal(signal.SIGKILL)
    _change_root(job)


def _change_root(job: Job) -> None:
    """Build a root with the files of the job and /dev/null, and change to it."""
    syscalls.mount("", "/", flags=syscalls.REC | syscalls.PRIVATE)
    mounts = [
        (path, syscalls.RDONLY | syscalls.NOSUID | syscalls.NODEV) for path in _list_top_paths(job)
    ]
    if job["writes"]:
        mounts.append((job["writes"], syscalls.NOSUID | syscalls.NODEV | syscalls.NOEXEC))
    mounts.append((_DEVICE, syscalls.NOSUID | syscalls.NOEXEC))
    sources = [(path, flags, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path, flags in mounts]
    base = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    options = "size=1m,nr_inodes=4096,mode=0755"
    syscalls.mount("minbuild", base, "tmpfs", syscalls.NOSUID | syscalls.NODEV, options)
    for path, flags, source in sources:
        target = base + path
        _create_mount_point(f"/proc/self/fd/{source}", target)
        syscalls.bind_mount(f"/proc/self/fd/{source}", target, flags)
        os.close(source)
    read_only = syscalls.RDONLY | syscalls.NOSUID | syscalls.NODEV
    syscalls.mount("", base, flags=syscalls.REMOUNT | syscalls.BIND | read_only)
    syscalls.enter_root(base)


def _list_top_paths(job: Job) -> list[str]:
    """Return the readable paths that are not below another readable or the writable one."""
    tops: list[str] = []
    for path in sorted(set(job["reads"])):
        covering = [*tops, job["writes"]] if job["writes"] else tops
        if not any(f"{path}/".startswith(f"{top}/") for top in covering):
            tops.append(path)
    return tops


def _create_mount_point(source: str, target: str) -> None:
    """Create a mount point: a directory, or an empty file."""
    if os.path.isdir(source):  # noqa: PTH112
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _apply_landlock(job: Job) -> None:
    """Restrict file access to the files of the job by Landlock."""
    syscalls.set_parent_death_signal(signal.SIGKILL)
    syscalls.drop_privileges(bounding=True)
    rights = [(path, _FULL_READ) for path in job["reads"]]
    rights.append((_DEVICE, syscalls.READ_FILE | syscalls.WRITE_FILE))
    if job["writes"]:
        rights.append((job["writes"], ~syscalls.EXECUTE))
    syscalls.restrict_with_landlock(rights)


def _start_job(job: Job) -> NoReturn:
    if job["serve"]:
        _serve(job)
    _exec_program(job)


def _exec_program(job: Job) -> NoReturn:
    """Replace this process by the program, with its limits and the seccomp filter."""
    syscalls.drop_privileges(bounding=True)
    for name, maximum in job["limits"]:
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        limit = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        resource.setrlimit(number, (limit, limit))
    program = syscalls.build_seccomp_filter()
    if program:
        # a kernel without seccomp: the namespaces must do
        with contextlib.suppress(OSError):
            syscalls.install_seccomp_filter(program)
    os.chdir(job["cwd"])
    os.execve(job["argv"][0], job["argv"], job["env"])


def _serve(job: Job) -> NoReturn:
    """Run the program once for each request: its input, answered with its output."""
    os.set_inheritable(0, False)
    os.set_inheritable(1, False)
    os.close(job["status"])
    while head := _read_exactly(0, REQUEST_HEADER.size):
        (size,) = REQUEST_HEADER.unpack(head)
        code, out = _run_once(job, _read_exactly(0, size))
        _write_all(1, RESPONSE_HEADER.pack(code, len(out)) + out)
    os._exit(0)


def _run_once(job: Job, data: bytes) -> tuple[int, bytes]:
    stdin, stdout = os.memfd_create("in"), os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(stdout[0], _PIPE_SIZE, _CHUNK)
    _write_all(stdin, data)
    os.lseek(stdin, 0, os.SEEK_SET)
    child = os.fork()
    if not child:
        try:
            os.dup2(stdin, 0)
            os.dup2(stdout[1], 1)
            os.dup2(os.open(_DEVICE, os.O_WRONLY), 2)
            _exec_program(job)
        finally:
            os._exit(NOT_STARTED)
    os.close(stdin)
    os.close(stdout[1])
    deadline = time.monotonic() + job["seconds"]
    out = b"".join(_read_output(stdout[0], job["output"], deadline))
    os.close(stdout[0])
    handle = os.pidfd_open(child)
    is_over = len(out) > job["output"]
    if is_over:
        os.kill(child, signal.SIGKILL)
    if not select.select([handle], [], [], max(0, deadline - time.monotonic()))[0]:
        os.kill(child, signal.SIGKILL)
    os.close(handle)
    status = os.waitpid(child, 0)[1]
    return (-signal.SIGKILL, b"") if is_over else (os.waitstatus_to_exitcode(status), out)


def _read_output(pipe: int, remaining: int, deadline: float) -> Iterator[bytes]:
    """Yield the output of a pipe until its end, the deadline, or the first byte too many."""
    while remaining >= 0:
        if not select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
            return
        chunk = os.read(pipe, _CHUNK)
        if not chunk:
            return
        remaining -= len(chunk)
        yield chunk


def _read_exactly(pipe: int, size: int) -> bytes:
    chunks = []
    while size:
        chunk = os.read(pipe, min(size, 1 << 20))
        if not chunk:
            return b""
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _write_all(pipe: int, data: bytes) -> None:
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(pipe, remaining) :]


def _exit_like(child: int) -> NoReturn:
    """Exit with the status of the child."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _write_file(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
