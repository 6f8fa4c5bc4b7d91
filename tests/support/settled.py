"""What runs the machines of a whole test run: found out once, for every test and what it starts."""

import functools
import os
import tempfile
from pathlib import Path

from minbuild.lab.accel import VARIABLE
from minbuild.lab.boot import boot
from minbuild.lab.guest import initramfs, ready
from minbuild.lab.kvm import Way, choose
from minbuild.lab.probes import make
from minbuild.lab.types import Accel, BootRequest, Network, Tools, Trouble
from minbuild.progress import Silent
from tests.unit.toolbox.real import toolbox


@functools.cache
def settled() -> None:
    """Find it out with the suite's own tools, once in each of its processes."""
    tools = toolbox(lab=True)
    settle(tools, Path(tools.argv("kernel")[-1]))


def settle(tools: Tools, kernel: Path) -> None:
    """Say by MINBUILD_ACCEL that machines are emulated, where KVM does not run a real kernel.

    Tests have stores of their own, and each of them would find it out again.
    """
    if VARIABLE in os.environ:
        return
    if choose(None, tools, Way.UEFI).name == "tcg" or not runs(tools, kernel):
        os.environ[VARIABLE] = Accel.TCG


def runs(tools: Tools, kernel: Path) -> bool:
    """Whether KVM runs a kernel and a program in it; the store of the tools remembers that it does not."""
    with tempfile.TemporaryDirectory() as work:
        packed = Path(work) / "initrd"
        packed.write_bytes(initramfs(2))
        up = make("program", ready(2), 120, "a kernel ran no program")
        wish = BootRequest(
            kernel, (up,), initramfs=packed, cmdline="console=ttyS0 panic=-1",
            network=Network.USER, trouble=Trouble(no_disk=True), memory=512,
        )  # fmt: skip
        return boot(wish, tools, Silent()).accel.name == "kvm"
