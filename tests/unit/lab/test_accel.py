"""Choice of the accelerator: the trial guest in a real QEMU, and KVMs that fail in several ways."""

import contextlib
import os
import pty
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.dib import builder_vm
from minbuild.errors import ToolError, UsageError
from minbuild.lab import accel, guest_images, monitor
from minbuild.lab.accel import (
    ACCEL_VARIABLE,
    TrialFirmware,
    build_trial_args,
    choose_accelerator,
    choose_trial_firmware,
    resolve_accel,
    start_trial_guest,
)
from minbuild.lab.boot import boot_image
from minbuild.lab.interactive import boot_interactively
from minbuild.lab.model import Accel, BootRequest, BootStage, Firmware, Network
from minbuild.lab.monitor import StageTracker, find_kvm_failure
from minbuild.lab.probes import make_default_probes
from minbuild.process import start_program, stop_program
from minbuild.progress import Progress, SilentProgress
from minbuild.toolbox.toolbox import Toolbox
from tests.support.accelerator import set_accelerator
from tests.support.patience import PATIENCE
from tests.support.real_archive import open_real_archive
from tests.support.sample import sampled_feature, sampled_params
from tests.unit.lab.conftest import Bench, busybox_of
from tests.unit.lab.cpio import initramfs
from tests.unit.lab.faulty_qemu import FaultyQemu
from tests.unit.toolbox.real import toolbox

INIT = next(probe for probe in make_default_probes() if probe.name == "init")


@pytest.fixture
def has_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with /dev/kvm and nested virtualization, with short timeouts."""
    (tmp_path / "device").touch()
    monkeypatch.setattr(accel, "KVM_DEVICE", tmp_path / "device")
    monkeypatch.setattr(accel, "SYSFS_MODULES", tmp_path / "modules")
    monkeypatch.setitem(monitor.FIRMWARE_SILENCE, Firmware.DIRECT, 3)
    monkeypatch.setattr(monitor, "KERNEL_SILENCE", 3)
    monkeypatch.delenv(ACCEL_VARIABLE, raising=False)


MakeFaultyQemu = Callable[[Toolbox, str], FaultyQemu]


@pytest.fixture
def make_faulty_qemu(tmp_path: Path) -> Iterator[MakeFaultyQemu]:
    """Make toolboxes whose QEMU fails in a given way."""
    programs: list[FaultyQemu] = []

    def make(tools: Toolbox, way: str) -> FaultyQemu:
        directory = tmp_path / f"qemu {len(programs)}"
        directory.mkdir()
        programs.append(FaultyQemu(tools, way, directory))
        return programs[-1]

    yield make
    for program in programs:
        program.close()


class Notes(SilentProgress):
    """Progress that records its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def boot_tiny(bench: Bench, qemu: FaultyQemu, progress: Progress, **more: object) -> object:
    values: dict[str, object] = {
        "image": bench.kernel,
        "probes": (INIT,),
        "initramfs": bench.initramfs,
        "cmdline": "console=ttyS0 panic=-1",
        "network": Network.USER,
        "timeout": 150,
    }
    return boot_image(BootRequest(**{**values, **more}), qemu, progress)  # type: ignore[arg-type]


@pytest.mark.mirror
@pytest.mark.parametrize(
    "way", [TrialFirmware.BIOS, *sampled_params([TrialFirmware.UEFI, TrialFirmware.SECURE])]
)
def test_the_trial_guest_ends_itself_by_every_firmware(way: TrialFirmware, tmp_path: Path) -> None:
    with start_trial_guest(toolbox(lab=True), way, tmp_path, "tcg") as (process, _):
        assert accel.wait_for_exit(process, PATIENCE) == guest_images.KVM_TRIAL_EXIT_CODE


@pytest.mark.mirror
@pytest.mark.parametrize("words", [("-smp", "1"), ("-cpu", "qemu32")], ids=" ".join)
def test_the_trial_guest_needs_what_a_kernel_needs(words: tuple[str, ...], tmp_path: Path) -> None:
    """Without a second processor or long mode it does not end."""
    box = toolbox(lab=True)
    args = build_trial_args(box, TrialFirmware.BIOS, tmp_path, "tcg")
    args[args.index(words[0]) + 1] = words[1]
    argv = [*box.build_argv("qemu-system-x86_64"), *args, *accel.build_data_directory_args(box)]
    with start_program(argv, purpose="trying", env=box.build_environment()) as process:
        assert accel.wait_for_exit(process, 3) != guest_images.KVM_TRIAL_EXIT_CODE
        stop_program(process)


@pytest.mark.mirror
@pytest.mark.parametrize("way", ["stops", "one processor", "resets", "aborts"])
def test_a_kvm_that_runs_no_guest_is_told_by_the_trial(
    way: str, has_kvm: None, make_faulty_qemu: MakeFaultyQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "KVM_TRIAL_SECONDS", 1)
    qemu = make_faulty_qemu(toolbox(lab=True), way)
    chosen = choose_accelerator(None, qemu, TrialFirmware.BIOS)
    assert (chosen.name, "ran no guest" in chosen.reason) == ("tcg", True)
    assert ("MSR" in chosen.reason) is (way == "aborts")
    first = qemu.starts
    assert first[0] == "kvm trial"
    assert choose_accelerator(None, qemu, TrialFirmware.BIOS).name == "tcg"
    # one that fails at once is asked again, as it may have been in use
    assert qemu.starts == (["kvm trial"] if way in {"resets", "aborts"} else [])
    with pytest.raises(ToolError, match="KVM does not work"):
        choose_accelerator(Accel.KVM, qemu, TrialFirmware.BIOS)
    assert choose_accelerator(Accel.TCG, qemu, TrialFirmware.BIOS).name == "tcg"


@pytest.mark.mirror
def test_a_kvm_that_runs_the_guest_is_tried_once(
    has_kvm: None, make_faulty_qemu: MakeFaultyQemu
) -> None:
    qemu = make_faulty_qemu(toolbox(lab=True), "good")
    assert (
        choose_accelerator(None, qemu, TrialFirmware.BIOS).name
        == choose_accelerator(None, qemu, TrialFirmware.BIOS).name
        == "kvm"
    )
    assert qemu.starts == ["kvm trial"]


@pytest.mark.mirror
@pytest.mark.boot
def test_a_kvm_whose_kernel_is_silent_is_left_for_emulation_and_remembered(
    bench: Bench, has_kvm: None, make_faulty_qemu: MakeFaultyQemu
) -> None:
    qemu = make_faulty_qemu(bench.tools, "firmware alone")
    notes = Notes()
    result = boot_tiny(bench, qemu, notes)
    assert result.passed  # type: ignore[attr-defined]
    assert result.accel.name == "tcg"  # type: ignore[attr-defined]
    assert result.tries == 2  # type: ignore[attr-defined]
    assert qemu.starts == ["kvm trial", "kvm system", "tcg system"]
    assert "no kernel wrote a line" in notes.notes[0]
    assert "forget-kvm" in notes.notes[1]
    chosen = choose_accelerator(None, qemu, TrialFirmware.UEFI)
    assert (chosen.name, "by emulation it went on" in chosen.reason) == ("tcg", True)
    assert qemu.starts == []
    assert len(accel.forget_kvm_faults(qemu.store)) == 1
    assert choose_accelerator(None, qemu, TrialFirmware.BIOS).name == "kvm"
    # what was asked for is done, whatever is remembered
    accel.KvmHistory(qemu).save_fault(accel.REAL_SYSTEM, "it was silent")
    assert choose_accelerator(Accel.KVM, qemu, TrialFirmware.BIOS).name == "kvm"


@pytest.mark.mirror
@pytest.mark.boot
@sampled_feature("loses a system")
@pytest.mark.parametrize(
    "way",
    [
        "kernel alone",
        *(pytest.param(one, marks=pytest.mark.long) for one in ("resets a system", "gives up")),
    ],
)
def test_a_kvm_that_starts_a_system_and_loses_it_is_left_for_emulation(
    way: str, bench: Bench, has_kvm: None, make_faulty_qemu: MakeFaultyQemu
) -> None:
    qemu = make_faulty_qemu(bench.tools, way)
    result = boot_tiny(bench, qemu, SilentProgress())
    assert result.passed  # type: ignore[attr-defined]
    assert qemu.starts == ["kvm trial", "kvm system", "tcg system"]
    assert choose_accelerator(None, qemu, TrialFirmware.BIOS).name == "tcg"


@pytest.mark.mirror
def test_an_image_that_says_nothing_by_emulation_either_is_not_kvm_s_fault(
    bench: Bench, has_kvm: None, make_faulty_qemu: MakeFaultyQemu
) -> None:
    qemu = make_faulty_qemu(bench.tools, "trial alone")
    result = boot_tiny(bench, qemu, SilentProgress(), cmdline="console=tty0", timeout=6)
    assert not result.passed  # type: ignore[attr-defined]
    assert qemu.starts == ["kvm trial", "kvm system", "tcg system"]
    assert choose_accelerator(None, qemu, TrialFirmware.BIOS).name == "kvm"


@pytest.mark.mirror
@pytest.mark.boot
@sampled_feature("good")
def test_a_good_kvm_boots_once(
    bench: Bench, has_kvm: None, make_faulty_qemu: MakeFaultyQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    # emulation stands for KVM here, and a busy machine is slow at it
    monkeypatch.setattr(accel, "KVM_TRIAL_SECONDS", PATIENCE)
    monkeypatch.setitem(monitor.FIRMWARE_SILENCE, Firmware.DIRECT, PATIENCE)
    monkeypatch.setattr(monitor, "KERNEL_SILENCE", PATIENCE)
    qemu = make_faulty_qemu(bench.tools, "good")
    result = boot_tiny(bench, qemu, SilentProgress())
    assert result.passed  # type: ignore[attr-defined]
    assert result.accel.name == "kvm"  # type: ignore[attr-defined]
    assert qemu.starts == ["kvm trial", "kvm system"]


def test_what_is_remembered_is_of_this_machine_alone(
    has_kvm: None, make_faulty_qemu: MakeFaultyQemu
) -> None:
    qemu, other = (
        make_faulty_qemu(toolbox(lab=True), "good"),
        make_faulty_qemu(toolbox(lab=True), "another QEMU"),
    )
    other.store = qemu.store
    accel.KvmHistory(qemu).save_fault("bios", "")
    assert accel.KvmHistory(qemu).read_fault("bios") == ""
    assert accel.KvmHistory(other).read_fault("bios") is None


def test_the_environment_says_what_no_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCEL_VARIABLE, "tcg")
    assert resolve_accel(None) is Accel.TCG
    assert resolve_accel(Accel.KVM) is Accel.KVM
    monkeypatch.setenv(ACCEL_VARIABLE, "hvf")
    with pytest.raises(UsageError, match="hvf"):
        resolve_accel(None)
    monkeypatch.setenv(ACCEL_VARIABLE, "")
    assert resolve_accel(None) is Accel.AUTO


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ('BdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0)', 0),
        ("SeaBIOS (version 1.16.3-debian-1.16.3-2)", 0),
        ("iPXE (https://ipxe.org) 00:03.0 CA00 PCI2.10 PnP PMM+3EFCAF60+3EF0AF60 CA00", 0),
        ("Welcome to GRUB!", 0),
        ("EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path", 0),
        ("Booting from Hard Disk...", 0),
        ("[    0.000000] Linux version 6.12.41+deb13-cloud-amd64", 1),
        ("(XEN) Xen version 4.20.0", 1),
        ("minbuild: 2.31 init: 9 steps started", 2),
        ("Welcome to Debian GNU/Linux 13 (trixie)!", 2),
        ("host login: ", 2),
    ],
)
def test_a_firmware_s_line_is_not_the_kernel_s_word(line: str, stage: int) -> None:
    tracker = StageTracker()
    tracker.add_line(line, 1.0)
    assert tracker.stage == BootStage(stage)
    assert bool(tracker.find_stall(10_000, Firmware.UEFI)) is (stage < BootStage.SYSTEM)
    assert tracker.find_stall(2, Firmware.UEFI) == ""


def test_what_qemu_says_of_a_kvm_that_gave_up_is_found() -> None:
    assert find_kvm_failure(b"x\nKVM internal error. Suberror: 3\nextra data") != ""
    assert (
        find_kvm_failure(b"qemu-system-x86_64: warning: host doesn't support requested feature")
        == ""
    )


def test_every_firmware_has_its_trial() -> None:
    ways = {firmware: choose_trial_firmware(firmware) for firmware in Firmware}
    assert [ways[one] for one in (Firmware.DIRECT, Firmware.BIOS)] == [
        TrialFirmware.BIOS,
        TrialFirmware.BIOS,
    ]
    assert {ways[one] for one in Firmware if "bios" not in one and one != "direct"} == {
        TrialFirmware.UEFI
    }
    assert choose_trial_firmware(Firmware.UEFI, secure=True) is TrialFirmware.SECURE


def test_forgetting_names_what_was_remembered(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.put(RecordKind.KVM_FAULT, {"a\nbios": b'""', "a\nsystem": b'"it was silent"'})
    assert accel.forget_kvm_faults(store) == ("it was silent",)
    assert store.get_all(RecordKind.KVM_FAULT) == {}


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("aborts", "tcg"),
        pytest.param("kernel alone", "tcg", marks=pytest.mark.long),
        pytest.param("good", "", marks=pytest.mark.long),
    ],
)
def test_the_suite_knows_once_for_all_what_runs_its_machines(
    way: str,
    said: str,
    bench: Bench,
    has_kvm: None,
    make_faulty_qemu: MakeFaultyQemu,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = dict(os.environ)
    monkeypatch.setattr(os, "environ", environment)
    qemu = make_faulty_qemu(bench.tools, way)
    set_accelerator(qemu, bench.kernel)
    assert environment.get(ACCEL_VARIABLE, "") == said
    assert qemu.starts[-1] in {"kvm trial", "kvm system", "tcg system"}
    environment.pop(ACCEL_VARIABLE, "")
    set_accelerator(qemu, bench.kernel)
    # it is remembered; what fails at once is asked anew
    assert qemu.starts == {"good": ["kvm system"], "aborts": ["kvm trial"]}.get(way, [])


BUILDER = """#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
echo "builder: started" >/dev/console
echo o >/proc/sysrq-trigger
"""


@pytest.mark.mirror
@pytest.mark.boot
@sampled_feature("builder machine")
def test_a_builder_machine_that_is_silent_under_kvm_is_run_by_emulation(
    bench: Bench,
    store: Store,
    has_kvm: None,
    make_faulty_qemu: MakeFaultyQemu,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its kernel is told to be quiet: only the builder's own word counts."""
    monkeypatch.setattr(builder_vm, "SILENCE_LIMIT", 3)
    qemu = make_faulty_qemu(bench.tools, "kernel alone")
    packed = initramfs(
        busybox_of(open_real_archive(store), store), ("sh", "mount"), {}, "", BUILDER
    )
    (tmp_path / "initrd").write_bytes(packed)
    (tmp_path / "order").write_bytes(bytes(512))
    machine = builder_vm.BuilderVm(bench.kernel, tmp_path / "initrd", tmp_path / "order", qemu)
    lines: list[bytes] = []
    notes: list[str] = []
    result = builder_vm.run_job(machine, tmp_path / "order", tmp_path, lines.append, notes.append)
    assert result.exists()
    assert b"builder: started\n" in lines
    assert qemu.starts == ["kvm trial", "kvm system", "tcg system"]
    assert "the builder said no word" in notes[0]
    assert choose_accelerator(None, qemu, TrialFirmware.BIOS, nested=False).name == "tcg"
    # the next one starts by emulation at once
    lines.clear()
    builder_vm.run_job(machine, tmp_path / "order", tmp_path, lines.append, notes.append)
    assert qemu.starts == ["tcg system"]
    assert len(notes) == 2


@pytest.mark.mirror
@pytest.mark.boot
def test_a_terminal_whose_machine_is_silent_under_kvm_is_given_an_emulated_one(
    bench: Bench, has_kvm: None, make_faulty_qemu: MakeFaultyQemu
) -> None:
    qemu = make_faulty_qemu(bench.tools, "trial alone")
    notes = Notes()
    user, lab = pty.openpty()
    output = bytearray()

    def person() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(user, 4096):
                output.extend(data)
                if b"Linux version" in output:
                    os.write(user, b"\x01x")

    thread = threading.Thread(target=person, daemon=True)
    thread.start()
    request = BootRequest(
        bench.kernel, (), initramfs=bench.initramfs, cmdline="console=ttyS0", network=Network.USER
    )
    boot_interactively(request, qemu, notes, input_fd=lab, output_fd=lab)
    os.close(lab)
    thread.join()
    os.close(user)
    assert qemu.starts == ["kvm trial", "kvm system", "tcg system"]
    assert [note for note in notes.notes if "by emulation" in note]
    assert choose_accelerator(None, qemu, TrialFirmware.BIOS).name == "tcg"
