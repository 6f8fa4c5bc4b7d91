"""How far a machine came by what it says, and how long it may be silent until KVM is to blame."""

import re

from minbuild.lab.types import Firmware, Stage

KERNEL = re.compile(r"^\[ *\d+\.\d+\] |^Linux version |^\(XEN\) ")
"""What no firmware and no boot loader says, and every kernel with a console."""
SYSTEM = re.compile(r"^minbuild: |^builder: |\blogin: *$|^\[ {1,2}OK {1,2}\] |^Welcome to (?!GRUB)")

QUIET = {
    Firmware.DIRECT: 30,
    Firmware.BIOS: 45,
    Firmware.UEFI: 60,
    Firmware.PXE: 150,
    Firmware.HTTP: 150,
}
"""Seconds in which a kernel would have spoken under emulation: several times what it needs on an idle machine."""
KERNEL_QUIET = 30
"""Seconds that no kernel is silent before its first process, under emulation either."""
BROKEN = re.compile(
    r"KVM internal error.*|error: kvm run failed.*|KVM: entry failed.*|kvm_buf_set_msrs.*"
)
"""What QEMU complains of when KVM gave a machine up: some of these leave it there, stopped."""


class Voice:
    """Follows the console of a machine: its stage, and since when it has been silent.

    All seconds are those that the machine had since power-on, see `granted`.
    """

    def __init__(self) -> None:
        self.stage = Stage.FIRMWARE
        self._last = 0.0

    def heard(self, text: str, seconds: float) -> None:
        """Take a line of the console."""
        if SYSTEM.search(text):
            self.stage = Stage.SYSTEM
        elif self.stage is Stage.FIRMWARE and KERNEL.search(text):
            self.stage = Stage.KERNEL
        if self.stage is not Stage.FIRMWARE:
            self._last = seconds

    def proved(self) -> None:
        """A probe was met: the system runs, whatever it says."""
        self.stage = Stage.SYSTEM

    def stalled(self, seconds: float, firmware: Firmware) -> str:
        """Say how a machine shows that it runs nothing; "" if it may."""
        silent = seconds - self._last
        match self.stage:
            case Stage.FIRMWARE if silent >= QUIET[firmware]:
                return f"no kernel said a word for {silent:.0f} s"
            case Stage.KERNEL if silent >= KERNEL_QUIET:
                return f"the kernel began and was then silent for {silent:.0f} s"
            case _:
                return ""

    def silent(self) -> str:
        """Say of a machine whose time is over what that shows; "" when its system ran."""
        return self.gone().replace("it ended before", "the time was over before")

    def gone(self) -> str:
        """Say of a machine that ended by itself what that shows; "" when its system ran."""
        match self.stage:
            case Stage.FIRMWARE:
                return "it ended before any kernel said a word"
            case Stage.KERNEL:
                return "it ended before the kernel's first process said a word"
            case Stage.SYSTEM:
                return ""


def broken(complaints: bytes) -> str:
    """What QEMU said when KVM gave the machine up; "" when it did not."""
    found = BROKEN.search(complaints.decode("utf-8", "replace"))
    return found[0].strip() if found else ""
