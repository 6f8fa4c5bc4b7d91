"""Whether this machine's KVM really runs a guest, found out by running one."""

import os
import re
import time
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab.types import Accel, Choice, Tools
from minbuild.paths import RootPath
from minbuild.run import start, stop

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
SECONDS = 5
"""A guest of six bytes that needs longer does not run."""

ENDED = 33
"""QEMU's exit code when the firmware below wrote 0x10: (0x10 << 1) | 1."""

QEMU_DATA = (RootPath("/usr/share/qemu"), RootPath("/usr/share/seabios"))

NESTED = ("kvm_intel", "kvm_amd")


def choose(wish: Accel, tools: Tools, work: Path) -> Choice:
    """Take KVM where it works and lets guests use it in turn, emulation otherwise.

    Raises: ToolError when KVM was asked for and does not work.
    """
    if wish is Accel.TCG:
        return Choice("tcg", "asked for")
    why = kvm_fault(tools, work)
    if wish is Accel.KVM:
        if why:
            raise ToolError(
                f"KVM does not work on this machine: {why}", fix="use --accel tcg or --accel auto"
            )
        return Choice("kvm", "asked for")
    if why or (why := nested_fault()):
        return Choice("tcg", why)
    return Choice("kvm", "/dev/kvm ran a guest")


def fault(complaints: bytes) -> str:
    """What QEMU's emulation aborted with; "" when it did not."""
    found = re.search(rb"(?m)^ERROR:\S*accel/tcg/\S+ (assertion failed: .*)$", complaints)
    return found[1].decode("utf-8", "replace").strip() if found else ""


def settings(accel: Choice, *, uefi: bool) -> str:
    """What the host's kernel is told because it is emulated; "" for nothing."""
    return CALM if uefi and accel.name == "tcg" else ""


def kvm_fault(tools: Tools, work: Path) -> str:
    """Say why this machine's KVM cannot run a guest; "" when it ran one.

    That /dev/kvm opens proves nothing (under some hypervisors no instruction of a guest ever
    runs), so a guest is started whose firmware switches it off by itself.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        there = Path("/dev/kvm").exists()
        return "/dev/kvm may not be opened by this user" if there else "there is no /dev/kvm"
    firmware = work / "kvm-test.rom"
    firmware.write_bytes(rom())
    words = [*tools.argv(QEMU), *arguments(firmware, "kvm"), *data_words(tools)]
    said = work / "kvm-test.log"
    with (
        said.open("wb") as log,
        start(
            words,
            what="trying KVM",
            env=tools.environment(),
            stdout=log.fileno(),
            stderr=log.fileno(),
        ) as process,
    ):
        end = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        code = process.poll()
        stop(process)
    if code == ENDED:
        return ""
    said_first = said.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    complaint = said_first.rpartition(f"{QEMU}: ")[2].strip()
    ended = f"nothing within {SECONDS} s" if code is None else f"QEMU ended with {code}"
    return f"/dev/kvm ran no guest: {complaint or ended}"


def nested_fault() -> str:
    """Say why a guest under KVM would have no KVM of its own; "" when it has."""
    for module in NESTED:
        setting = Path(f"/sys/module/{module}/parameters/nested")
        try:
            text = setting.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return "" if text in {"Y", "1"} else f"{module} does not let guests run guests"
    return ""


def data_words(tools: Tools) -> tuple[str, ...]:
    """Tell QEMU where its firmware lies: it would look beside its loader."""
    return tuple(word for place in QEMU_DATA for word in ("-L", str(tools.path(place))))


def rom() -> bytes:
    """Firmware of 64 KiB whose first instructions write 0x10 to port 0xf4.

    Source: Intel SDM volume 3, 10.1.4 "First Instruction Executed": F000:FFF0.
    """
    code = bytes.fromhex("baf400 b010 ee f4")  # mov dx,0xf4; mov al,0x10; out dx,al; hlt
    return (b"\xf4" * 0xFFF0 + code).ljust(0x10000, b"\xf4")


def arguments(firmware: Path, name: str) -> list[str]:
    """QEMU's arguments for a machine that ends itself with exit code `ENDED`."""
    return [
        *("-M", "pc", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-bios", str(firmware), "-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
        *WORDS[name],
    ]
