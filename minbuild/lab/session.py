"""The process inside the lab, seen from outside: how it is started, heard and ended."""

import contextlib
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import minbuild
from minbuild.errors import ToolError
from minbuild.lab.granted import Granted
from minbuild.lab.link import CARD, WIRE
from minbuild.lab.types import Choice, Network, Tools
from minbuild.lab.wire import Blocks, Plan, Tag, dump, send
from minbuild.run import run, small_environment, start, stop

NAMESPACES = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
PIPE = -1
"""As subprocess.PIPE."""
CHUNK = 65536
PATIENCE = 30
"""Seconds for the inside to end all and to remove its files, on a busy machine."""


def choose_network(wish: Network, tools: Tools) -> Choice:
    """Take a network namespace where this user may make one, QEMU's own network otherwise.

    Raises: ToolError when a namespace was asked for and may not be made.
    """
    if wish is Network.USER:
        return Choice(Network.USER, "asked for")
    unshare = shutil.which("unshare", path=small_environment()["PATH"])
    why = "this machine has no unshare (package util-linux)"
    if unshare:
        pair = ("link", "add", CARD, "type", "veth", "peer", "name", WIRE)
        words = [unshare, *NAMESPACES, *tools.argv("ip"), *pair]
        try:
            run(words, what="trying a network namespace", env=tools.environment())
        except ToolError as error:
            why = f"no network namespace for this user: {error.what.splitlines()[-1].strip()}"
        else:
            return Choice(Network.NAMESPACE, "dnsmasq in a network namespace")
    if wish is Network.NAMESPACE:
        raise ToolError(why, fix="use --network user for QEMU's own network")
    return Choice(Network.USER, why)


def inside_words(network: Network) -> tuple[str, ...]:
    """What starts the process inside, in namespaces of its own or as it is."""
    python = (sys.executable, "-P", "-m", "minbuild.lab.inside")
    if network is not Network.NAMESPACE:
        return python
    return (
        shutil.which("unshare", path=small_environment()["PATH"]) or "unshare",
        *NAMESPACES,
        *python,
    )


def mortal(words: tuple[str, ...], network: Network) -> tuple[str, ...]:
    """Have QEMU end with its parent where no process namespace sees to that. Source: prctl(2)."""
    setpriv = shutil.which("setpriv", path=small_environment()["PATH"])
    if network is Network.NAMESPACE or setpriv is None:
        return words
    return (setpriv, "--pdeathsig", "KILL", *words)


class Session:
    """One running lab; leaving the `with` ends it."""

    def __init__(self, network: Network, plan: Plan) -> None:
        self._plan = plan
        environment = small_environment() | {"PYTHONPATH": str(Path(minbuild.__file__).parents[1])}
        self._process = start(
            inside_words(network),
            what="starting the lab",
            env=environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to = self._process.stdin.fileno()
        self.source = self._process.stdout.fileno()
        self._blocks = Blocks()
        self.granted = Granted(self._process.pid)
        """The time that all of the lab had; its QEMU waits longest."""

    def __enter__(self) -> "Session":
        with contextlib.suppress(BrokenPipeError):
            send(self._to, Tag.PLAN, dump(self._plan))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the inside by ending its stdin, which it always follows; by force after a while."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        end = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < end:
            if select.select([self.source], [], [], 0.02)[0]:
                os.read(self.source, CHUNK)
        stop(self._process)
        with self._process:
            pass

    def type(self, keys: bytes) -> None:
        """Send bytes to the console."""
        with contextlib.suppress(BrokenPipeError):
            send(self._to, Tag.KEYS, keys)

    def run(self, name: str, words: tuple[str, ...]) -> None:
        """Start a program beside the lab's servers."""
        with contextlib.suppress(BrokenPipeError):
            send(self._to, Tag.RUN, json.dumps([name, words]).encode())

    def blocks(self, seconds: float) -> Iterator[tuple[Tag, bytes]]:
        """Give what was said until now, waiting at most `seconds` for the first.

        Raises: ToolError when the inside could not do its work.
        """
        if not select.select([self.source], [], [], max(seconds, 0))[0]:
            return
        data = os.read(self.source, CHUNK)
        if not data:
            raise self._broken()
        for tag, block in self._blocks.feed(data):
            if tag is Tag.FAILURE:
                what, where, fix = json.loads(block)
                raise ToolError(what, where=where, fix=fix)
            yield tag, block

    def _broken(self) -> ToolError:
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return ToolError(
            f"the lab ended before its time: {said[-1] if said else 'it said nothing'}",
            fix="use --network user for QEMU's own network",
        )
