"""QEMU's words for KVM and for emulation, and which of them the user asked for."""

import os
import re

from minbuild.errors import UsageError
from minbuild.lab.types import Accel, Choice, Tools
from minbuild.paths import RootPath

WORDS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    # EPYC: AMD SVM is emulated, so the guest has a /dev/kvm; xsaves made kernels crash
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "EPYC,-xsaves"),
}
"""QEMU's arguments for each choice."""

CALM = "kvm.min_timer_period_us=100000"
"""For the kernel of an emulated host whose guest starts by UEFI.

OVMF writes the register CR8 at the end of every timer interrupt. QEMU, where it emulates SVM, aborts
when the next interrupt waits at that moment (helper_write_crN of 10 and 11): at OVMF's 100 ticks a
second one boot in five, and more on a busy machine. Ten leave time for each.
"""

QEMU = "qemu-system-x86_64"
QEMU_DATA = (RootPath("/usr/share/qemu"), RootPath("/usr/share/seabios"))

VARIABLE = "MINBUILD_ACCEL"
"""What is taken where no option says it: auto, kvm or tcg."""


def wished(given: Accel | None) -> Accel:
    """What was asked for: by an option, else by the environment, else `auto`.

    Raises: UsageError when the environment names none of the three.
    """
    text = os.environ.get(VARIABLE) or Accel.AUTO
    if given is not None:
        return given
    if text not in list(Accel):
        raise UsageError(
            f"{VARIABLE} is {text!r}, which is no way to run a machine",
            fix=f"set it to {', '.join(Accel)}, or unset it",
        )
    return Accel(text)


def fault(complaints: bytes) -> str:
    """What QEMU's emulation aborted with; "" when it did not."""
    found = re.search(rb"(?m)^ERROR:\S*accel/tcg/\S+ (assertion failed: .*)$", complaints)
    return found[1].decode("utf-8", "replace").strip() if found else ""


def settings(accel: Choice, *, uefi: bool) -> str:
    """What the host's kernel is told because it is emulated; "" for nothing."""
    return CALM if uefi and accel.name == "tcg" else ""


def data_words(tools: Tools) -> tuple[str, ...]:
    """Tell QEMU where its firmware lies: it would look beside its loader."""
    return tuple(word for place in QEMU_DATA for word in ("-L", str(tools.path(place))))
