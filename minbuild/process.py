"""The one way to start other programs."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from minbuild.errors import ToolError
from minbuild.progress import report_detail

PIPE, SAME_AS_STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
Process = subprocess.Popen[bytes]
"""A program that was started."""
TAIL_LINES = 12
"""Lines of a failed program's output that its error shows."""


def run_program(
    argv: Sequence[str | Path],
    *,
    purpose: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> bytes:
    """Run a program to its end and return its stdout.

    `what` names the step for people ("making the ESP"). `env` is the whole environment; None for
    a small fixed one. A program that outlives an interrupt of ours is ended.

    Raises: ToolError when it is missing or fails, with its last lines and a command to paste.
    """
    with start_program(argv, purpose=purpose, cwd=cwd, env=env, stdin=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(stdin if stdin is not None else b"")
        except BaseException:
            stop_program(process)
            raise
    if process.returncode:
        raise describe_failure(argv, purpose, process.returncode, err or out)
    return out


def start_program(
    argv: Sequence[str | Path],
    *,
    purpose: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> "subprocess.Popen[bytes]":
    """Start a program in a process group of its own; the caller ends it with `stop`.

    Raises: ToolError when it cannot be started.
    """
    report_detail(lambda: format_command(argv))
    try:
        return subprocess.Popen(
            [os.fspath(word) for word in argv],
            cwd=cwd,
            env=dict(env) if env is not None else minimal_environment(),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(
            f"cannot start {os.fspath(argv[0])} for {purpose}: {error.strerror}",
            where=format_command(argv),
            fix="check that the file is there and may be executed",
        ) from error


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def fork() -> int:
    """Fork as os.fork, but no signal is lost: Python drops an interrupt that comes meanwhile.

    In the new process signals wait until `listen`. The caller is `alone`.
    """
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
    return process


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Let interrupts wait until the end of the block: around a fork, until its process is kept."""
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def unblock_signals() -> None:
    """Let signals come again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class ForkExec:
    """A program that starts after work of ours, both in one process beside this one; `end` it."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        stdin: int,
        before_exec: Callable[[], bool],
    ) -> None:
        """Fork, do the work that comes first, and where it says so become the program.

        The program reads from `stdin`, says nothing and is a process group of its own. The caller
        is `alone`.
        """
        self._parent = os.getpid()
        self._process = fork()
        if self._process:
            return
        try:
            os.setsid()
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            unblock_signals()
            if before_exec():
                os.dup2(stdin, 0)
                devnull = os.open(os.devnull, os.O_RDWR)
                os.dup2(devnull, 1)
                os.dup2(devnull, 2)
                os.execve(argv[0], list(argv), dict(env))
        finally:
            os._exit(1)  # whatever happened: this copy of us must not go on

    def kill(self) -> None:
        """Kill the program and what it forked; the one that began it still has to `end` it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)

    def end(self) -> None:
        """End the program and what it forked; in another process than the one that began it, not."""
        if self._parent != os.getpid() or not self._process:
            return
        self.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)  # it had no group of its own yet
        os.waitpid(self._process, 0)
        self._process = 0


def stop_program(process: "subprocess.Popen[bytes]", *, seconds: float = 5) -> None:
    """End a program and its children: SIGTERM, then SIGKILL after `seconds`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def minimal_environment() -> dict[str, str]:
    """What programs see of the environment: nothing that could change their output."""
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def format_command(argv: Sequence[str | Path]) -> str:
    """The command as a line for a shell."""
    return shlex.join(os.fspath(word) for word in argv)


def describe_failure(
    argv: Sequence[str | Path], purpose: str, code: int, output: bytes
) -> ToolError:
    """The error of a program that ended badly."""
    program = Path(argv[0]).name
    lines = output.decode("utf-8", "replace").strip().splitlines()[-TAIL_LINES:]
    ending = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    tail = "".join(f"\n    {line}" for line in lines)
    return ToolError(
        f"{program} {ending} while {purpose}{tail}",
        where=format_command(argv),
        fix=f"run this to see it alone: {format_command(argv)}",
    )


def exec_program(argv: Sequence[str | Path], *, purpose: str, env: Mapping[str, str]) -> NoReturn:
    """Become a program: its terminal, exit code and signals are then the user's own.

    Raises: ToolError when it cannot be started.
    """
    command = [os.fspath(word) for word in argv]
    try:
        os.execve(command[0], command, dict(env))
    except OSError as error:
        raise ToolError(
            f"cannot start {command[0]} for {purpose}: {error.strerror}",
            where=format_command(argv),
            fix="check that the file is there and may be executed",
        ) from error


class RunProgram(Protocol):
    """A program of the toolbox that reads what a stranger wrote: it runs in a sandbox."""

    def __call__(
        self,
        args: Sequence[str | Path],
        *,
        purpose: str,
        reads: Sequence[Path] = (),
        writes: Path | None = None,
        stdin: bytes = b"",
        stdout: Path | None = None,
        output: int = 256 << 20,
        file: int = 1 << 20,
        codes: Sequence[int] = (0,),
    ) -> bytes:
        """Run it with these arguments and return its stdout; b"" where that goes to a file.

        `reads`: the files that it sees; `writes`: the one directory that it may write to;
        `output`, `file`: bytes of its stdout, and of the largest file that it may write;
        `codes`: how it may exit.
        Raises: MinbuildError.
        """
        ...


GetProgram = Callable[[str], RunProgram]
"""Gets a program of the toolbox by its name, fetched when it is first run."""
