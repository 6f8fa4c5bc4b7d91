"""The builder machine: how it is started, and what it says."""

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minbuild.lab.accel import QEMU, WORDS, data_words
from minbuild.lab.granted import Granted
from minbuild.lab.kvm import SYSTEM, Memory, Way, choose, may_emulate
from minbuild.lab.media import comma
from minbuild.lab.session import mortal
from minbuild.lab.types import Network, Tools
from minbuild.lab.voice import broken
from minbuild.run import start, stop

MEMORY = 2048
"""MiB."""
DISK = 64 << 30
"""Bytes of the disks that the machine works on and writes to; they have holes."""
QUIET = 120
"""Seconds in which the builder would have spoken under emulation: several times what it needs on an idle machine."""
OURS = b"builder: "
TICK = 1.0
CHUNK = 65536
CMDLINE = "console=ttyS0 quiet loglevel=4 rdinit=/init panic=-1"


@dataclass(frozen=True, slots=True)
class Machine:
    """A builder, made and ready to be started."""

    kernel: Path
    initrd: Path
    python: Path
    """dib and its bytecode, a tar."""
    tools: Tools


def run(
    machine: Machine,
    order: Path,
    work: Path,
    heard: Callable[[bytes], None],
    note: Callable[[str], None],
) -> Path:
    """Run an order in the machine to its end; returns the disk with its result.

    `heard` is given every line of the console, and QEMU's own; `note` what the user shall know.
    Where KVM ran nothing, it is done once more by emulation.
    Raises: ToolError when QEMU cannot be started.
    """
    accel = choose(None, machine.tools, Way.BIOS, nested=False)
    suspect = may_emulate(None, accel)
    why = _run(machine, order, work, heard, accel.name, suspect=suspect)
    if why and suspect:
        note(f"under KVM {why}: the builder machine starts once more, by emulation")
        if not _run(machine, order, work, heard, "tcg", suspect=False):
            Memory(machine.tools).keep(SYSTEM, f"under KVM {why}, and by emulation it went on")
            note("KVM is left alone on this machine from now on: minbuild store forget-kvm")
    return work / "result.disk"


def _run(
    machine: Machine,
    order: Path,
    work: Path,
    heard: Callable[[bytes], None],
    accel: str,
    *,
    suspect: bool,
) -> str:
    """Run it once; returns how it showed that it ran nothing, "" when the builder spoke."""
    import subprocess  # noqa: TID251  STDOUT alone: the process is started by the one door

    scratch, result = work / "scratch.disk", work / "result.disk"
    for disk in (scratch, result):
        disk.unlink(missing_ok=True)
        with disk.open("wb") as file:
            file.truncate(DISK)
    words = [*machine.tools.argv(QEMU), *arguments(machine, accel)]
    words += _disk(order, written=False) + _disk(scratch, written=True)
    words += _disk(result, written=True) + _disk(machine.python, written=False)
    with start(mortal(tuple(words), Network.USER), what="running the builder machine",
               env=machine.tools.environment(), stderr=subprocess.STDOUT) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            why = listen(process.stdout.fileno(), heard, Granted(process.pid), suspect=suspect)
        finally:
            stop(process)
    scratch.unlink()
    return why


def listen(console: int, heard: Callable[[bytes], None], granted: Granted, *, suspect: bool) -> str:
    """Give every line until the console ends, or shows that nothing runs; returns why it does.

    `suspect`: what runs the machine may run nothing, and silence is a sign of that. The kernel is
    told to be quiet: only the builder's own word counts.
    """
    began, rest, spoke = time.monotonic(), b"", False
    while True:
        if select.select([console], [], [], TICK)[0]:
            data = os.read(console, CHUNK)
            *lines, rest = (rest + data).split(b"\n")
            if not data:
                lines, rest = ([rest] if rest else []), b""
            for line in lines:
                heard(line.replace(b"\r", b"") + b"\n")
                spoke = spoke or line.startswith(OURS)
                if suspect and not spoke and (why := broken(line)):
                    return why
            if not data:
                return "" if spoke else "it ended before the builder said a word"
        silent = granted.of(time.monotonic() - began)
        if suspect and not spoke and silent >= QUIET:
            return f"the builder said no word for {silent:.0f} s"


def arguments(machine: Machine, accel: str) -> tuple[str, ...]:
    """QEMU's arguments for the machine without its disks."""
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
