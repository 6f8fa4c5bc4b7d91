"""Starts confined programs: the strongest confinement that this machine supports."""

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
from minbuild.process import describe_failure, stop_program
from minbuild.sandbox import launcher

REQUIRE_VARIABLE = "MINBUILD_SANDBOX"
"""Environment variable: `require` makes it an error if only limits are available."""
_TAIL_SIZE = 1 << 16
"""Bytes of stderr to keep."""
_LAUNCHER_CODE = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from minbuild.sandbox.launcher import launch_job; launch_job()"
)


class Confinement(StrEnum):
    """Kinds of confinement, strongest first; the first that works is used."""

    NAMESPACES = launcher.NAMESPACES
    """User, mount, network, PID and IPC namespaces; its own root; seccomp."""
    LANDLOCK = launcher.LANDLOCK
    """Landlock for files and network; seccomp."""
    LIMITS = launcher.LIMITS
    """Seccomp and resource limits only."""


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Resources that a program may use before it is stopped."""

    memory: int = 1 << 30
    """Bytes that it may write to."""
    seconds: int = 120
    """Of CPU time and of wall-clock time."""
    output: int = 256 << 20
    """Bytes of its stdout."""
    file: int = 1 << 20
    """Bytes of each file that it writes."""


@dataclass(frozen=True, slots=True)
class ConfinedProgram:
    """A program, and all it can access."""

    argv: Sequence[str | Path]
    reads: Sequence[Path]
    """Absolute files and directories that it can read, at the same paths."""
    env: Mapping[str, str]
    """Its whole environment."""
    writes: Path | None = None
    """The one directory that it may write to."""
    limits: ResourceLimits = ResourceLimits()


def run_confined(
    program: ConfinedProgram,
    *,
    purpose: str,
    stdin: bytes = b"",
    stdout: int = subprocess.PIPE,
    codes: Sequence[int] = (0,),
    note: Callable[[str], None] | None = None,
) -> bytes:
    """Run a program and return its stdout; b"" if that goes to the file `stdout`.

    It has no shell, no network, no other process and no file but those listed, and is stopped
    above its limits. `codes` are the exit codes of success. `note` gets a sentence if this machine
    supports only a weaker confinement.

    Raises: ToolError if it fails or is stopped, or `MINBUILD_SANDBOX=require` is not met.
    """
    refusal = ""
    for confinement in _try_confinements(note):
        with _launch(program, confinement, purpose, stdout) as (process, status):
            out, err, exceeded = _collect(process, stdin, program.limits)
        refusal = _read_status(status)
        if process.returncode != launcher.NO_CONFINEMENT or not refusal:
            break
        _support.record_refusal(confinement, refusal)
    else:
        raise _describe_unavailable(program.argv, purpose, refusal)
    if process.returncode == launcher.NOT_STARTED and refusal:
        raise _describe_unavailable(program.argv, purpose, refusal)
    if process.returncode == -signal.SIGXFSZ:
        exceeded = f"{program.limits.file} bytes of a file"
    if exceeded:
        raise _describe_overuse(program.argv, purpose, exceeded)
    if process.returncode not in codes:
        error = describe_failure(program.argv, purpose, process.returncode, err or out)
        # no command to paste: it would run outside of the sandbox
        error.where, error.fix = "", _USE_OTHER_FILE
        raise error
    return out


class SandboxServer:
    """A sandbox that runs one program many times, each time on other input."""

    def __init__(self, program: ConfinedProgram, *, purpose: str) -> None:
        self._program = program
        self._purpose = purpose
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def run_once(self, data: bytes) -> tuple[int, bytes]:
        """Run the program on this input; return its exit code and stdout.

        Above its limits the code is negative, and stdout truncated or empty.
        Raises: ToolError if it cannot be started.
        """
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._process, self._owner = self._start(), os.getpid()
            process = self._process
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(launcher.REQUEST_HEADER.pack(len(data)) + data)
                process.stdin.flush()
                header = process.stdout.read(launcher.RESPONSE_HEADER.size)
                code, size = launcher.RESPONSE_HEADER.unpack(header)
                return code, process.stdout.read(size)
            except (OSError, struct.error) as error:
                _stop_process(process)
                self._process = None
                raise ToolError(
                    f"{Path(self._program.argv[0]).name} ended while {self._purpose}",
                    fix="run the same command again",
                ) from error

    def close(self) -> None:
        """Stop the sandbox; the next run starts a new one."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                _stop_process(self._process)
            self._process = None

    def _start(self) -> "subprocess.Popen[bytes]":
        refusal = ""
        for confinement in _try_confinements(None):
            process, status = _start_launcher(
                self._program, confinement, self._purpose, subprocess.PIPE, serve=True
            )
            refusal = _read_status(status)
            if not refusal:
                return process
            _stop_process(process)
            _support.record_refusal(confinement, refusal)
        raise _describe_unavailable(self._program.argv, self._purpose, refusal)


class _MachineSupport:
    """Confinements that this machine supports, as the first runs show."""

    def __init__(self) -> None:
        self.remaining = list(Confinement)
        self.is_reported = False
        self.refusal = ""

    def record_refusal(self, confinement: Confinement, refusal: str) -> None:
        self.refusal = refusal
        if confinement in self.remaining:
            self.remaining.remove(confinement)


_support = _MachineSupport()


def _try_confinements(note: Callable[[str], None] | None) -> Iterator[Confinement]:
    """Yield the confinements to try, strongest first.

    Raises: ToolError if only limits remain and they are not enough.
    """
    while _support.remaining:
        confinement = _support.remaining[0]
        if confinement is Confinement.LIMITS and os.environ.get(REQUIRE_VARIABLE) == "require":
            raise ToolError(
                f"this machine cannot sandbox programs that read untrusted files: {_support.refusal}",
                where=f"{REQUIRE_VARIABLE}=require",
                fix="allow user namespaces or Landlock, or use another machine",
            )
        if (
            confinement is not Confinement.NAMESPACES
            and note is not None
            and not _support.is_reported
        ):
            _support.is_reported = True
            note(_WEAKER_NOTES[confinement].format(why=_support.refusal))
        yield confinement
        if confinement in _support.remaining:
            return


_WEAKER_NOTES = {
    Confinement.LANDLOCK: "programs that read untrusted files are confined by Landlock only ({why})",
    Confinement.LIMITS: "programs that read untrusted files run with resource limits only: this "
    f"machine has neither user namespaces nor Landlock ({{why}}); {REQUIRE_VARIABLE}=require makes it an error",
}


@contextlib.contextmanager
def _launch(
    program: ConfinedProgram, confinement: Confinement, purpose: str, stdout: int
) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    process, status = _start_launcher(program, confinement, purpose, stdout, serve=False)
    try:
        yield process, status
    finally:
        _stop_process(process)


def _stop_process(process: "subprocess.Popen[bytes]") -> None:
    stop_program(process, seconds=0.2)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _start_launcher(
    program: ConfinedProgram, confinement: Confinement, purpose: str, stdout: int, *, serve: bool
) -> "tuple[subprocess.Popen[bytes], int]":
    status, status_writer = os.pipe()
    job = _describe_job(program, confinement) | {"status": status_writer, "serve": serve}
    command = [sys.executable, "-I", "-S", "-c", _LAUNCHER_CODE, marshal.dumps(job).hex(), _IMPORT_PATH]  # fmt: skip
    try:
        process = subprocess.Popen(
            command,
            env={key: value for key, value in os.environ.items() if key == "LD_LIBRARY_PATH"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.DEVNULL if serve else subprocess.PIPE,
            pass_fds=[status_writer],
            start_new_session=True,
        )
    except OSError as error:
        os.close(status)
        raise ToolError(
            f"cannot start {sys.executable} for {purpose}: {error.strerror}",
            fix="check that the file exists and is executable",
        ) from error
    finally:
        os.close(status_writer)
    return process, status


def _describe_job(program: ConfinedProgram, confinement: Confinement) -> dict[str, object]:
    """What the launcher is told of a program: see `launcher`."""
    limits = program.limits
    return {
        "means": str(confinement),
        "argv": [str(os.fspath(word)) for word in program.argv],
        "env": dict(program.env),
        "reads": [os.path.abspath(path) for path in program.reads],  # noqa: PTH100
        "writes": os.path.abspath(program.writes) if program.writes else "",  # noqa: PTH100
        "cwd": os.path.abspath(program.writes) if program.writes else "/",  # noqa: PTH100
        "limits": [
            ("RLIMIT_CORE", 0),
            ("RLIMIT_CPU", limits.seconds),
            ("RLIMIT_DATA", limits.memory),
            ("RLIMIT_AS", 4 * limits.memory),
            ("RLIMIT_FSIZE", limits.file),
            ("RLIMIT_NOFILE", 256),
            ("RLIMIT_MEMLOCK", 0),
        ],
        "output": limits.output,
        "seconds": limits.seconds,
    }


_IMPORT_PATH = os.fspath(Path(__file__).parents[2])
"""Where the launcher finds minbuild."""


def _read_status(status: int) -> str:
    """Return why the confinement failed; "" if the program runs. Closes the pipe."""
    with os.fdopen(status, "rb") as pipe:
        return pipe.read().decode("utf-8", "replace")


def _collect(
    process: "subprocess.Popen[bytes]", stdin: bytes, limits: ResourceLimits
) -> tuple[bytes, bytes, str]:
    """Write stdin and read until the end; return stdout, the end of stderr, and the limit exceeded."""
    deadline = time.monotonic() + limits.seconds
    out, err, exceeded = bytearray(), bytearray(), ""
    with selectors.DefaultSelector() as selector:
        _register_pipes(selector, process, stdin)
        while selector.get_map() and not exceeded:
            ready = selector.select(max(0, deadline - time.monotonic()))
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    _write_input(key, selector)
                    continue
                chunk = os.read(key.fd, _TAIL_SIZE)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    out += chunk
                else:
                    err = (err + chunk)[-_TAIL_SIZE:]
            if not ready:
                exceeded = f"{limits.seconds} seconds"
            elif len(out) > limits.output:
                exceeded = f"{limits.output} bytes of output"
    try:
        process.wait(0 if exceeded else max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        exceeded = exceeded or f"{limits.seconds} seconds"
    return bytes(out), bytes(err), exceeded


def _register_pipes(
    selector: selectors.BaseSelector, process: "subprocess.Popen[bytes]", stdin: bytes
) -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            selector.register(pipe, selectors.EVENT_READ)
    assert process.stdin is not None
    if not stdin:
        process.stdin.close()
        return
    os.set_blocking(process.stdin.fileno(), False)
    selector.register(process.stdin, selectors.EVENT_WRITE, [memoryview(stdin)])


def _write_input(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Write as much as the pipe accepts; close it at the end of the input or program."""
    remaining: list[memoryview] = key.data
    try:
        remaining[0] = remaining[0][os.write(key.fd, remaining[0]) :]
    except BlockingIOError:
        return
    except BrokenPipeError:
        remaining[0] = remaining[0][:0]
    if not remaining[0]:
        selector.unregister(key.fileobj)
        key.fileobj.close()  # type: ignore[union-attr]


_USE_OTHER_FILE = "the file is corrupt or malicious: use another copy"


def _describe_overuse(argv: Sequence[str | Path], purpose: str, exceeded: str) -> ToolError:
    return ToolError(
        f"{Path(argv[0]).name} was stopped while {purpose}: it used more than {exceeded}",
        fix=_USE_OTHER_FILE,
    )


def _describe_unavailable(argv: Sequence[str | Path], purpose: str, reason: str) -> ToolError:
    return ToolError(
        f"cannot start {Path(argv[0]).name} for {purpose}: {reason}",
        fix="check that the file exists and is executable",
    )
