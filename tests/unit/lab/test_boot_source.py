"""Kernel command line of a boot: the image's own and the lab's parameters."""

from pathlib import Path
from typing import cast

import pytest

from minbuild.errors import UsageError
from minbuild.lab.boot_source import prepare_boot_source
from minbuild.lab.model import BootRequest, Firmware, Tools
from tests.support.uki import uki


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
