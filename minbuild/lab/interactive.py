"""A booted host whose console is the user's own terminal."""

import contextlib
import os
import select
import termios
import time
import tty
from collections.abc import Iterator

from minbuild.lab import landlock, qemu
from minbuild.lab.accel import (
    REAL_SYSTEM,
    KvmHistory,
    can_retry_emulated,
    choose_accelerator,
    choose_trial_firmware,
)
from minbuild.lab.boot import make_retry_request, make_working_directory, prepare_files
from minbuild.lab.model import BootRequest, Decision, Firmware, Network, Tools
from minbuild.lab.monitor import STDERR_TAIL, StageTracker, find_kvm_failure, make_qemu_error
from minbuild.lab.worker.client import WorkerClient, choose_network
from minbuild.lab.worker.protocol import LineDecoder, Tag
from minbuild.progress import Progress

KEY_HINT = "Ctrl-A x ends it, Ctrl-A c is QEMU's monitor"
CHUNK = 4096
POLL_INTERVAL = 0.2


def interact(
    request: BootRequest, tools: Tools, progress: Progress, *, keys: int, screen: int
) -> None:
    """Boot with the console on two file descriptors until the machine ends or `keys` does.

    No probe is waited for, and `timeout` does not count. Where KVM ran nothing, and nothing was
    typed, it is done once more by emulation.
    Raises: ToolError when the lab cannot do its work, UsageError for what cannot be booted.
    """
    accel = choose_accelerator(
        request.accel,
        tools,
        choose_trial_firmware(request.boot_firmware, secure=bool(request.certificate)),
    )
    console = InteractiveConsole(
        keys, screen, request.boot_firmware, suspect=can_retry_emulated(request.accel, accel)
    )
    boot_with_console(request, tools, progress, accel, console)
    if not console.stall_reason:
        return
    reason = f"under KVM {console.stall_reason}"
    progress.note(f"{reason}: booting once more, by emulation")
    retry = InteractiveConsole(keys, screen, request.boot_firmware, suspect=False)
    boot_with_console(make_retry_request(request), tools, progress, Decision("tcg", reason), retry)
    if retry.stage_tracker.stage > console.stage_tracker.stage:
        KvmHistory(tools).save_fault(REAL_SYSTEM, f"{reason}, and by emulation it went on")


def boot_with_console(
    request: BootRequest,
    tools: Tools,
    progress: Progress,
    accel: Decision,
    console: "InteractiveConsole",
) -> None:
    """Boot once.

    Raises: as `interact`.
    """
    with make_working_directory(request.keep) as work:
        network = choose_network(request.network, tools)
        qemu.require_http_support(request.firmware, network)
        plan, _ = prepare_files(request, tools, work, accel, network)
        if not landlock.is_available():
            progress.note(landlock.UNCONFINED_NOTE)
        progress.note(f"{request.image.name}: {accel.name}, network {network.name}; {KEY_HINT}")
        with WorkerClient(Network(network.name), plan) as client, set_raw_mode(console.keys):
            console.relay(client)


class InteractiveConsole:
    """Keys in and the console out, until either ends or the machine shows that it runs nothing."""

    def __init__(self, keys: int, screen: int, firmware: Firmware, *, suspect: bool) -> None:
        """`suspect`: what runs the machine may run nothing, and silence is a sign of that."""
        self.keys = keys
        self.stage_tracker = StageTracker()
        self.stall_reason = ""
        self._screen = screen
        self._firmware = firmware
        self._suspect = suspect
        self._decoder = LineDecoder()
        self._stderr = b""

    def relay(self, client: WorkerClient) -> None:
        """Carry all.

        Raises: ToolError when QEMU could not start the machine.
        """
        start = time.monotonic()
        while not self.stall_reason:
            ready = select.select([client.output_fd, self.keys], [], [], POLL_INTERVAL)[0]
            if self.keys in ready:
                keys = os.read(self.keys, CHUNK)
                if not keys:
                    return
                self._suspect = False
                client.send_keys(keys)
            seconds = client.run_delay.subtract_from(time.monotonic() - start)
            for tag, block in client.receive(0):
                if tag is Tag.QEMU_EXIT:
                    self._handle_exit(int(block))
                    return
                self._dispatch_block(tag, block, seconds)
            if self._suspect:
                stall = self.stage_tracker.find_stall(seconds, self._firmware)
                self.stall_reason = find_kvm_failure(self._stderr) or stall

    def _dispatch_block(self, tag: Tag, block: bytes, seconds: float) -> None:
        if tag is Tag.CONSOLE:
            write_all(self._screen, block)
            for text in self._decoder.feed(block):
                self.stage_tracker.feed(text, seconds)
        elif tag is Tag.QEMU_STDERR:
            self._stderr = (self._stderr + block)[-STDERR_TAIL:]

    def _handle_exit(self, code: int) -> None:
        self.stall_reason = self.stage_tracker.describe_exit() if self._suspect else ""
        if code and not self.stall_reason:
            raise make_qemu_error(code, self._stderr)


@contextlib.contextmanager
def set_raw_mode(keys: int) -> Iterator[None]:
    """Have a terminal pass every key as it is, and put it back afterwards."""
    if not os.isatty(keys):
        yield
        return
    saved_attributes = termios.tcgetattr(keys)
    try:
        tty.setraw(keys)
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, saved_attributes)


def write_all(screen: int, data: bytes) -> None:
    """Write all of `data`."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(screen, remaining) :]
