"""A booted host whose console is the user's own terminal."""

import contextlib
import os
import select
import termios
import tty
from collections.abc import Iterator

from minbuild.lab import netboot
from minbuild.lab.accel import choose
from minbuild.lab.boot import lay_out, qemu_failed, working_directory
from minbuild.lab.session import Session, choose_network
from minbuild.lab.types import BootRequest, Network, Tools
from minbuild.lab.wire import Tag
from minbuild.progress import Progress

LEAVE = "Ctrl-A x ends it, Ctrl-A c is QEMU's monitor"
CHUNK = 4096
TICK = 0.2


def interact(
    request: BootRequest, tools: Tools, progress: Progress, *, keys: int, screen: int
) -> None:
    """Boot with the console on two file descriptors until the machine ends or `keys` does.

    No probe is waited for, and `timeout` does not count.
    Raises: ToolError when the lab cannot do its work, UsageError for what cannot be booted.
    """
    with working_directory(request.keep) as work:
        accel = choose(request.accel, tools, work)
        network = choose_network(request.network, tools)
        netboot.checked(request.firmware, network)
        plan, _ = lay_out(request, tools, work, accel, network)
        progress.note(f"{request.image.name}: {accel.name}, network {network.name}; {LEAVE}")
        with Session(Network(network.name), plan) as session, raw(keys):
            relay(session, keys, screen)


def relay(session: Session, keys: int, screen: int) -> None:
    """Carry keys in and the console out until either ends.

    Raises: ToolError when QEMU could not start the machine.
    """
    complaints = b""
    while True:
        ready = select.select([session.source, keys], [], [], TICK)[0]
        if keys in ready:
            typed = os.read(keys, CHUNK)
            if not typed:
                return
            session.type(typed)
        for tag, block in session.blocks(0):
            if tag is Tag.CONSOLE:
                put(screen, block)
            elif tag is Tag.QEMU:
                complaints += block
            elif tag is Tag.END:
                if int(block):
                    raise qemu_failed(int(block), complaints)
                return


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
