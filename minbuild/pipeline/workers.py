"""Work in processes forked from this one: what it has loaded they have, their results come back."""

import ctypes
import gc
import os
import pickle
import select
import signal
import struct
import traceback
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NoReturn, TypeVar, cast

from minbuild.errors import ToolError
from minbuild.process import fork, hold_signals, unblock_signals
from minbuild.progress import Progress

_LENGTH = struct.Struct("<Q")
"""Before each value: its bytes."""


class Sender:
    """The end that speaks; one thread at a time."""

    def __init__(self, file: int) -> None:
        self._file = open(file, "wb", buffering=0)  # noqa: SIM115  closed with its process

    def send(self, value: object) -> None:
        """Say a value. Raises: BrokenPipeError when nobody listens."""
        body = pickle.dumps(value)
        remaining = memoryview(_LENGTH.pack(len(body)) + body)
        while remaining:
            remaining = remaining[self._file.write(remaining) or 0 :]

    def close(self) -> None:
        """Say no more."""
        self._file.close()


class Receiver:
    """The end that listens."""

    def __init__(self, file: int) -> None:
        self._file = open(file, "rb", buffering=0)  # noqa: SIM115  closed by `close`

    def fileno(self) -> int:
        """For select and its kin."""
        return self._file.fileno()

    def receive(self) -> Any:
        """Wait for the next value. Raises: EOFError when there will be none."""
        (size,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return pickle.loads(self._read(size))

    def close(self) -> None:
        """Listen no more."""
        self._file.close()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._file.read(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


def open_pipe() -> tuple[Receiver, Sender]:
    """Both ends of a pipe."""
    reader, writer = os.pipe()
    return Receiver(reader), Sender(writer)


def wait_readable(receivers: Sequence[Receiver]) -> list[Receiver]:
    """Wait until some of them have something to say, or have ended."""
    poll = select.poll()
    for receiver in receivers:
        poll.register(receiver, select.POLLIN)
    ready = {file for file, _ in poll.poll()}
    return [receiver for receiver in receivers if receiver.fileno() in ready]


GC_THRESHOLDS = (100_000, 50, 50)
"""A build makes few cycles: looking for them takes 3 % of its time, and copies what is shared."""

T = TypeVar("T")
Task = Callable[[Progress], T]


class WorkerCrashed(Exception):
    """An error of ours in a forked process; its text is the traceback there."""


def run_in_forks(
    tasks: Sequence[Task[T]], limit: int, progress: Progress, is_final: Callable[[T], bool]
) -> dict[int, T]:
    """Do works, `limit` at once, each in a fork of this process; returns results by their place.

    After a result that is the `last` no work is begun any more. The caller has no other threads
    and no open records. An error or an interrupt here ends all processes, which then tidy up.
    Raises: ToolError when a process is ended from outside.
    """
    gc.freeze()  # what they share is not looked through, and so not copied
    workers = _Workers(progress)
    todo = list(enumerate(tasks))
    results: dict[int, T] = {}
    try:
        while todo or workers.running:
            while todo and len(workers.running) < limit:
                workers.start(*todo.pop(0))
            for index, result in workers.wait_for_results():
                results[index] = cast(T, result)
                if is_final(results[index]):
                    todo.clear()
    finally:
        gc.unfreeze()
        workers.end()
    return results


class _Workers:
    """Processes at work, and what they say."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.running: dict[Receiver, tuple[int, int]] = {}
        """What a process says → the place of its work, and the process."""

    def start(self, index: int, task: Task[T]) -> None:
        receiver, sender = open_pipe()
        parent = os.getpid()
        with hold_signals():  # an interrupt before `running` has it would leave the process behind
            process = fork()
            if not process:
                _run_worker(task, sender, parent)
            self.running[receiver] = index, process
        sender.close()

    def wait_for_results(self) -> list[tuple[int, object]]:
        """Wait until some process says something; the results among that."""
        results = []
        for receiver in wait_readable(list(self.running)):
            index, process = self.running[receiver]
            try:
                kind, *values = receiver.receive()
            except EOFError as error:
                raise ToolError(
                    "a process that built an image was ended from outside",
                    where=f"process {process}",
                    fix="see whether this machine ran out of memory (dmesg), and try again",
                ) from error
            match kind:
                case "result":
                    results.append((index, values[0]))
                    self._reap(receiver)
                case "bug":
                    raise WorkerCrashed(values[0])
                case _:
                    getattr(self._progress, kind)(*values)
        return results

    def end(self) -> None:
        """End what still runs, and wait until it has tidied up."""
        for _, process in self.running.values():
            os.kill(process, signal.SIGTERM)
        for receiver in list(self.running):
            self._reap(receiver)

    def _reap(self, receiver: Receiver) -> None:
        _, process = self.running.pop(receiver)
        receiver.close()
        os.waitpid(process, 0)


class _ProgressProxy:
    """Progress that is shown by the process we were forked from."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = Lock()

    def step(self, text: str) -> None:
        self.send("step", text)

    def note(self, text: str) -> None:
        self.send("note", text)

    def bar(self, label: str, done: int, total: int) -> None:
        self.send("bar", label, done, total)

    def show_line(self, text: str) -> None:
        self.send("show_line", text)

    def send(self, *values: object) -> None:
        with self._lock:
            self._sender.send(values)


def _run_worker(task: Task[T], sender: Sender, parent: int) -> NoReturn:
    """Do the work, say what came of it, and leave this process."""
    gc.set_threshold(*GC_THRESHOLDS)
    relay = _ProgressProxy(sender)
    try:
        _follow_parent(parent)
        try:
            relay.send("result", task(relay))
        except Exception:  # noqa: BLE001  a bug: told where it is shown
            relay.send("bug", traceback.format_exc())
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        os._exit(0)


def _follow_parent(parent: int) -> None:
    """Leave Ctrl-C to the parent; be interrupted when it says so, or is killed."""
    signal.signal(signal.SIGINT, _ignore_signal)
    signal.signal(signal.SIGTERM, _raise_interrupt)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    unblock_signals()
    if os.getppid() != parent:
        raise KeyboardInterrupt


def _ignore_signal(number: int, frame: object) -> None:
    """No SIG_IGN, which programs that we start would keep."""


def _raise_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
