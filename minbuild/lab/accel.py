"""Accelerator of QEMU: KVM where a trial shows that it works, emulation (TCG) elsewhere."""

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

from minbuild.cache.records import RecordKind, Records
from minbuild.errors import ToolError, UsageError
from minbuild.lab import guest_images
from minbuild.lab.drives import OVMF_VARS, build_efi_stick_args, build_ovmf_args
from minbuild.lab.model import Accel, Decision, Firmware, Tools
from minbuild.paths import RootPath
from minbuild.process import run_program, start_program, stop_program

if TYPE_CHECKING:
    from subprocess import Popen  # noqa: TID251  the type alone


ACCEL_ARGS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    # EPYC: QEMU emulates AMD SVM, so the host has a /dev/kvm; xsaves made kernels crash
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "EPYC,-xsaves"),
}
"""QEMU's arguments for each accelerator."""
XEN_TCG_CPU = "qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt"
"""The processor that emulates for Xen. EPYC has features that QEMU emulates otherwise than Xen
expects: FSGSBASE ends domain 0, a PV guest, at its first instruction, RDTSCP a PVH guest (SVM has no
nrip-save: "Insn len emulation failed"), and Xen itself has ended in a protection fault.
"""
XEN_TCG_ARGS = ("-accel", "tcg,thread=single", "-icount", "shift=3,sleep=on", "-cpu", XEN_TCG_CPU)
"""QEMU's arguments to emulate for Xen: its clock is that of the instructions, 8 ns each.

Xen, domain 0 and each guest take timer interrupts, which cost emulation more than a bare kernel's: on a
busy machine they took all that it had, and a guest that is up after 45 s of processor time was not
after 200. Source: QEMU, docs/devel/tcg-icount.rst; qemu(1), "-icount".
"""

OVMF_TIMER_WORKAROUND = "kvm.min_timer_period_us=100000"
"""Kernel parameter of an emulated host with a UEFI guest: 10 timer ticks a second instead of 100.

OVMF writes the register CR8 at the end of every timer interrupt. QEMU 10 and 11 with emulated SVM
abort when the next interrupt is pending at that moment (helper_write_crN): with 100 ticks a second
one boot in five, more on a busy machine.
"""

QEMU = "qemu-system-x86_64"
QEMU_DATA_DIRECTORIES = (RootPath("/usr/share/qemu"), RootPath("/usr/share/seabios"))

ACCEL_VARIABLE = "MINBUILD_ACCEL"
"""Environment variable for boots without the option --accel: auto, kvm or tcg."""


def build_accel_args(accel: str, *, xen: bool) -> tuple[str, ...]:
    """Build QEMU's arguments of an accelerator, for a machine that starts Xen or Linux itself."""
    return XEN_TCG_ARGS if xen and accel == "tcg" else ACCEL_ARGS[accel]


def resolve_accel(option: Accel | None) -> Accel:
    """Return the option's accelerator, else that of the environment, else `auto`.

    Raises: UsageError when the environment variable has another value.
    """
    value = os.environ.get(ACCEL_VARIABLE) or Accel.AUTO
    if option is not None:
        return option
    if value not in list(Accel):
        raise UsageError(
            f"{ACCEL_VARIABLE} is {value!r}, which is not an accelerator",
            fix=f"set it to {', '.join(Accel)}, or unset it",
        )
    return Accel(value)


def find_tcg_abort(qemu_stderr: bytes) -> str:
    """Find the assertion with which QEMU's emulation aborted; "" for none."""
    match = re.search(rb"(?m)^ERROR:\S*accel/tcg/\S+ (assertion failed: .*)$", qemu_stderr)
    return match[1].decode("utf-8", "replace").strip() if match else ""


def choose_emulation_parameters(accel: Decision, *, uefi: bool) -> str:
    """Choose the kernel parameters that an emulated host needs; "" for none."""
    return OVMF_TIMER_WORKAROUND if uefi and accel.name == "tcg" else ""


def build_data_directory_args(tools: Tools) -> tuple[str, ...]:
    """Build the options for QEMU's firmware directories; by default it searches near ld.so."""
    return tuple(
        word
        for directory in QEMU_DATA_DIRECTORIES
        for word in ("-L", str(tools.find_path(directory)))
    )


KVM_DEVICE = Path("/dev/kvm")
SYSFS_MODULES = Path("/sys/module")
NESTING_MODULES = ("kvm_intel", "kvm_amd")

KVM_TRIAL_SECONDS = 5
"""Seconds for the trial's guest: ten times what it needs, twice by UEFI.

After that the same guest is also started by emulation.
"""
TCG_TRIAL_SECONDS = 120
"""Seconds for the emulated guest."""

REAL_SYSTEM = "system"
"""The trial of a real boot, in which KVM can fail though it runs the trial's guest."""


class TrialFirmware(StrEnum):
    """The firmware of a KVM trial: KVM can fail with one and work with another."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE = "secure"
    """UEFI with system management mode, for Secure Boot."""


def choose_trial_firmware(firmware: Firmware, *, secure: bool = False) -> TrialFirmware:
    """Choose the trial for a firmware: for a direct boot QEMU's BIOS starts the kernel."""
    if firmware in {Firmware.DIRECT, Firmware.BIOS}:
        return TrialFirmware.BIOS
    return TrialFirmware.SECURE if secure else TrialFirmware.UEFI


def choose_accelerator(
    requested: Accel | None, tools: Tools, trial_firmware: TrialFirmware, *, nested: bool = True
) -> Decision:
    """Choose KVM where it works, and with `nested` also in guests; emulation otherwise.

    Raises: ToolError when KVM is requested and does not work; UsageError for a bad MINBUILD_ACCEL.
    """
    requested = resolve_accel(requested)
    if requested is Accel.TCG:
        return Decision("tcg", "requested")
    fault = find_kvm_fault(tools, trial_firmware, ignore_history=requested is Accel.KVM)
    if requested is Accel.KVM:
        if fault:
            raise ToolError(
                f"KVM does not work on this machine: {fault}",
                fix=f"use --accel tcg or --accel auto, or unset {ACCEL_VARIABLE}",
            )
        return Decision("kvm", "requested")
    if fault or (nested and (fault := find_nesting_fault())):
        return Decision("tcg", fault)
    return Decision("kvm", "/dev/kvm ran a guest")


def can_retry_emulated(requested: Accel | None, accel: Decision) -> bool:
    """Whether a boot may be repeated by emulation when KVM runs no system."""
    return accel.name == "kvm" and resolve_accel(requested) is Accel.AUTO


def find_kvm_fault(
    tools: Tools, trial_firmware: TrialFirmware, *, ignore_history: bool = False
) -> str:
    """Find out why KVM on this machine cannot run a guest; "" when it can.

    A trial is needed: under some hypervisors /dev/kvm opens, but no guest instruction ever runs, or
    none of long mode. `ignore_history`: run the trial even if its result is recorded.
    """
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return "this user may not open /dev/kvm" if KVM_DEVICE.exists() else "there is no /dev/kvm"
    history = KvmHistory(tools)
    if not ignore_history:
        if fault := history.read_fault(REAL_SYSTEM) or history.read_fault(trial_firmware):
            return f"{fault}; KVM is tried again after: minbuild store forget-kvm"
        if history.read_fault(trial_firmware) is not None:
            return ""
    with tempfile.TemporaryDirectory(prefix="minbuild-", ignore_cleanup_errors=True) as work:
        fault, slow = try_kvm(tools, trial_firmware, Path(work))
    if slow or not fault:  # an instant failure may be temporary, and costs nothing to repeat
        history.save_fault(trial_firmware, fault)
    return fault


def find_nesting_fault() -> str:
    """Find out why guests under KVM have no KVM of their own; "" when they have."""
    for module in NESTING_MODULES:
        setting = SYSFS_MODULES / module / "parameters" / "nested"
        try:
            text = setting.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return "" if text in {"Y", "1"} else f"{module} is loaded without nested virtualization"
    return ""


class KvmHistory:
    """Recorded KVM trials of this processor, kernel release, KVM modules and QEMU version."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store
        self._machine = describe_machine(tools)

    def read_fault(self, trial: str) -> str | None:
        """Read why KVM failed in the last trial; "" when it worked, None without a trial."""
        record = self._store.get(RecordKind.KVM_FAULT, self._make_key(trial))
        return None if record is None else str(json.loads(record))

    def save_fault(self, trial: str, fault: str) -> None:
        """Record why KVM failed in a trial, or "" that it worked."""
        self._store.put(RecordKind.KVM_FAULT, {self._make_key(trial): json.dumps(fault).encode()})

    def _make_key(self, trial: str) -> str:
        return f"{self._machine}\n{trial}"


def forget_kvm_faults(store: Records) -> tuple[str, ...]:
    """Remove all records of trials; return the recorded faults, one sentence each."""
    records = store.get_all(RecordKind.KVM_FAULT)
    store.remove(RecordKind.KVM_FAULT, records)
    return tuple(fault for record in records.values() if (fault := str(json.loads(record))))


def describe_machine(tools: Tools) -> str:
    """Describe processor, kernel release, KVM modules and QEMU version in one line."""
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
    """Run the trial's guest under KVM; return why it failed ("" if not), and whether it was slow.

    A guest that does not end at once gets the time that the same guest needs by emulation: so a KVM
    that runs no guest differs from a busy machine.
    """
    with start_trial_guest(tools, trial_firmware, work, "kvm") as (process, stderr_path):
        code = wait_for_exit(process, KVM_TRIAL_SECONDS)
        slow = code is None
        if slow:
            with start_trial_guest(tools, trial_firmware, work, "tcg") as (tcg_process, _):
                wait_for_exit(tcg_process, TCG_TRIAL_SECONDS)
            code = wait_for_exit(process, 1)
        if code == guest_images.KVM_TRIAL_EXIT_CODE:
            return "", slow
        first_line = stderr_path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    message = first_line.rpartition(f"{QEMU}: ")[2].strip()
    hang = "it did not end in the time that emulation needs"
    outcome = hang if code is None else message or f"QEMU exited with status {code}"
    return f"/dev/kvm ran no guest: {outcome}", slow


@contextmanager
def start_trial_guest(
    tools: Tools, trial_firmware: TrialFirmware, work: Path, accel: str
) -> "Iterator[tuple[Popen[bytes], Path]]":
    """Start the trial's guest; yield the process and the file of QEMU's stderr."""
    directory = work / accel
    directory.mkdir()
    argv = [
        *tools.build_argv(QEMU),
        *build_trial_args(tools, trial_firmware, directory, accel),
        *build_data_directory_args(tools),
    ]
    stderr_path = directory / "stderr"
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
    """Build QEMU's arguments for the trial, which ends with KVM_TRIAL_EXIT_CODE."""
    args = [
        "-M",
        "q35",
        *ACCEL_ARGS[accel],
        "-smp",
        str(cpus),
        "-m",
        "128",
        "-device",
        guest_images.EXIT_DEVICE,
    ]
    args += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    program = work / "guest"
    if trial_firmware is TrialFirmware.BIOS:
        program.write_bytes(guest_images.make_bios_trial_guest())
        return [*args, "-kernel", str(program)]
    program.write_bytes(guest_images.make_uefi_trial_guest())
    variables = work / "vars.fd"
    variables.write_bytes(tools.find_path(OVMF_VARS).read_bytes())
    firmware = build_ovmf_args(tools, variables, secure=trial_firmware is TrialFirmware.SECURE)
    return [*args, *firmware, *build_efi_stick_args(program, work)]


def wait_for_exit(process: "Popen[bytes]", seconds: float) -> int | None:
    """Wait for a process to exit; return its exit code, or None after `seconds`."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    return process.poll()
