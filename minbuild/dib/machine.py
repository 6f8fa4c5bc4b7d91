"""The builder machine: how it is started, and what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minbuild.lab.accel import QEMU, WORDS, data_words, kvm_fault
from minbuild.lab.media import comma
from minbuild.lab.session import mortal
from minbuild.lab.types import Network, Tools
from minbuild.run import start, stop

MEMORY = 2048
"""MiB."""
DISK = 64 << 30
"""Bytes of the disks that the machine works on and writes to; they have holes."""
CMDLINE = "console=ttyS0 quiet loglevel=4 rdinit=/init panic=-1"


@dataclass(frozen=True, slots=True)
class Machine:
    """A builder, made and ready to be started."""

    kernel: Path
    initrd: Path
    python: Path
    """dib and its bytecode, a tar."""
    tools: Tools


def run(machine: Machine, order: Path, work: Path, heard: Callable[[bytes], None]) -> Path:
    """Run an order in the machine to its end; returns the disk with its result.

    `heard` is given every line of the console, and QEMU's own.
    Raises: ToolError when QEMU cannot be started.
    """
    import subprocess  # noqa: TID251  STDOUT alone: the process is started by the one door

    scratch, result = work / "scratch.disk", work / "result.disk"
    for disk in (scratch, result):
        with disk.open("wb") as file:
            file.truncate(DISK)
    words = [*machine.tools.argv(QEMU), *arguments(machine, work)]
    words += _disk(order, written=False) + _disk(scratch, written=True)
    words += _disk(result, written=True) + _disk(machine.python, written=False)
    with start(mortal(tuple(words), Network.USER), what="running the builder machine",
               env=machine.tools.environment(), stderr=subprocess.STDOUT) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                heard(line.replace(b"\r", b""))
            process.wait()
        finally:
            stop(process)
    scratch.unlink()
    return result


def arguments(machine: Machine, work: Path) -> tuple[str, ...]:
    """QEMU's arguments for the machine without its disks; KVM where it works."""
    accel = "tcg" if kvm_fault(machine.tools, work) else "kvm"
    return (
        *("-M", "q35", *WORDS[accel], "-smp", "2", "-m", str(MEMORY)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *data_words(machine.tools),
        *("-kernel", str(machine.kernel), "-initrd", str(machine.initrd), "-append", CMDLINE),
        *("-chardev", "stdio,id=c,signal=off", "-serial", "chardev:c"),
    )


def _disk(path: Path, *, written: bool) -> tuple[str, ...]:
    """A disk in the order of its letter. A full disk here is an error there, not a halt."""
    how = "cache=unsafe,discard=unmap" if written else "readonly=on"
    drive = f"if=virtio,format=raw,file={comma(path)},werror=report,rerror=report,{how}"
    return ("-drive", drive)
