"""The one door to other programs."""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from minbuild.errors import ToolError

PIPE = subprocess.PIPE
LAST = 12
"""Lines of a failed program's output that its error shows."""


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> bytes:
    """Run a program to its end and return its stdout.

    `what` names the step for people ("making the ESP"). `env` is the whole environment; None for
    a small fixed one. A program that outlives an interrupt of ours is ended.

    Raises: ToolError when it is missing or fails, with its last lines and a command to paste.
    """
    with start(argv, what=what, cwd=cwd, env=env, stdin=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(stdin if stdin is not None else b"")
        except BaseException:
            stop(process)
            raise
    if process.returncode:
        raise failed(argv, what, process.returncode, err or out)
    return out


def start(
    argv: Sequence[str | Path],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> "subprocess.Popen[bytes]":
    """Start a program in a process group of its own; the caller ends it with `stop`.

    Raises: ToolError when it cannot be started.
    """
    try:
        return subprocess.Popen(
            [os.fspath(word) for word in argv],
            cwd=cwd,
            env=dict(env) if env is not None else small_environment(),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(
            f"cannot start {os.fspath(argv[0])} for {what}: {error.strerror}",
            where=paste(argv),
            fix="check that the file is there and may be executed",
        ) from error


def alone() -> bool:
    """Whether this process has one thread: only then a fork is safe, others may hold locks."""
    return threading.active_count() == 1


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def fork() -> int:
    """Fork as os.fork, but no signal is lost: Python drops an interrupt that comes meanwhile.

    In the new process signals wait until `listen`. The caller is `alone`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def listen() -> None:
    """Let signals come again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Forked:
    """A program that starts after work of ours, both in one process beside this one; `end` it."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], *, stdin: int, first: Callable[[], bool]
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
            listen()
            if first():
                os.dup2(stdin, 0)
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
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


def stop(process: "subprocess.Popen[bytes]", *, seconds: float = 5) -> None:
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


def small_environment() -> dict[str, str]:
    """What programs see of the environment: nothing that could change their output."""
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def paste(argv: Sequence[str | Path]) -> str:
    """The command as a line for a shell."""
    return shlex.join(os.fspath(word) for word in argv)


def failed(argv: Sequence[str | Path], what: str, code: int, output: bytes) -> ToolError:
    """The error of a program that ended badly."""
    program = Path(argv[0]).name
    lines = output.decode("utf-8", "replace").strip().splitlines()[-LAST:]
    end = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    said = "".join(f"\n    {line}" for line in lines)
    return ToolError(
        f"{program} {end} while {what}{said}",
        where=paste(argv),
        fix=f"run this to see it alone: {paste(argv)}",
    )


def replace(argv: Sequence[str | Path], *, what: str, env: Mapping[str, str]) -> NoReturn:
    """Become a program: its terminal, exit code and signals are then the user's own.

    Raises: ToolError when it cannot be started.
    """
    words = [os.fspath(word) for word in argv]
    try:
        os.execve(words[0], words, dict(env))
    except OSError as error:
        raise ToolError(
            f"cannot start {words[0]} for {what}: {error.strerror}",
            where=paste(argv),
            fix="check that the file is there and may be executed",
        ) from error
