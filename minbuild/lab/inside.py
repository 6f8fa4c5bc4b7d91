"""The process inside the lab: it starts the servers and QEMU, and ends all when its owner ends.

Run as `python -m minbuild.lab.inside`, in a namespace of its own where the machine allows that. It
reads a plan and then keys for the console from stdin, and writes blocks to stdout. When stdin
ends, its owner has ended, and so does everything here: as the first process of a process
namespace it takes all others with it; without one, QEMU has its own order to die with it.
"""

import contextlib
import json
import os
import selectors
import shutil
import sys
from functools import partial
from pathlib import Path

from minbuild.errors import MinbuildError
from minbuild.lab.dial import Dialer, parse
from minbuild.lab.errand import Errand
from minbuild.lab.link import VLAN_ADDRESS, Wire
from minbuild.lab.servers import Clock, Echo, Log, silent
from minbuild.lab.serving import Serving
from minbuild.lab.web import Web
from minbuild.lab.wire import Blocks, Plan, Tag, load, send
from minbuild.run import start, stop

PIPE = -1
"""As subprocess.PIPE."""
CHUNK = 65536
STDIN, STDOUT = 0, 1


class Lab:
    """Everything that runs inside, driven by one loop."""

    def __init__(self, plan: Plan, blocks: Blocks) -> None:
        self._plan = plan
        self._blocks = blocks
        self._loop = selectors.DefaultSelector()
        self._running = True
        self._serving: Serving | None = None
        self._with = contextlib.ExitStack()

    def run(self) -> None:
        """Start all, carry what they say until QEMU or the owner ends, then end all."""
        with self._with:
            self._loop.register(STDIN, selectors.EVENT_READ, self._keys)
            self._servers()
            self._qemu()
            send(STDOUT, Tag.POWER)
            while self._running:
                for key, _ in self._loop.select(self._wait()):
                    key.data()
                self._dialer.turn()
                if self._serving is not None:
                    self._serving.turn()

    def _wait(self) -> float | None:
        """Seconds until someone must look at the clock; None when nobody must."""
        waits = [self._dialer.wait, self._serving.wait if self._serving is not None else None]
        return min((wait for wait in waits if wait is not None), default=None)

    def _servers(self) -> None:
        plan = self._plan
        self._dialer = Dialer([parse(text) for text in plan.dials], self._loop, self._say)
        if plan.ip:
            self._wire(Wire(plan.ip, plan.environment, plan.cards))
        if plan.dnsmasq:
            self._serving = Serving(
                plan.dnsmasq, plan.environment, plan.outages, self._loop, self._log
            )
            self._with.callback(self._serving.close)
        if plan.silent:
            self._with.enter_context(silent(plan.address))
        if plan.port:
            Echo(plan.address, plan.port, self._loop, self._say)
            if plan.ip:
                Echo(VLAN_ADDRESS, plan.port, self._loop, self._say)
        if plan.clock:
            Clock(plan.address, self._loop, self._say)
        if plan.ip:
            Log(plan.address, self._loop, self._say)
        if plan.web:
            Web(plan.address, Path(plan.web), self._loop, self._say)

    def _wire(self, wire: Wire) -> None:
        self._with.callback(wire.close)
        self._loop.register(wire.card, selectors.EVENT_READ, wire.from_card)
        self._loop.register(wire.vlan, selectors.EVENT_READ, wire.from_vlan)
        for number, end in enumerate(wire.qemu):
            self._loop.register(end, selectors.EVENT_READ, partial(wire.from_qemu, number))

    def _qemu(self) -> None:
        process = start(
            self._plan.qemu,
            what="booting the image",
            env=self._plan.environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        self._with.callback(stop, process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._machine = process
        self._console_in = process.stdin.fileno()
        out, err = process.stdout.fileno(), process.stderr.fileno()
        self._loop.register(out, selectors.EVENT_READ, lambda: self._console(out))
        self._loop.register(err, selectors.EVENT_READ, lambda: self._complaint(err))

    def _keys(self) -> None:
        data = os.read(STDIN, CHUNK)
        if not data:
            self._running = False
        for tag, block in self._blocks.feed(data):
            if tag is Tag.KEYS:
                with contextlib.suppress(OSError):
                    os.write(self._console_in, block)
            elif tag is Tag.RUN:
                name, words = json.loads(block)
                errand = Errand(name, words, self._plan.environment, self._loop, self._say)
                self._with.callback(errand.close)

    def _console(self, fd: int) -> None:
        data = os.read(fd, CHUNK)
        if data:
            send(STDOUT, Tag.CONSOLE, data)
            return
        self._running = False
        code = self._machine.wait()
        send(STDOUT, Tag.END, str(code).encode())

    def _complaint(self, fd: int) -> None:
        data = os.read(fd, CHUNK)
        if data:
            send(STDOUT, Tag.QEMU, data)
        else:
            self._loop.unregister(fd)

    def _log(self, data: bytes) -> None:
        send(STDOUT, Tag.DNSMASQ, data)
        self._dialer.heard(data.decode("utf-8", "replace"))

    def _say(self, text: str) -> None:
        send(STDOUT, Tag.SERVERS, text.encode() + b"\n")


def main() -> int:
    """Do what the plan on stdin says; 0 when the lab ended by itself or with its owner."""
    blocks = Blocks()
    plan = _plan(blocks)
    if plan is None:
        return 0
    os.chdir(plan.work)
    try:
        Lab(plan, blocks).run()
    except BrokenPipeError:
        pass  # the owner reads no more
    except MinbuildError as error:
        texts = json.dumps([error.what, error.where, error.fix])
        with contextlib.suppress(BrokenPipeError):
            send(STDOUT, Tag.FAILURE, texts.encode())
    finally:
        if plan.remove:
            shutil.rmtree(Path(plan.work), ignore_errors=True)
    return 0


def _plan(blocks: Blocks) -> Plan | None:
    while data := os.read(STDIN, CHUNK):
        for tag, block in blocks.feed(data):
            if tag is Tag.PLAN:
                return load(block)
    return None


if __name__ == "__main__":
    sys.exit(main())
