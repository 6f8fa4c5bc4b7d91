"""What runs the machines of a whole test run: found out once, for every test and what it starts."""

import functools
import os
import tempfile
from pathlib import Path

from minbuild.lab.accel import ACCEL_VARIABLE, TrialFirmware, choose_accelerator
from minbuild.lab.boot import boot_image
from minbuild.lab.guest_images import format_ready_line, make_guest_initramfs
from minbuild.lab.model import Accel, BootRequest, FaultInjection, Network, Tools
from minbuild.lab.probes import make_probe
from minbuild.progress import SilentProgress
from tests.unit.toolbox.real import toolbox


@functools.cache
def settle_accelerator() -> None:
    """Find it out with the suite's own tools, once in each of its processes."""
    tools = toolbox(lab=True)
    set_accelerator(tools, Path(tools.build_argv("kernel")[-1]))


def set_accelerator(tools: Tools, kernel: Path) -> None:
    """Say by MINBUILD_ACCEL that machines are emulated, where KVM does not run a real kernel.

    Tests have stores of their own, and each of them would find it out again.
    """
    if ACCEL_VARIABLE in os.environ:
        return
    if choose_accelerator(None, tools, TrialFirmware.UEFI).name == "tcg" or not can_run_kvm(
        tools, kernel
    ):
        os.environ[ACCEL_VARIABLE] = Accel.TCG


def can_run_kvm(tools: Tools, kernel: Path) -> bool:
    """Whether KVM runs a kernel and a program in it; the store of the tools remembers that it does not."""
    with tempfile.TemporaryDirectory() as work:
        packed = Path(work) / "initrd"
        packed.write_bytes(make_guest_initramfs(2))
        up = make_probe("program", format_ready_line(2), 120, "a kernel ran no program")
        request = BootRequest(
            kernel, (up,), initramfs=packed, cmdline="console=ttyS0 panic=-1",
            network=Network.USER, faults=FaultInjection(no_disk=True), memory=512,
        )  # fmt: skip
        return boot_image(request, tools, SilentProgress()).accel.name == "kvm"
