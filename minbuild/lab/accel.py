"""QEMU's words for KVM and for emulation, and which of them the user asked for."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.cache.kinds import RecordKind
from minbuild.cache.records import Records
from minbuild.errors import ToolError, UsageError
from minbuild.lab import kvm_trial_guest
from minbuild.lab.model import Accel, Decision, Firmware, Tools
from minbuild.lab.ovmf import OVMF_VARS, build_efi_stick_args, build_ovmf_args
from minbuild.paths import RootPath
from minbuild.process import run_program, start_program, stop_program

if TYPE_CHECKING:
    from subprocess import Popen  # noqa: TID251  the type alone


ACCEL_ARGS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    # EPYC: AMD SVM is emulated, so the guest has a /dev/kvm; xsaves made kernels crash
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "EPYC,-xsaves"),
}
"""QEMU's arguments for each choice."""

OVMF_TIMER_WORKAROUND = "kvm.min_timer_period_us=100000"
"""For the kernel of an emulated host whose guest starts by UEFI.

OVMF writes the register CR8 at the end of every timer interrupt. QEMU, where it emulates SVM, aborts
when the next interrupt waits at that moment (helper_write_crN of 10 and 11): at OVMF's 100 ticks a
second one boot in five, and more on a busy machine. Ten leave time for each.
"""

QEMU = "qemu-system-x86_64"
QEMU_DATA_DIRECTORIES = (RootPath("/usr/share/qemu"), RootPath("/usr/share/seabios"))

ACCEL_VARIABLE = "MINBUILD_ACCEL"
"""What is taken where no option says it: auto, kvm or tcg."""


def resolve_accel(option: Accel | None) -> Accel:
    """What was asked for: by an option, else by the environment, else `auto`.

    Raises: UsageError when the environment names none of the three.
    """
    value = os.environ.get(ACCEL_VARIABLE) or Accel.AUTO
    if option is not None:
        return option
    if value not in list(Accel):
        raise UsageError(
            f"{ACCEL_VARIABLE} is {value!r}, which is no way to run a machine",
            fix=f"set it to {', '.join(Accel)}, or unset it",
        )
    return Accel(value)


def find_tcg_abort(qemu_stderr: bytes) -> str:
    """What QEMU's emulation aborted with; "" when it did not."""
    match = re.search(rb"(?m)^ERROR:\S*accel/tcg/\S+ (assertion failed: .*)$", qemu_stderr)
    return match[1].decode("utf-8", "replace").strip() if match else ""


def choose_emulation_parameters(accel: Decision, *, uefi: bool) -> str:
    """What the host's kernel is told because it is emulated; "" for nothing."""
    return OVMF_TIMER_WORKAROUND if uefi and accel.name == "tcg" else ""


def build_data_directory_args(tools: Tools) -> tuple[str, ...]:
    """Tell QEMU where its firmware lies: it would look beside its loader."""
    return tuple(
        word
        for directory in QEMU_DATA_DIRECTORIES
        for word in ("-L", str(tools.find_path(directory)))
    )


KVM_DEVICE = Path("/dev/kvm")
SYSFS_MODULES = Path("/sys/module")
NESTING_MODULES = ("kvm_intel", "kvm_amd")

KVM_TRIAL_SECONDS = 5
"""A guest that ends by itself needs a tenth of that, or half of it by UEFI; then one is emulated beside."""
TCG_TRIAL_SECONDS = 120
"""Seconds for the emulated one."""

REAL_SYSTEM = "system"
"""Of a real system, which the trial cannot stand for."""


class TrialFirmware(StrEnum):
    """What a machine starts by; each is a trial of its own."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE = "secure"
    """UEFI with system management mode, for Secure Boot."""


def choose_trial_firmware(firmware: Firmware, *, secure: bool = False) -> TrialFirmware:
    """The trial that stands for a firmware: without any, QEMU has a BIOS start the kernel."""
    if firmware in {Firmware.DIRECT, Firmware.BIOS}:
        return TrialFirmware.BIOS
    return TrialFirmware.SECURE if secure else TrialFirmware.UEFI


def choose_accelerator(
    requested: Accel | None, tools: Tools, trial_firmware: TrialFirmware, *, nested: bool = True
) -> Decision:
    """Take KVM where it works and lets guests use it in turn (`nested`), emulation otherwise.

    Raises: ToolError when KVM was asked for and does not work; UsageError for a wrong MINBUILD_ACCEL.
    """
    requested = resolve_accel(requested)
    if requested is Accel.TCG:
        return Decision("tcg", "asked for")
    fault = find_kvm_fault(tools, trial_firmware, ignore_history=requested is Accel.KVM)
    if requested is Accel.KVM:
        if fault:
            raise ToolError(
                f"KVM does not work on this machine: {fault}",
                fix=f"use --accel tcg or --accel auto, or unset {ACCEL_VARIABLE}",
            )
        return Decision("kvm", "asked for")
    if fault or (nested and (fault := find_nesting_fault())):
        return Decision("tcg", fault)
    return Decision("kvm", "/dev/kvm ran a guest")


def can_retry_emulated(requested: Accel | None, accel: Decision) -> bool:
    """Whether a machine that KVM does not run is run once more by emulation."""
    return accel.name == "kvm" and resolve_accel(requested) is Accel.AUTO


def find_kvm_fault(
    tools: Tools, trial_firmware: TrialFirmware, *, ignore_history: bool = False
) -> str:
    """Say why this machine's KVM cannot run a guest; "" when it ran one.

    That /dev/kvm opens proves nothing: under some hypervisors no instruction of a guest ever runs,
    under others none of long mode. `anew`: whatever is remembered, it is tried.
    """
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return (
            "/dev/kvm may not be opened by this user"
            if KVM_DEVICE.exists()
            else "there is no /dev/kvm"
        )
    history = KvmHistory(tools)
    if not ignore_history:
        if fault := history.read_fault(REAL_SYSTEM) or history.read_fault(trial_firmware):
            return f"{fault}; KVM is tried again after: minbuild store forget-kvm"
        if history.read_fault(trial_firmware) is not None:
            return ""
    with tempfile.TemporaryDirectory(prefix="minbuild-", ignore_cleanup_errors=True) as work:
        fault, slow = try_kvm(tools, trial_firmware, Path(work))
    if slow or not fault:  # what fails at once may go by, and costs nothing to ask again
        history.save_fault(trial_firmware, fault)
    return fault


def find_nesting_fault() -> str:
    """Say why a guest under KVM would have no KVM of its own; "" when it has."""
    for module in NESTING_MODULES:
        setting = SYSFS_MODULES / module / "parameters" / "nested"
        try:
            text = setting.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return "" if text in {"Y", "1"} else f"{module} does not let guests run guests"
    return ""


class KvmHistory:
    """What this machine's KVM did before: as this processor, kernel, its modules and this QEMU."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store
        self._machine = describe_machine(tools)

    def read_fault(self, trial: str) -> str | None:
        """Why KVM ran nothing the last time; "" when it did, None when it is not known."""
        record = self._store.get(RecordKind.KVM_FAULT, self._make_key(trial))
        return None if record is None else str(json.loads(record))

    def save_fault(self, trial: str, fault: str) -> None:
        """Remember it."""
        self._store.put(RecordKind.KVM_FAULT, {self._make_key(trial): json.dumps(fault).encode()})

    def _make_key(self, trial: str) -> str:
        return f"{self._machine}\n{trial}"


def forget_kvm_faults(store: Records) -> tuple[str, ...]:
    """Forget all that is remembered; returns what KVM did not run, one sentence each."""
    records = store.get_all(RecordKind.KVM_FAULT)
    store.remove(RecordKind.KVM_FAULT, records)
    return tuple(fault for record in records.values() if (fault := str(json.loads(record))))


def describe_machine(tools: Tools) -> str:
    """A line that names what KVM's work depends on."""
    argv = [*tools.build_argv(QEMU), "--version"]
    output = run_program(argv, purpose="asking for QEMU's version", env=tools.build_environment())
    qemu = output.decode("utf-8", "replace").partition("\n")[0]
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    rows = (line.partition(":") for line in text.splitlines())
    cpu = next((value.strip() for name, _, value in rows if name.strip() == "model name"), "")
    modules = sorted(path.name for path in SYSFS_MODULES.glob("kvm*"))
    return "; ".join((cpu, os.uname().release, " ".join(modules), qemu))


def try_kvm(tools: Tools, trial_firmware: TrialFirmware, work: Path) -> tuple[str, bool]:
    """Why KVM does not run the guest of `trial`, "" when it does; whether that took a while.

    Where it does not end at once it has the time that the same guest needs by emulation, which
    tells a KVM that runs nothing from a machine that is busy.
    """
    with start_trial_guest(tools, trial_firmware, work, "kvm") as (process, stderr_path):
        code = wait_for_exit(process, KVM_TRIAL_SECONDS)
        slow = code is None
        if slow:
            with start_trial_guest(tools, trial_firmware, work, "tcg") as (tcg_process, _):
                wait_for_exit(tcg_process, TCG_TRIAL_SECONDS)
            code = wait_for_exit(process, 1)
        if code == kvm_trial_guest.KVM_TRIAL_EXIT_CODE:
            return "", slow
        first_line = stderr_path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    message = first_line.rpartition(f"{QEMU}: ")[2].strip()
    hang = "it did not come to its end in a time in which emulation does"
    outcome = hang if code is None else message or f"QEMU ended with {code}"
    return f"/dev/kvm ran no guest: {outcome}", slow


@contextmanager
def start_trial_guest(
    tools: Tools, trial_firmware: TrialFirmware, work: Path, accel: str
) -> "Iterator[tuple[Popen[bytes], Path]]":
    """Start the trial's guest; gives the process, and the file with what QEMU complains of."""
    directory = work / accel
    directory.mkdir()
    argv = [
        *tools.build_argv(QEMU),
        *build_trial_args(tools, trial_firmware, directory, accel),
        *build_data_directory_args(tools),
    ]
    stderr_path = directory / "said"
    with (
        stderr_path.open("wb") as log,
        start_program(
            argv,
            purpose="trying KVM",
            env=tools.build_environment(),
            stdout=log.fileno(),
            stderr=log.fileno(),
        ) as process,
    ):
        try:
            yield process, stderr_path
        finally:
            stop_program(process)


def build_trial_args(
    tools: Tools, trial_firmware: TrialFirmware, work: Path, accel: str, *, cpus: int = 2
) -> list[str]:
    """QEMU's arguments for a machine that ends itself with exit code `trial.ENDED`."""
    args = [
        "-M",
        "q35",
        *ACCEL_ARGS[accel],
        "-smp",
        str(cpus),
        "-m",
        "128",
        "-device",
        kvm_trial_guest.EXIT_DEVICE,
    ]
    args += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    program = work / "guest"
    if trial_firmware is TrialFirmware.BIOS:
        program.write_bytes(kvm_trial_guest.make_bios_trial_guest())
        return [*args, "-kernel", str(program)]
    program.write_bytes(kvm_trial_guest.make_uefi_trial_guest())
    variables = work / "vars.fd"
    variables.write_bytes(tools.find_path(OVMF_VARS).read_bytes())
    firmware = build_ovmf_args(tools, variables, secure=trial_firmware is TrialFirmware.SECURE)
    return [*args, *firmware, *build_efi_stick_args(program, work)]


def wait_for_exit(process: "Popen[bytes]", seconds: float) -> int | None:
    """The exit code of a process that ends within `seconds`; None when it does not."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    return process.poll()
