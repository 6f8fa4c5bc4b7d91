"""A booted host whose console is the user's own terminal."""

import contextlib
import os
import select
import termios
import time
import tty
from collections.abc import Iterator

from minbuild.lab import confine, netboot
from minbuild.lab.boot import lay_out, second, working_directory
from minbuild.lab.hearing import COMPLAINTS, qemu_failed
from minbuild.lab.kvm import SYSTEM, Memory, choose, may_emulate, way_of
from minbuild.lab.session import Session, choose_network
from minbuild.lab.types import BootRequest, Choice, Firmware, Network, Tools
from minbuild.lab.voice import Voice, broken
from minbuild.lab.wire import Lines, Tag
from minbuild.progress import Progress

LEAVE = "Ctrl-A x ends it, Ctrl-A c is QEMU's monitor"
CHUNK = 4096
TICK = 0.2


def interact(
    request: BootRequest, tools: Tools, progress: Progress, *, keys: int, screen: int
) -> None:
    """Boot with the console on two file descriptors until the machine ends or `keys` does.

    No probe is waited for, and `timeout` does not count. Where KVM ran nothing, and nothing was
    typed, it is done once more by emulation.
    Raises: ToolError when the lab cannot do its work, UsageError for what cannot be booted.
    """
    accel = choose(
        request.accel, tools, way_of(request.starts_by, secure=bool(request.certificate))
    )
    talk = Talk(keys, screen, request.starts_by, suspect=may_emulate(request.accel, accel))
    hand_over(request, tools, progress, accel, talk)
    if not talk.stalled:
        return
    why = f"under KVM {talk.stalled}"
    progress.note(f"{why}: booting once more, by emulation")
    again = Talk(keys, screen, request.starts_by, suspect=False)
    hand_over(second(request), tools, progress, Choice("tcg", why), again)
    if again.voice.stage > talk.voice.stage:
        Memory(tools).keep(SYSTEM, f"{why}, and by emulation it went on")


def hand_over(
    request: BootRequest, tools: Tools, progress: Progress, accel: Choice, talk: "Talk"
) -> None:
    """Boot once.

    Raises: as `interact`.
    """
    with working_directory(request.keep) as work:
        network = choose_network(request.network, tools)
        netboot.checked(request.firmware, network)
        plan, _ = lay_out(request, tools, work, accel, network)
        if not confine.available():
            progress.note(confine.UNABLE)
        progress.note(f"{request.image.name}: {accel.name}, network {network.name}; {LEAVE}")
        with Session(Network(network.name), plan) as session, raw(talk.keys):
            talk.relay(session)


class Talk:
    """Keys in and the console out, until either ends or the machine shows that it runs nothing."""

    def __init__(self, keys: int, screen: int, firmware: Firmware, *, suspect: bool) -> None:
        """`suspect`: what runs the machine may run nothing, and silence is a sign of that."""
        self.keys = keys
        self.voice = Voice()
        self.stalled = ""
        self._screen = screen
        self._firmware = firmware
        self._suspect = suspect
        self._lines = Lines()
        self._complaints = b""

    def relay(self, session: Session) -> None:
        """Carry all.

        Raises: ToolError when QEMU could not start the machine.
        """
        began = time.monotonic()
        while not self.stalled:
            ready = select.select([session.source, self.keys], [], [], TICK)[0]
            if self.keys in ready:
                typed = os.read(self.keys, CHUNK)
                if not typed:
                    return
                self._suspect = False
                session.type(typed)
            seconds = session.granted.of(time.monotonic() - began)
            for tag, block in session.blocks(0):
                if tag is Tag.END:
                    self._ended(int(block))
                    return
                self._take(tag, block, seconds)
            if self._suspect:
                silent = self.voice.stalled(seconds, self._firmware)
                self.stalled = broken(self._complaints) or silent

    def _take(self, tag: Tag, block: bytes, seconds: float) -> None:
        if tag is Tag.CONSOLE:
            put(self._screen, block)
            for text in self._lines.feed(block):
                self.voice.heard(text, seconds)
        elif tag is Tag.QEMU:
            self._complaints = (self._complaints + block)[-COMPLAINTS:]

    def _ended(self, code: int) -> None:
        self.stalled = self.voice.gone() if self._suspect else ""
        if code and not self.stalled:
            raise qemu_failed(code, self._complaints)


@contextlib.contextmanager
def raw(keys: int) -> Iterator[None]:
    """Have a terminal pass every key as it is, and put it back afterwards."""
    if not os.isatty(keys):
        yield
        return
    before = termios.tcgetattr(keys)
    try:
        tty.setraw(keys)
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


def put(screen: int, data: bytes) -> None:
    """Write all of `data`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(screen, rest) :]
