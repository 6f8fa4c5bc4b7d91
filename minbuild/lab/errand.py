"""A program that runs in the lab's network for a while: what it says, and how it ends."""

import os
import selectors
from collections.abc import Mapping, Sequence

from minbuild.lab.servers import Say
from minbuild.lab.wire import Lines
from minbuild.run import start, stop

STDOUT = -2
"""As subprocess.STDOUT."""
CHUNK = 65536


class Errand:
    """Starts the program; every line of it is said behind its name, its exit code last."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        loop: selectors.BaseSelector,
        say: Say,
    ) -> None:
        self._name = name
        self._loop = loop
        self._say = say
        self._lines = Lines()
        self._process = start(words, what=name, env=environment, stderr=STDOUT)
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()
        loop.register(self._out, selectors.EVENT_READ, self._heard)

    def _heard(self) -> None:
        data = os.read(self._out, CHUNK)
        for line in self._lines.feed(data):
            self._say(f"{self._name}: {line}")
        if data:
            return
        for line in self._lines.end():
            self._say(f"{self._name}: {line}")
        self._loop.unregister(self._out)
        self._say(f"{self._name}: ended with {self._process.wait()}")

    def close(self) -> None:
        """End the program, if it still runs."""
        stop(self._process)
        with self._process:
            pass
