"""Interactive boot: the host's console on the user's own terminal."""

import contextlib
import os
import select
import termios
import time
import tty
from collections.abc import Iterator

from minbuild.lab.accel import (
    REAL_SYSTEM,
    KvmHistory,
    can_retry_emulated,
    choose_accelerator,
    choose_trial_firmware,
)
from minbuild.lab.boot import make_retry_request, prepare_boot_files
from minbuild.lab.model import BootRequest, Decision, Firmware, Tools
from minbuild.lab.monitor import STDERR_TAIL, StageTracker, find_kvm_failure, make_qemu_error
from minbuild.lab.worker.client import WorkerClient
from minbuild.lab.worker.protocol import LineDecoder, Tag
from minbuild.progress import Progress

KEY_HINT = "Ctrl-A x ends the machine, Ctrl-A c opens QEMU's monitor"
CHUNK = 4096
POLL_INTERVAL = 0.2
"""Seconds between two looks at the clock while there is no input and no output."""


def boot_interactively(
    request: BootRequest, tools: Tools, progress: Progress, *, input_fd: int, output_fd: int
) -> None:
    """Boot with the console on two file descriptors until the machine or the input ends.

    Probes and `timeout` do not count. Where KVM runs no system and nothing was typed, the boot is
    repeated by emulation.
    Raises: ToolError when the lab cannot work, UsageError for what cannot be booted.
    """
    trial_firmware = choose_trial_firmware(request.boot_firmware, secure=bool(request.certificate))
    accel = choose_accelerator(request.accel, tools, trial_firmware)
    may_stall = can_retry_emulated(request.accel, accel)
    console = InteractiveConsole(input_fd, output_fd, request.boot_firmware, detect_stall=may_stall)
    boot_with_console(request, tools, progress, accel, console)
    if not console.stall_reason:
        return
    reason = f"under KVM {console.stall_reason}"
    progress.note(f"{reason}: booting again, by emulation")
    retry = InteractiveConsole(input_fd, output_fd, request.boot_firmware, detect_stall=False)
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

    Raises: as `boot_interactively`.
    """
    with prepare_boot_files(request, tools, progress, accel) as prepared:
        network = prepared.network.name
        progress.note(f"{request.image.name}: {accel.name}, network {network}; {KEY_HINT}")
        with (
            WorkerClient(prepared.network_kind, prepared.plan) as client,
            set_raw_mode(console.input_fd),
        ):
            console.relay(client)


class InteractiveConsole:
    """Relays keys and console output until one of them ends, or the machine runs no system."""

    def __init__(
        self, input_fd: int, output_fd: int, firmware: Firmware, *, detect_stall: bool
    ) -> None:
        """`detect_stall`: silence is a sign that the accelerator runs no system."""
        self.input_fd = input_fd
        self.stage_tracker = StageTracker()
        self.stall_reason = ""
        self._output_fd = output_fd
        self._firmware = firmware
        self._detect_stall = detect_stall
        self._decoder = LineDecoder()
        self._stderr = b""

    def relay(self, client: WorkerClient) -> None:
        """Relay keys and output until the end.

        Raises: ToolError when QEMU could not start the machine.
        """
        start = time.monotonic()
        while not self.stall_reason:
            ready = select.select([client.output_fd, self.input_fd], [], [], POLL_INTERVAL)[0]
            if self.input_fd in ready:
                keys = os.read(self.input_fd, CHUNK)
                if not keys:
                    return
                self._detect_stall = False
                client.send_keys(keys)
            seconds = client.run_delay_meter.to_effective_seconds(time.monotonic() - start)
            for tag, block in client.receive(0):
                if tag is Tag.QEMU_EXIT:
                    self._handle_exit(int(block))
                    return
                self._dispatch_block(tag, block, seconds)
            if self._detect_stall:
                stall = self.stage_tracker.find_stall(seconds, self._firmware)
                self.stall_reason = find_kvm_failure(self._stderr) or stall

    def _dispatch_block(self, tag: Tag, block: bytes, seconds: float) -> None:
        if tag is Tag.CONSOLE:
            write_all(self._output_fd, block)
            for text in self._decoder.feed(block):
                self.stage_tracker.add_line(text, seconds)
        elif tag is Tag.QEMU_STDERR:
            self._stderr = (self._stderr + block)[-STDERR_TAIL:]

    def _handle_exit(self, code: int) -> None:
        self.stall_reason = self.stage_tracker.describe_exit() if self._detect_stall else ""
        if code and not self.stall_reason:
            raise make_qemu_error(code, self._stderr)


@contextlib.contextmanager
def set_raw_mode(fd: int) -> Iterator[None]:
    """Set a terminal to raw mode, in which every key is passed on, and restore it at the end."""
    if not os.isatty(fd):
        yield
        return
    saved_attributes = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved_attributes)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to a file descriptor."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(fd, remaining) :]
