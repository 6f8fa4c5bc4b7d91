"""The door to programs that read what a stranger wrote."""

import contextlib
import marshal
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.run import failed, stop
from minbuild.sandbox import launch

REQUIRE = "MINBUILD_SANDBOX"
"""Environment: `require` refuses to run a reader where nothing can hide the user's files from it."""
_TAIL = 1 << 16
"""Bytes of a program's last words that are kept."""
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from minbuild.sandbox.launch import main; main()"
)


class Means(StrEnum):
    """What keeps a program away from this machine; the first that works is used."""

    NAMESPACES = launch.NAMESPACES
    """Namespaces for users, files, network, processes and IPC; a root of its own; seccomp."""
    LANDLOCK = launch.LANDLOCK
    """Landlock for files and network; seccomp."""
    LIMITS = launch.LIMITS
    """Neither: seccomp and limits alone."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a program may use up before it is ended."""

    memory: int = 1 << 30
    """Bytes that it may write to."""
    seconds: int = 120
    """Of processor time and of the clock."""
    output: int = 256 << 20
    """Bytes of its stdout."""
    file: int = 1 << 20
    """Bytes of each file that it writes."""


@dataclass(frozen=True, slots=True)
class Confined:
    """A program and all of this machine that it sees."""

    argv: Sequence[str | Path]
    reads: Sequence[Path]
    """Files and directories, absolute, that it finds at their own places."""
    env: Mapping[str, str]
    """Its whole environment."""
    writes: Path | None = None
    """The one directory that it may write to."""
    bounds: Bounds = Bounds()


def run(
    program: Confined,
    *,
    what: str,
    stdin: bytes = b"",
    stdout: int = subprocess.PIPE,
    codes: Sequence[int] = (0,),
    note: Callable[[str], None] | None = None,
) -> bytes:
    """Run a program to its end and return its stdout; b"" where that goes to the file `stdout`.

    It has no shell, no network, no process but its own and no file but those named; it is ended
    when it uses more than its bounds. `codes` are the exit codes of success. `note` is told where this machine allows less than that.

    Raises: ToolError when it fails or is ended, or `MINBUILD_SANDBOX=require` is not met.
    """
    why = ""
    for means in _means(note):
        with _launched(program, means, what, stdout) as (process, status):
            out, err, over = _collect(process, stdin, program.bounds)
        why = _said(status)
        if process.returncode != launch.UNABLE or not why:
            break
        _known.refused(means, why)
    else:
        raise _no_sandbox(program.argv, what, why)
    if process.returncode == launch.NOT_STARTED and why:
        raise _no_sandbox(program.argv, what, why)
    if process.returncode == -signal.SIGXFSZ:
        over = f"{program.bounds.file} bytes of a file"
    if over:
        raise _too_much(program.argv, what, over)
    if process.returncode not in codes:
        error = failed(program.argv, what, process.returncode, err or out)
        # no command to paste: it would run outside of the sandbox
        error.where, error.fix = "", _OTHER
        raise error
    return out


class Server:
    """A program that is run again and again, each time on other input, in one sandbox."""

    def __init__(self, program: Confined, *, what: str) -> None:
        self._program = program
        self._what = what
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, data: bytes) -> tuple[int, bytes]:
        """Run the program with this input; returns its exit code and stdout.

        The code is negative, and stdout cut off or empty, when it is ended for what it used up.

        Raises: ToolError when it cannot be started.
        """
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._process, self._owner = self._begin(), os.getpid()
            process = self._process
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(launch.QUESTION.pack(len(data)) + data)
                process.stdin.flush()
                head = process.stdout.read(launch.HEAD.size)
                code, size = launch.HEAD.unpack(head)
                return code, process.stdout.read(size)
            except (OSError, struct.error) as error:
                _end(process)
                self._process = None
                raise ToolError(
                    f"{Path(self._program.argv[0]).name} ended while {self._what}",
                    fix="run the same command again",
                ) from error

    def close(self) -> None:
        """End the program; it begins anew with the next question."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                _end(self._process)
            self._process = None

    def _begin(self) -> "subprocess.Popen[bytes]":
        why = ""
        for means in _means(None):
            process, status = _popen(self._program, means, self._what, subprocess.PIPE, serve=True)
            why = _said(status)
            if not why:
                return process
            _end(process)
            _known.refused(means, why)
        raise _no_sandbox(self._program.argv, self._what, why)


class _Known:
    """What this machine allows, learnt by the first program that is run."""

    def __init__(self) -> None:
        self.left = list(Means)
        self.told = False
        self.why = ""

    def refused(self, means: Means, why: str) -> None:
        self.why = why
        if means in self.left:
            self.left.remove(means)


_known = _Known()


def _means(note: Callable[[str], None] | None) -> Iterator[Means]:
    """The ways to try, best first. Raises: ToolError when limits alone do not do."""
    while _known.left:
        means = _known.left[0]
        if means is Means.LIMITS and os.environ.get(REQUIRE) == "require":
            raise ToolError(
                f"this machine has no sandbox for programs that read foreign files: {_known.why}",
                where=f"{REQUIRE}=require",
                fix="allow user namespaces or Landlock, or use another machine",
            )
        if means is not Means.NAMESPACES and note is not None and not _known.told:
            _known.told = True
            note(_LESS[means].format(why=_known.why))
        yield means
        if means in _known.left:
            return


_LESS = {
    Means.LANDLOCK: "programs that read foreign files are confined by Landlock ({why})",
    Means.LIMITS: "programs that read foreign files are not confined, they have limits alone: this "
    f"machine has neither user namespaces nor Landlock ({{why}}); {REQUIRE}=require refuses them",
}


@contextlib.contextmanager
def _launched(
    program: Confined, means: Means, what: str, stdout: int
) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    process, status = _popen(program, means, what, stdout, serve=False)
    try:
        yield process, status
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    stop(process, seconds=0.2)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _popen(
    program: Confined, means: Means, what: str, stdout: int, *, serve: bool
) -> "tuple[subprocess.Popen[bytes], int]":
    status, theirs = os.pipe()
    bounds = program.bounds
    job = {
        "means": str(means),
        "argv": [str(os.fspath(word)) for word in program.argv],
        "env": dict(program.env),
        "reads": [os.path.abspath(path) for path in program.reads],  # noqa: PTH100
        "writes": os.path.abspath(program.writes) if program.writes else "",  # noqa: PTH100
        "cwd": os.path.abspath(program.writes) if program.writes else "/",  # noqa: PTH100
        "limits": [
            ("RLIMIT_CORE", 0),
            ("RLIMIT_CPU", bounds.seconds),
            ("RLIMIT_DATA", bounds.memory),
            ("RLIMIT_AS", 4 * bounds.memory),
            ("RLIMIT_FSIZE", bounds.file),
            ("RLIMIT_NOFILE", 256),
            ("RLIMIT_MEMLOCK", 0),
        ],
        "status": theirs,
        "serve": serve,
        "output": bounds.output,
        "seconds": bounds.seconds,
    }
    words = [sys.executable, "-I", "-S", "-c", _BOOT, marshal.dumps(job).hex(), _ABOVE]
    try:
        process = subprocess.Popen(
            words,
            env={key: value for key, value in os.environ.items() if key == "LD_LIBRARY_PATH"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.DEVNULL if serve else subprocess.PIPE,
            pass_fds=[theirs],
            start_new_session=True,
        )
    except OSError as error:
        os.close(status)
        raise ToolError(
            f"cannot start {sys.executable} for {what}: {error.strerror}",
            fix="check that the file is there and may be executed",
        ) from error
    finally:
        os.close(theirs)
    return process, status


_ABOVE = os.fspath(Path(__file__).parents[2])
"""Where the launcher finds minbuild."""


def _said(status: int) -> str:
    """Why the confinement could not be had; "" when the program runs. Closes the pipe."""
    with os.fdopen(status, "rb") as pipe:
        return pipe.read().decode("utf-8", "replace")


def _collect(
    process: "subprocess.Popen[bytes]", stdin: bytes, bounds: Bounds
) -> tuple[bytes, bytes, str]:
    """Feed a program and read it until it ends; stdout, the end of stderr, what it used too much of."""
    end = time.monotonic() + bounds.seconds
    out, err, over = bytearray(), bytearray(), ""
    with selectors.DefaultSelector() as waiting:
        _register(waiting, process, stdin)
        while waiting.get_map() and not over:
            ready = waiting.select(max(0, end - time.monotonic()))
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    _feed(key, waiting)
                    continue
                piece = os.read(key.fd, _TAIL)
                if not piece:
                    waiting.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    out += piece
                else:
                    err = (err + piece)[-_TAIL:]
            if not ready:
                over = f"{bounds.seconds} seconds"
            elif len(out) > bounds.output:
                over = f"{bounds.output} bytes of output"
    try:
        process.wait(0 if over else max(0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        over = over or f"{bounds.seconds} seconds"
    return bytes(out), bytes(err), over


def _register(
    waiting: selectors.BaseSelector, process: "subprocess.Popen[bytes]", stdin: bytes
) -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            waiting.register(pipe, selectors.EVENT_READ)
    assert process.stdin is not None
    if not stdin:
        process.stdin.close()
        return
    os.set_blocking(process.stdin.fileno(), False)
    waiting.register(process.stdin, selectors.EVENT_WRITE, [memoryview(stdin)])


def _feed(key: selectors.SelectorKey, waiting: selectors.BaseSelector) -> None:
    """Write what the pipe takes; at the end of the input, or of the program, close it."""
    left: list[memoryview] = key.data
    try:
        left[0] = left[0][os.write(key.fd, left[0]) :]
    except BlockingIOError:
        return
    except BrokenPipeError:
        left[0] = left[0][:0]
    if not left[0]:
        waiting.unregister(key.fileobj)
        key.fileobj.close()  # type: ignore[union-attr]


_OTHER = "the file is damaged, or made to break or exhaust its reader: use another copy of it"


def _too_much(argv: Sequence[str | Path], what: str, over: str) -> ToolError:
    return ToolError(
        f"{Path(argv[0]).name} was ended while {what}: it used more than {over}",
        fix=_OTHER,
    )


def _no_sandbox(argv: Sequence[str | Path], what: str, why: str) -> ToolError:
    return ToolError(
        f"cannot start {Path(argv[0]).name} for {what}: {why}",
        fix="check that its file is there and may be executed",
    )
