"""Monitor of one boot: it reads the worker's output and decides when the boot is over."""

import re
import time

from minbuild.errors import ToolError
from minbuild.lab import kprobes
from minbuild.lab.accel import find_tcg_abort
from minbuild.lab.model import BootRequest, BootStage, Firmware, LineSource, LogLine, ProbeState
from minbuild.lab.probes import ProbeTracker
from minbuild.lab.worker.client import WorkerClient
from minbuild.lab.worker.protocol import LineDecoder, Tag
from minbuild.progress import Progress

KERNEL_LINE = re.compile(r"^\[ *\d+\.\d+\] |^Linux version |^\(XEN\) ")
"""The first output of every kernel with a console; no firmware or boot loader writes this."""
SYSTEM_LINE = re.compile(
    r"^minbuild: |^builder: |\blogin: *$|^\[ {1,2}OK {1,2}\] |^Welcome to (?!GRUB)"
)
"""Output of processes: of hosts, of dib's builder machine, of getty and of systemd."""

FIRMWARE_SILENCE = {
    Firmware.DIRECT: 30,
    Firmware.BIOS: 45,
    Firmware.UEFI: 60,
    Firmware.PXE: 150,
    Firmware.HTTP: 150,
}
"""Seconds until a kernel has written its first line, even under emulation.

Several times what an idle machine needs.
"""
KERNEL_SILENCE = 30
"""Seconds: a kernel is never silent for so long before its first process, even under emulation."""
KVM_FAILURE = re.compile(
    r"KVM internal error.*|error: kvm run failed.*|KVM: entry failed.*|kvm_buf_set_msrs.*"
)
"""Messages of QEMU when KVM fails; after some of them the machine stays stopped."""


class StageTracker:
    """Tells the stage of a boot and a stall from the lines of the console.

    All seconds are effective seconds since power-on, see `run_delay`.
    """

    def __init__(self) -> None:
        self.stage = BootStage.FIRMWARE
        self._last_line_at = 0.0

    def add_line(self, text: str, seconds: float) -> None:
        """Add a line of the console."""
        if SYSTEM_LINE.search(text):
            self.stage = BootStage.SYSTEM
        elif self.stage is BootStage.FIRMWARE and KERNEL_LINE.search(text):
            self.stage = BootStage.KERNEL
        if self.stage is not BootStage.FIRMWARE:
            self._last_line_at = seconds

    def mark_system(self) -> None:
        """Set the stage to SYSTEM: a probe passed, whatever the console shows."""
        self.stage = BootStage.SYSTEM

    def find_stall(self, seconds: float, firmware: Firmware) -> str:
        """Describe how the machine shows that it runs no system; "" if it may run one."""
        silence = seconds - self._last_line_at
        match self.stage:
            case BootStage.FIRMWARE if silence >= FIRMWARE_SILENCE[firmware]:
                return f"no kernel wrote a line for {silence:.0f} s"
            case BootStage.KERNEL if silence >= KERNEL_SILENCE:
                return f"the kernel started and then wrote nothing for {silence:.0f} s"
            case _:
                return ""

    def describe_timeout(self) -> str:
        """Describe what had not happened when the time was over; "" when the system ran."""
        return self._describe_end("the time was over")

    def describe_exit(self) -> str:
        """Describe what had not happened when the machine ended; "" when the system ran."""
        return self._describe_end("the machine ended")

    def _describe_end(self, event: str) -> str:
        match self.stage:
            case BootStage.FIRMWARE:
                return f"{event} before any kernel wrote a line"
            case BootStage.KERNEL:
                return f"{event} before the kernel's first process wrote a line"
            case BootStage.SYSTEM:
                return ""


def find_kvm_failure(stderr: bytes) -> str:
    """Find QEMU's message of a failure of KVM; "" when there is none."""
    match = KVM_FAILURE.search(stderr.decode("utf-8", "replace"))
    return match[0].strip() if match else ""


POLL_INTERVAL = 0.5
"""Seconds between two looks at the clock while there is no output."""
MAX_LOG_CHARACTERS = 64 << 20
"""Characters that a machine and its servers may write in one boot."""
STDERR_TAIL = 1 << 16
"""Bytes of QEMU's stderr that are kept, the last ones."""
MAX_SILENCE_FACTOR = 4
"""Multiple of `timeout` after which a silent console ends the boot, even on a busy machine."""
PANIC_GRACE = 0.3
"""Seconds that a kernel gets to finish its panic message."""

LINE_SOURCES = {
    Tag.CONSOLE: LineSource.CONSOLE,
    Tag.DNSMASQ: LineSource.DNSMASQ,
    Tag.SERVERS: LineSource.SERVERS,
}


class BootMonitor:
    """Reads the output of a boot, feeds the probe tracker, and decides when the boot is over."""

    def __init__(
        self,
        request: BootRequest,
        tracker: ProbeTracker,
        progress: Progress,
        client: WorkerClient,
        *,
        detect_stall: bool = False,
    ) -> None:
        """`detect_stall`: silence is a sign that the accelerator runs no system."""
        self.lines: list[LogLine] = []
        self.seconds = 0.0
        self.stage_tracker = StageTracker()
        self.stall_reason = ""
        self._detect_stall = detect_stall
        self._request = request
        self._tracker = tracker
        self._progress = progress
        self._client = client
        self._actions = list(request.actions)
        self._decoders = {tag: LineDecoder() for tag in LINE_SOURCES}
        self._powered_on_at = 0.0
        self._effective_seconds = 0.0
        self._last_console_at = 0.0
        self._last_console_at_effective = 0.0
        self._log_characters = 0
        self._exit_code: int | None = None
        self._stderr = b""

    def wait(self) -> str:
        """Read until the boot is over, and return the reason why it is.

        Raises: ToolError when QEMU could not start the machine.
        """
        self._powered_on_at = time.monotonic()
        fatal_at: float | None = None
        while True:
            for tag, block in self._client.receive(
                POLL_INTERVAL if fatal_at is None else PANIC_GRACE
            ):
                self._dispatch_block(tag, block)
            self.seconds = time.monotonic() - self._powered_on_at
            self._effective_seconds = self._client.run_delay_meter.to_effective_seconds(
                self.seconds
            )
            if self._exit_code is not None:
                return self._describe_exit()
            if self._tracker.fatal_reason:
                fatal_at = fatal_at or self.seconds
                if self.seconds - fatal_at >= PANIC_GRACE:
                    return self._tracker.fatal_reason
            elif reason := self._find_stall() or self._find_end_reason():
                return reason

    def _find_stall(self) -> str:
        """Find the sign that the accelerator runs no system; "" when it may run one."""
        if self._detect_stall:
            self.stall_reason = find_kvm_failure(self._stderr) or self.stage_tracker.find_stall(
                self._effective_seconds, self._request.boot_firmware
            )
        return self.stall_reason

    def _find_end_reason(self) -> str:
        pending = self._tracker.list_pending(self._effective_seconds)
        if not pending:
            outcomes = self._tracker.list_outcomes()
            has_failed = any(outcome.state is ProbeState.FAILED for outcome in outcomes)
            return "no probe is left to wait for" if has_failed else "every probe was seen"
        if timeout_reason := self._find_timeout():
            self.stall_reason = self.stage_tracker.describe_timeout() if self._detect_stall else ""
            return f"{timeout_reason} without: {', '.join(probe.name for probe in pending)}"
        return ""

    def _find_timeout(self) -> str:
        """Describe which limit the boot has reached; "" for none.

        Waiting for a processor does not count while the console shows output.
        """
        limit = self._request.timeout
        if self._log_characters > MAX_LOG_CHARACTERS:
            return f"the machine wrote more than {MAX_LOG_CHARACTERS >> 20} MiB"
        if self._effective_seconds >= limit:
            return f"{limit} s passed"
        quiet_seconds = self._effective_seconds - self._last_console_at_effective
        if self._request.silence and quiet_seconds >= self._request.silence:
            return f"{quiet_seconds:.0f} s passed with nothing on the console"
        silence = self.seconds - self._last_console_at
        return f"{silence:.0f} s of silence passed" if silence >= MAX_SILENCE_FACTOR * limit else ""

    def _dispatch_block(self, tag: Tag, block: bytes) -> None:
        if tag is Tag.POWERED_ON:
            self._powered_on_at = time.monotonic()
        elif tag is Tag.QEMU_EXIT:
            self._exit_code = int(block)
        elif tag is Tag.QEMU_STDERR:
            self._stderr = (self._stderr + block)[-STDERR_TAIL:]
        elif tag in LINE_SOURCES:
            for text in self._decoders[tag].feed(block):
                self._handle_line(LINE_SOURCES[tag], text)

    def _handle_line(self, source: LineSource, text: str) -> None:
        if source is LineSource.CONSOLE and self._is_kernel_event(text):
            source = LineSource.TRACE
        seen_count = len(self._tracker.matches)
        seconds = time.monotonic() - self._powered_on_at
        effective_seconds = self._client.run_delay_meter.to_effective_seconds(seconds)
        line = LogLine(source, round(seconds, 3), text, round(effective_seconds, 3))
        self.lines.append(line)
        self._log_characters += len(text) + 1
        self._tracker.add_line(line)
        if source in {LineSource.CONSOLE, LineSource.TRACE}:
            self._last_console_at = seconds
            self._last_console_at_effective = effective_seconds
            self.stage_tracker.add_line(text, effective_seconds)
        if source is LineSource.CONSOLE:
            self._progress.show_line(text)
            self._run_console_actions(text)
        if len(self._tracker.matches) > seen_count:
            if any(self._tracker.is_seen_on_console(probe) for probe in self._request.probes):
                self.stage_tracker.mark_system()
            done = sum(
                not self._tracker.list_missing_patterns(probe) for probe in self._tracker.probes
            )
            self._progress.bar("probes", done, len(self._tracker.probes))

    def _is_kernel_event(self, text: str) -> bool:
        """Whether a console line is an event of the kernel's probes for files and ports."""
        request = self._request
        return (request.trace and kprobes.FILE_EVENT.match(text) is not None) or (
            request.ports and kprobes.PORT_EVENT.match(text) is not None
        )

    def _run_console_actions(self, text: str) -> None:
        """Run the actions that this line triggers, each once."""
        for action in [action for action in self._actions if action.trigger.search(text)]:
            self._actions.remove(action)
            self._client.send_keys(action.keys.encode())
            if action.argv:
                self._client.run_command(action.name, action.argv)

    def flush(self) -> None:
        """Handle the last line of each stream, which has no line end."""
        for tag, decoder in self._decoders.items():
            for text in decoder.flush():
                self._handle_line(LINE_SOURCES[tag], text)

    def _describe_exit(self) -> str:
        if (
            self._detect_stall
            and (reason := self.stage_tracker.describe_exit())
            and not self._tracker.fatal_reason
        ):
            error_lines = self._stderr.decode("utf-8", "replace").strip().splitlines()
            self.stall_reason = (
                f"{reason} ({error_lines[-1]})" if self._exit_code and error_lines else reason
            )
            return self.stall_reason
        if self._exit_code:
            self._tracker.crash_line = find_tcg_abort(self._stderr)
            if not self._tracker.crash_line:
                raise make_qemu_error(self._exit_code, self._stderr)
            return f"QEMU crashed: {self._tracker.crash_line}"
        return self._tracker.describe_exit()


def make_qemu_error(code: int, stderr: bytes) -> ToolError:
    """Make the error of a QEMU that could not run the machine, with its last message."""
    error_lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return ToolError(
        f"QEMU exited with status {code}: {error_lines[-1] if error_lines else 'no message'}",
        fix="keep its working files with --keep DIR and look at them",
    )
