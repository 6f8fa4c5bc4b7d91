"""Kernel command line of a boot: the image's own and the lab's parameters."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from minbuild.errors import ToolError, UsageError
from minbuild.formats.xen_image import join_xen_image, render_config, strip_xen
from minbuild.lab.accel import ACCEL_ARGS, XEN_TCG_ARGS, XEN_TCG_CPU, build_accel_args
from minbuild.lab.boot_source import prepare_boot_source
from minbuild.lab.model import BootRequest, Firmware, Tools
from minbuild.lab.qemu import DEFAULT_CPUS, choose_cpus
from tests.support.uki import uki
from tests.support.xen import xen_efi


def build_kernel_args(tmp_path: Path, own: str, **more: object) -> list[str]:
    """Build QEMU's arguments for a direct boot, which needs no tool of the lab."""
    image = tmp_path / "host.efi"
    image.write_bytes(uki({".linux": b"kernel", ".initrd": b"initramfs", ".cmdline": own.encode()}))
    request = BootRequest(image=image, probes=(), firmware=Firmware.DIRECT, **more)  # type: ignore[arg-type]
    return list(prepare_boot_source(request, cast("Tools", None), tmp_path, "clock=x").args)


def test_the_labs_words_come_last_and_before_those_for_init(tmp_path: Path) -> None:
    own = 'quiet dyndbg="file a +p" -- single'
    words = build_kernel_args(tmp_path, own, cmdline='loglevel=3 a="b c"')
    assert words[-1] == 'quiet dyndbg="file a +p" loglevel=3 a="b c" clock=x -- single'


def test_a_line_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    assert len(build_kernel_args(tmp_path, "a" * (2047 - len(" clock=x")))[-1]) == 2047
    with pytest.raises(
        UsageError, match=r"is 2,040 bytes and the lab adds 8; the kernel reads at most 2,047"
    ):
        build_kernel_args(tmp_path, "a" * 2040)
    with pytest.raises(UsageError, match="the lab adds"):
        build_kernel_args(tmp_path, "a" * 1950, ports=True)


def write_xen(path: Path) -> Path:
    config = render_config("console=com1", "console=hvc0")
    xen = strip_xen(xen_efi(), "xen")
    path.write_bytes(join_xen_image(xen, config, b"kernel", b"initramfs", "xen"))
    return path


def test_xen_gets_one_processor_and_no_words_that_trace(tmp_path: Path) -> None:
    """A disk starts what the EFI file beside it does."""
    (tmp_path / "host.raw").write_bytes(b"boot code".ljust(4096))
    request = BootRequest(tmp_path / "host.raw", (), firmware=Firmware.BIOS, ports=True)
    uki_of_linux = uki({".linux": b"kernel", ".initrd": b"initramfs"})
    (tmp_path / "host.efi").write_bytes(uki_of_linux)
    linux = prepare_boot_source(request, cast("Tools", None), tmp_path)
    assert (linux.xen, choose_cpus(request, linux)) == (False, DEFAULT_CPUS)
    write_xen(tmp_path / "host.efi")
    xen = prepare_boot_source(request, cast("Tools", None), tmp_path)
    assert (xen.xen, choose_cpus(request, xen)) == (True, 1)
    assert choose_cpus(replace(request, cpus=4), xen) == 4
    assert xen.kernel is not None
    assert xen.kernel.read_bytes() == b"kernel"


def test_a_damaged_image_is_an_error_before_the_machine_starts(tmp_path: Path) -> None:
    (tmp_path / "host.raw").write_bytes(b"boot code".ljust(4096))
    whole = write_xen(tmp_path / "xen.efi").read_bytes()
    (tmp_path / "host.efi").write_bytes(whole[:-1])
    request = BootRequest(tmp_path / "host.raw", (), firmware=Firmware.BIOS)
    with pytest.raises(ToolError, match="cut short"):
        prepare_boot_source(request, cast("Tools", None), tmp_path)


def test_xen_is_emulated_on_a_processor_that_it_accepts() -> None:
    assert build_accel_args("tcg", xen=True) == XEN_TCG_ARGS
    assert XEN_TCG_ARGS[-1] == XEN_TCG_CPU
    assert build_accel_args("tcg", xen=False) == ACCEL_ARGS["tcg"]
    assert build_accel_args("kvm", xen=True) == ACCEL_ARGS["kvm"]


@pytest.mark.parametrize(
    "change", [{"firmware": Firmware.DIRECT}, {"trace": True}, {"cmdline": "quiet"}]
)
def test_what_would_change_domain_0_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    request = BootRequest(image=write_xen(tmp_path / "xen.efi"), probes=(), **change)
    with pytest.raises(UsageError, match="the image starts Xen"):
        prepare_boot_source(request, cast("Tools", None), tmp_path)
