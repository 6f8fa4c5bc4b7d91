"""Run a program where it sees a few files and nothing else: a program of its own, started by `run`.

It has one thread and imports nothing of minbuild but its neighbours, so that it starts at once
and may leave its namespaces.
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

from minbuild.sandbox import calls, kernel

NAMESPACES, LANDLOCK, LIMITS = "namespaces", "landlock", "limits"
UNABLE, NOT_STARTED = 125, 126
"""Exit codes when the confinement cannot be had, or the program; the pipe says why."""
HEAD = struct.Struct(">iQ")
"""Of an answer: exit code, bytes that follow."""
QUESTION = struct.Struct(">Q")
_NOBODY = 65534
_DEVICE = "/dev/null"
_CHUNK = 1 << 20
_PIPE_SIZE = 1031
"""F_SETPIPE_SZ."""
_FULL_READ = kernel.EXECUTE | kernel.READ_FILE | kernel.READ_DIR

Job = Mapping[str, Any]
"""What to run and what it may: see `run.Confined`."""


def main() -> NoReturn:
    """Run the job that stands on the command line."""
    job: Job = marshal.loads(bytes.fromhex(sys.argv[1]))
    os.umask(0o077)
    os.set_inheritable(job["status"], False)
    try:
        if job["means"] == NAMESPACES:
            _in_namespaces(job)
        elif job["means"] == LANDLOCK:
            _by_landlock(job)
    except OSError as error:
        _unable(job, error, UNABLE)
    try:
        _start(job)
    except OSError as error:
        _unable(job, error, NOT_STARTED)


def _unable(job: Job, error: OSError, code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(job["status"], str(error.args[1] if len(error.args) > 1 else error).encode())
    os._exit(code)


def _in_namespaces(job: Job) -> None:
    """Leave every namespace and the file system; the caller goes on as the first of a new one."""
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(kernel.NEWUSER | kernel.ALONE)
    except OSError:
        if user:
            raise
        kernel.unshare(kernel.ALONE)  # root may, where user namespaces are switched off
    else:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{_NOBODY} {user} 1")
        _write("/proc/self/gid_map", f"{_NOBODY} {group} 1")
    child = os.fork()
    if child:
        os.close(job["status"])
        _mirror(child)
    kernel.die_with_parent(signal.SIGKILL)
    _change_root(job)


def _change_root(job: Job) -> None:
    """Make a root that holds the files of the job, /dev/null and nothing else."""
    kernel.mount("", "/", flags=kernel.REC | kernel.PRIVATE)
    shown = [(path, kernel.RDONLY | kernel.NOSUID | kernel.NODEV) for path in _tops(job)]
    if job["writes"]:
        shown.append((job["writes"], kernel.NOSUID | kernel.NODEV | kernel.NOEXEC))
    shown.append((_DEVICE, kernel.NOSUID | kernel.NOEXEC))
    sources = [(path, flags, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path, flags in shown]
    base = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    options = "size=1m,nr_inodes=4096,mode=0755"
    kernel.mount("minbuild", base, "tmpfs", kernel.NOSUID | kernel.NODEV, options)
    for path, flags, source in sources:
        target = base + path
        _place(f"/proc/self/fd/{source}", target)
        kernel.bind(f"/proc/self/fd/{source}", target, flags)
        os.close(source)
    only_read = kernel.RDONLY | kernel.NOSUID | kernel.NODEV
    kernel.mount("", base, flags=kernel.REMOUNT | kernel.BIND | only_read)
    kernel.enter_root(base)


def _tops(job: Job) -> list[str]:
    """What may be read, without what lies below another of them or below what may be written."""
    found: list[str] = []
    for path in sorted(set(job["reads"])):
        above = [*found, job["writes"]] if job["writes"] else found
        if not any(f"{path}/".startswith(f"{top}/") for top in above):
            found.append(path)
    return found


def _place(source: str, target: str) -> None:
    """Make what a mount is put on: a directory, or an empty file."""
    if os.path.isdir(source):  # noqa: PTH112
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _by_landlock(job: Job) -> None:
    """Stay in the file system, without the right to any of it but the files of the job."""
    kernel.die_with_parent(signal.SIGKILL)
    kernel.give_up_privileges(bounding=True)
    rights = [(path, _FULL_READ) for path in job["reads"]]
    rights.append((_DEVICE, kernel.READ_FILE | kernel.WRITE_FILE))
    if job["writes"]:
        rights.append((job["writes"], ~kernel.EXECUTE))
    kernel.landlock(rights)


def _start(job: Job) -> NoReturn:
    if job["serve"]:
        _serve(job)
    _become(job)


def _become(job: Job) -> NoReturn:
    """Become the program, within limits of its own."""
    kernel.give_up_privileges(bounding=True)
    for name, most in job["limits"]:
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (limit, limit))
    program = calls.program()
    if program:
        # a kernel without seccomp: the namespaces hold alone
        with contextlib.suppress(OSError):
            kernel.filter_calls(program)
    os.chdir(job["cwd"])
    os.execve(job["argv"][0], job["argv"], job["env"])


def _serve(job: Job) -> NoReturn:
    """Answer questions: each is the input of one run of the program, the answer its output."""
    os.set_inheritable(0, False)
    os.set_inheritable(1, False)
    os.close(job["status"])
    while head := _read(0, QUESTION.size):
        (size,) = QUESTION.unpack(head)
        code, out = _answer(job, _read(0, size))
        _send(1, HEAD.pack(code, len(out)) + out)
    os._exit(0)


def _answer(job: Job, data: bytes) -> tuple[int, bytes]:
    question, answer = os.memfd_create("in"), os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(answer[0], _PIPE_SIZE, _CHUNK)
    _send(question, data)
    os.lseek(question, 0, os.SEEK_SET)
    child = os.fork()
    if not child:
        try:
            os.dup2(question, 0)
            os.dup2(answer[1], 1)
            os.dup2(os.open(_DEVICE, os.O_WRONLY), 2)
            _become(job)
        finally:
            os._exit(NOT_STARTED)
    os.close(question)
    os.close(answer[1])
    end = time.monotonic() + job["seconds"]
    out = b"".join(_output(answer[0], job["output"], end))
    os.close(answer[0])
    handle = os.pidfd_open(child)
    over = len(out) > job["output"]
    if over:
        os.kill(child, signal.SIGKILL)
    if not select.select([handle], [], [], max(0, end - time.monotonic()))[0]:
        os.kill(child, signal.SIGKILL)
    os.close(handle)
    status = os.waitpid(child, 0)[1]
    return (-signal.SIGKILL, b"") if over else (os.waitstatus_to_exitcode(status), out)


def _output(pipe: int, most: int, end: float) -> Iterator[bytes]:
    """What comes out of a pipe until its end, that of the time, or the first byte too many."""
    while most >= 0:
        if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
            return
        piece = os.read(pipe, _CHUNK)
        if not piece:
            return
        most -= len(piece)
        yield piece


def _read(pipe: int, size: int) -> bytes:
    parts = []
    while size:
        piece = os.read(pipe, min(size, 1 << 20))
        if not piece:
            return b""
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def _send(pipe: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(pipe, left) :]


def _mirror(child: int) -> NoReturn:
    """End as the child does."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _write(path: str, text: str) -> None:
    place = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(place, text.encode())
    finally:
        os.close(place)
