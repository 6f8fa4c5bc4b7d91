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


def boot_interactively(
    request: BootRequest, tools: Tools, progress: Progress, *, input_fd: int, output_fd: int
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
        input_fd,
        output_fd,
        request.boot_firmware,
        detect_stall=can_retry_emulated(request.accel, accel),
    )
    boot_with_console(request, tools, progress, accel, console)
    if not console.stall_reason:
        return
    reason = f"under KVM {console.stall_reason}"
    progress.note(f"{reason}: booting once more, by emulation")
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

    Raises: as `interact`.
    """
    with make_working_directory(request.keep) as work:
        network = choose_network(request.network, tools)
        qemu.require_http_support(request.firmware, network)
        plan, _ = prepare_files(request, tools, work, accel, network)
        if not landlock.is_available():
            progress.note(landlock.UNCONFINED_NOTE)
        progress.note(f"{request.image.name}: {accel.name}, network {network.name}; {KEY_HINT}")
        with WorkerClient(Network(network.name), plan) as client, set_raw_mode(console.input_fd):
            console.relay(client)


class InteractiveConsole:
    """Keys in and the console out, until either ends or the machine shows that it runs nothing."""

    def __init__(
        self, input_fd: int, output_fd: int, firmware: Firmware, *, detect_stall: bool
    ) -> None:
        """`suspect`: what runs the machine may run nothing, and silence is a sign of that."""
        self.input_fd = input_fd
        self.stage_tracker = StageTracker()
        self.stall_reason = ""
        self._output_fd = output_fd
        self._firmware = firmware
        self._detect_stall = detect_stall
        self._decoder = LineDecoder()
        self._stderr = b""

    def relay(self, client: WorkerClient) -> None:
        """Carry all.

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
    """Have a terminal pass every key as it is, and put it back afterwards."""
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
    """Write all of `data`."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(fd, remaining) :]
