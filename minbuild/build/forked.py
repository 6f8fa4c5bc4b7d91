"""Work in processes forked from this one: what it has loaded they have, their results come back."""

import ctypes
import gc
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NoReturn, TypeVar, cast

from minbuild.build.messages import Receiver, Sender, pipe, wait
from minbuild.errors import ToolError
from minbuild.progress import Progress
from minbuild.run import fork, listen

RARELY = (100_000, 50, 50)
"""A build makes few cycles: looking for them takes 3 % of its time, and copies what is shared."""

T = TypeVar("T")
Work = Callable[[Progress], T]


class Bug(Exception):
    """An error of ours in a forked process; its text is the traceback there."""


def side_by_side(
    works: Sequence[Work[T]], limit: int, progress: Progress, last: Callable[[T], bool]
) -> dict[int, T]:
    """Do works, `limit` at once, each in a fork of this process; returns results by their place.

    After a result that is the `last` no work is begun any more. The caller has no other threads
    and no open records. An error or an interrupt here ends all processes, which then tidy up.
    Raises: ToolError when a process is ended from outside.
    """
    gc.freeze()  # what they share is not looked through, and so not copied
    forks = _Forks(progress)
    todo = list(enumerate(works))
    results: dict[int, T] = {}
    try:
        while todo or forks.running:
            while todo and len(forks.running) < limit:
                forks.start(*todo.pop(0))
            for place, result in forks.finished():
                results[place] = cast(T, result)
                if last(results[place]):
                    todo.clear()
    finally:
        gc.unfreeze()
        forks.end()
    return results


class _Forks:
    """Processes at work, and what they say."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.running: dict[Receiver, tuple[int, int]] = {}
        """What a process says → the place of its work, and the process."""

    def start(self, place: int, work: Work[T]) -> None:
        ours, theirs = pipe()
        parent = os.getpid()
        process = fork()
        if not process:
            _work(work, theirs, parent)
        theirs.close()
        self.running[ours] = place, process

    def finished(self) -> list[tuple[int, object]]:
        """Wait until some process says something; the results among that."""
        found = []
        for said in wait(list(self.running)):
            place, process = self.running[said]
            try:
                what, *words = said.receive()
            except EOFError as error:
                raise ToolError(
                    "a process that built an image was ended from outside",
                    where=f"process {process}",
                    fix="see whether this machine ran out of memory (dmesg), and try again",
                ) from error
            match what:
                case "result":
                    found.append((place, words[0]))
                    self._leave(said)
                case "bug":
                    raise Bug(words[0])
                case _:
                    getattr(self._progress, what)(*words)
        return found

    def end(self) -> None:
        """End what still runs, and wait until it has tidied up."""
        for _, process in self.running.values():
            os.kill(process, signal.SIGTERM)
        for said in list(self.running):
            self._leave(said)

    def _leave(self, said: Receiver) -> None:
        _, process = self.running.pop(said)
        said.close()
        os.waitpid(process, 0)


class _Relay:
    """Progress that is shown by the process we were forked from."""

    def __init__(self, to: Sender) -> None:
        self._to = to
        self._lock = Lock()

    def step(self, text: str) -> None:
        self.say("step", text)

    def note(self, text: str) -> None:
        self.say("note", text)

    def bar(self, label: str, done: int, total: int) -> None:
        self.say("bar", label, done, total)

    def say(self, *words: object) -> None:
        with self._lock:
            self._to.send(words)


def _work(work: Work[T], to: Sender, parent: int) -> NoReturn:
    """Do the work, say what came of it, and leave this process."""
    gc.set_threshold(*RARELY)
    relay = _Relay(to)
    try:
        _settle(parent)
        try:
            relay.say("result", work(relay))
        except Exception:  # noqa: BLE001  a bug: told where it is shown
            relay.say("bug", traceback.format_exc())
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        os._exit(0)


def _settle(parent: int) -> None:
    """Leave Ctrl-C to the parent; be interrupted when it says so, or is killed."""
    signal.signal(signal.SIGINT, _ignore)
    signal.signal(signal.SIGTERM, _interrupt)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    listen()
    if os.getppid() != parent:
        raise KeyboardInterrupt


def _ignore(number: int, frame: object) -> None:
    """No SIG_IGN, which programs that we start would keep."""


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
