"""Whether this machine's KVM runs systems: found out by running one, and remembered in the store."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.errors import ToolError
from minbuild.lab import trial
from minbuild.lab.accel import QEMU, VARIABLE, WORDS, data_words, wished
from minbuild.lab.machine import OVMF_VARS, application_words, pflash
from minbuild.lab.types import Accel, Choice, Firmware, Tools
from minbuild.records import Records
from minbuild.run import run, start, stop

if TYPE_CHECKING:
    from subprocess import Popen  # noqa: TID251  the type alone

DEVICE = Path("/dev/kvm")
MODULES = Path("/sys/module")
NESTED = ("kvm_intel", "kvm_amd")

SECONDS = 5
"""A guest that ends by itself needs a tenth of that, or half of it by UEFI; then one is emulated beside."""
LONGEST = 120
"""Seconds for the emulated one."""

KIND = "kvm/1"
"""This machine, a line, and how it was started → why KVM ran nothing, "" where it did; as JSON."""
SYSTEM = "system"
"""Of a real system, which the trial cannot stand for."""


class Way(StrEnum):
    """What a machine starts by; each is a trial of its own."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE = "secure"
    """UEFI with system management mode, for Secure Boot."""


def way_of(firmware: Firmware, *, secure: bool = False) -> Way:
    """The trial that stands for a firmware: without any, QEMU has a BIOS start the kernel."""
    if firmware in {Firmware.DIRECT, Firmware.BIOS}:
        return Way.BIOS
    return Way.SECURE if secure else Way.UEFI


def choose(wish: Accel | None, tools: Tools, way: Way, *, nested: bool = True) -> Choice:
    """Take KVM where it works and lets guests use it in turn (`nested`), emulation otherwise.

    Raises: ToolError when KVM was asked for and does not work; UsageError for a wrong MINBUILD_ACCEL.
    """
    wish = wished(wish)
    if wish is Accel.TCG:
        return Choice("tcg", "asked for")
    why = kvm_fault(tools, way, anew=wish is Accel.KVM)
    if wish is Accel.KVM:
        if why:
            raise ToolError(
                f"KVM does not work on this machine: {why}",
                fix=f"use --accel tcg or --accel auto, or unset {VARIABLE}",
            )
        return Choice("kvm", "asked for")
    if why or (nested and (why := nested_fault())):
        return Choice("tcg", why)
    return Choice("kvm", "/dev/kvm ran a guest")


def may_emulate(wish: Accel | None, accel: Choice) -> bool:
    """Whether a machine that KVM does not run is run once more by emulation."""
    return accel.name == "kvm" and wished(wish) is Accel.AUTO


def kvm_fault(tools: Tools, way: Way, *, anew: bool = False) -> str:
    """Say why this machine's KVM cannot run a guest; "" when it ran one.

    That /dev/kvm opens proves nothing: under some hypervisors no instruction of a guest ever runs,
    under others none of long mode. `anew`: whatever is remembered, it is tried.
    """
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return (
            "/dev/kvm may not be opened by this user" if DEVICE.exists() else "there is no /dev/kvm"
        )
    memory = Memory(tools)
    if not anew:
        if why := memory.fault(SYSTEM) or memory.fault(way):
            return f"{why}; KVM is tried again after: minbuild store forget-kvm"
        if memory.fault(way) is not None:
            return ""
    with tempfile.TemporaryDirectory(prefix="minbuild-", ignore_cleanup_errors=True) as work:
        why, slow = tried(tools, way, Path(work))
    if slow or not why:  # what fails at once may go by, and costs nothing to ask again
        memory.keep(way, why)
    return why


def nested_fault() -> str:
    """Say why a guest under KVM would have no KVM of its own; "" when it has."""
    for module in NESTED:
        setting = MODULES / module / "parameters" / "nested"
        try:
            text = setting.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return "" if text in {"Y", "1"} else f"{module} does not let guests run guests"
    return ""


class Memory:
    """What this machine's KVM did before: as this processor, kernel, its modules and this QEMU."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store
        self._machine = machine(tools)

    def fault(self, what: str) -> str | None:
        """Why KVM ran nothing the last time; "" when it did, None when it is not known."""
        kept = self._store.get(KIND, self._key(what))
        return None if kept is None else str(json.loads(kept))

    def keep(self, what: str, why: str) -> None:
        """Remember it."""
        self._store.put(KIND, {self._key(what): json.dumps(why).encode()})

    def _key(self, what: str) -> str:
        return f"{self._machine}\n{what}"


def forget(store: Records) -> tuple[str, ...]:
    """Forget all that is remembered; returns what KVM did not run, one sentence each."""
    known = store.get_all(KIND)
    store.remove(KIND, known)
    return tuple(why for kept in known.values() if (why := str(json.loads(kept))))


def machine(tools: Tools) -> str:
    """A line that names what KVM's work depends on."""
    words = [*tools.argv(QEMU), "--version"]
    said = run(words, what="asking for QEMU's version", env=tools.environment())
    qemu = said.decode("utf-8", "replace").partition("\n")[0]
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    rows = (line.partition(":") for line in text.splitlines())
    cpu = next((value.strip() for name, _, value in rows if name.strip() == "model name"), "")
    modules = sorted(path.name for path in MODULES.glob("kvm*"))
    return "; ".join((cpu, os.uname().release, " ".join(modules), qemu))


def tried(tools: Tools, way: Way, work: Path) -> tuple[str, bool]:
    """Why KVM does not run the guest of `trial`, "" when it does; whether that took a while.

    Where it does not end at once it has the time that the same guest needs by emulation, which
    tells a KVM that runs nothing from a machine that is busy.
    """
    with guest(tools, way, work, "kvm") as (process, said):
        code = waited(process, SECONDS)
        slow = code is None
        if slow:
            with guest(tools, way, work, "tcg") as (beside, _):
                waited(beside, LONGEST)
            code = waited(process, 1)
        if code == trial.ENDED:
            return "", slow
        first = said.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    complaint = first.rpartition(f"{QEMU}: ")[2].strip()
    stuck = "it did not come to its end in a time in which emulation does"
    ended = stuck if code is None else complaint or f"QEMU ended with {code}"
    return f"/dev/kvm ran no guest: {ended}", slow


@contextmanager
def guest(tools: Tools, way: Way, work: Path, name: str) -> "Iterator[tuple[Popen[bytes], Path]]":
    """Start the trial's guest; gives the process, and the file with what QEMU complains of."""
    place = work / name
    place.mkdir()
    words = [*tools.argv(QEMU), *arguments(tools, way, place, name), *data_words(tools)]
    said = place / "said"
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
        try:
            yield process, said
        finally:
            stop(process)


def arguments(tools: Tools, way: Way, work: Path, name: str, *, cpus: int = 2) -> list[str]:
    """QEMU's arguments for a machine that ends itself with exit code `trial.ENDED`."""
    words = ["-M", "q35", *WORDS[name], "-smp", str(cpus), "-m", "128", "-device", trial.DEVICE]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    program = work / "guest"
    if way is Way.BIOS:
        program.write_bytes(trial.by_bios())
        return [*words, "-kernel", str(program)]
    program.write_bytes(trial.by_uefi())
    variables = work / "vars.fd"
    variables.write_bytes(tools.path(OVMF_VARS).read_bytes())
    firmware = pflash(tools, variables, secure=way is Way.SECURE)
    return [*words, *firmware, *application_words(program, work)]


def waited(process: "Popen[bytes]", seconds: float) -> int | None:
    """The exit code of a process that ends within `seconds`; None when it does not."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    return process.poll()
