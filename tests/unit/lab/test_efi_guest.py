"""What the lab's UEFI guest starts from: read by the reference tools, and started by OVMF."""

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from minbuild.lab.accel import choose_emulation_parameters, find_tcg_abort
from minbuild.lab.guest_images import EFI_READY, make_efi_disk, make_efi_program
from minbuild.lab.model import Decision
from minbuild.paths import RootPath
from tests.unit.toolbox.real import toolbox


def test_only_an_emulated_host_with_a_uefi_guest_is_told_more() -> None:
    assert choose_emulation_parameters(Decision("tcg", ""), uefi=True).startswith("kvm.")
    assert (
        choose_emulation_parameters(Decision("tcg", ""), uefi=False)
        == choose_emulation_parameters(Decision("kvm", ""), uefi=True)
        == ""
    )


def test_only_the_emulation_s_own_failure_is_worth_another_boot() -> None:
    said = (
        b"qemu: warning: TCG doesn't support requested feature\n**\n"
        b"ERROR:accel/tcg/tcg-accel-ops.c:95:tcg_handle_interrupt: assertion failed: (bql_locked())\n"
        b"Bail out! ERROR:accel/tcg/tcg-accel-ops.c:95:tcg_handle_interrupt: assertion failed: (bql_locked())\n"
    )
    assert find_tcg_abort(said) == "assertion failed: (bql_locked())"
    assert find_tcg_abort(b"qemu-system-x86_64: -drive file=x: Could not open 'x'\n") == ""


@pytest.mark.mirror
@pytest.mark.boot
def test_a_uefi_starts_the_program_of_that_disk(tmp_path: Path) -> None:
    box = toolbox(lab=True)
    make_efi_disk(tmp_path / "disk", make_efi_program(EFI_READY), tmp_path, box)
    shutil.copyfile(box.find_path(RootPath("/usr/share/OVMF/OVMF_VARS_4M.fd")), tmp_path / "vars")
    code = box.find_path(RootPath("/usr/share/OVMF/OVMF_CODE_4M.fd"))
    words = [
        *box.build_argv("qemu-system-x86_64"),
        "-M",
        "q35,accel=tcg",
        "-m",
        "128",
        "-nodefaults",
    ]
    words += ["-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]
    words += ["-L", str(box.find_path(RootPath("/usr/share/qemu")))]
    words += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
    words += ["-drive", f"if=pflash,format=raw,file={tmp_path / 'vars'}"]
    words += ["-drive", f"if=virtio,format=raw,file={tmp_path / 'disk'}"]
    with subprocess.Popen(
        words,
        env=box.build_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as machine:
        assert machine.stdout is not None
        end = threading.Timer(300, machine.kill)
        end.start()
        try:
            assert any(EFI_READY.encode() in line for line in machine.stdout)
        finally:
            end.cancel()
            machine.kill()
