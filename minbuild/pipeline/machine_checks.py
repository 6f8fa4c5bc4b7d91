"""Checks of what this machine can do for builds and boots, each by doing it."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from minbuild.archive import openpgp
from minbuild.archive.suite import open_suite
from minbuild.errors import MinbuildError
from minbuild.lab.accel import QEMU, TrialFirmware, find_kvm_fault, find_nesting_fault
from minbuild.lab.model import Network
from minbuild.lab.worker.client import choose_network
from minbuild.manifest.model import Archive
from minbuild.pipeline.lock_creation import lock_tools_only
from minbuild.pipeline.package_sources import locate_mirror
from minbuild.pipeline.session import BuildRequest, Session, detect_machine_arch
from minbuild.pipeline.tool_setup import open_toolbox
from minbuild.progress import SilentProgress
from minbuild.sandbox.runner import ConfinedProgram, run_confined
from minbuild.toolbox.toolbox import Toolbox

MIN_SPACE = 2 << 30
"""Bytes that a first build, its packages and its toolbox need at most, with room for another."""
STALE_AFTER = 21 * 86400
"""Seconds after which Debian's security archive has had an update, as far as anybody remembers."""


class CheckState(StrEnum):
    """How a check ended."""

    OK = "ok"
    LIMITED = "limited"
    """It works, slower or with less protection."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """One thing that was tried."""

    name: str
    state: CheckState
    finding: str
    fix: str = ""
    """What to do; "" where nothing is to be done."""


def check_machine(request: BuildRequest, session: Session) -> Iterator[MachineCheck]:
    """Try what builds and boots need, in their order.

    Brings the lab's tools into the store, as the first boot would.
    """
    yield _check_python()
    yield _check_architecture()
    yield from _check_store(session)
    yield _check_keys()
    yield from _check_mirror(request, session)
    session.progress.step("bringing QEMU")
    try:
        toolbox = open_toolbox(request, lock_tools_only(request, session), session, lab=True)
        version = toolbox.run(QEMU, ["--version"], purpose="asking for its version").decode()
    except MinbuildError as error:
        yield MachineCheck("qemu", CheckState.FAILED, error.what, error.fix)
        return
    yield MachineCheck("qemu", CheckState.OK, version.partition("\n")[0].partition(" (")[0])
    session.progress.step("trying namespaces")
    yield _check_sandbox(toolbox)
    yield _check_network(toolbox)
    session.progress.step("trying KVM")
    yield from _check_kvm(toolbox)


def _check_python() -> MachineCheck:
    version = f"Python {sys.version.partition(' ')[0]}"
    return MachineCheck("python", CheckState.OK, version)


def _check_architecture() -> MachineCheck:
    try:
        arch = detect_machine_arch()
    except MinbuildError as error:
        return MachineCheck("processor", CheckState.FAILED, error.what, error.fix)
    cores = len(os.sched_getaffinity(0))
    return MachineCheck("processor", CheckState.OK, f"{arch}, {cores} cores")


def _check_store(session: Session) -> Iterator[MachineCheck]:
    """The store can be written, has room, and programs in it can be started."""
    elsewhere = "use another directory: --store DIR, MINBUILD_STORE, or store in the config file"
    try:
        directory = session.store.directory
        system = os.statvfs(directory)
    except (MinbuildError, OSError) as error:
        fix = error.fix if isinstance(error, MinbuildError) else elsewhere
        yield MachineCheck("store", CheckState.FAILED, str(error), fix)
        return
    if system.f_flag & os.ST_NOEXEC:
        finding = f"{directory} is on a file system mounted noexec: tools cannot be started"
        yield MachineCheck("store", CheckState.FAILED, finding, elsewhere)
    else:
        yield MachineCheck("store", CheckState.OK, str(directory))
    for name, checked in (("space", directory), ("output", Path.cwd())):
        free = shutil.disk_usage(checked).free
        finding = f"{free / 1e9:.1f} GB free at {checked}"
        is_enough = free >= (MIN_SPACE if name == "space" else MIN_SPACE // 8)
        fix = "" if is_enough else "free some, or minbuild store gc"
        yield MachineCheck(name, CheckState.OK if is_enough else CheckState.FAILED, finding, fix)


def _check_keys() -> MachineCheck:
    """Some of Debian's keys that minbuild ships have not expired."""
    now = time.time()
    ends = openpgp.list_expirations("")
    valid = [end for end in ends if end > now]
    if not valid:
        finding = "each of Debian's archive keys that minbuild ships has expired"
        fix = "check this machine's clock (date), or install a newer minbuild"
        return MachineCheck("keys", CheckState.FAILED, finding, fix)
    last = max(valid)
    until = "for ever" if last == float("inf") else time.strftime("to %Y-%m-%d", time.gmtime(last))
    finding = f"{len(valid)} of Debian's {len(ends)} archive keys are valid, the last one {until}"
    return MachineCheck("keys", CheckState.OK, finding)


def _check_mirror(request: BuildRequest, session: Session) -> Iterator[MachineCheck]:
    """The mirror answers with suites that are signed, and the clock fits their dates."""
    archive = Archive()
    try:
        mirror = locate_mirror(request)
        session.progress.step(f"asking {mirror.debian}")
        dates = [
            open_suite(
                archive, name, mirror, session.store, offline=request.offline,
                progress=SilentProgress(), fresh=True,
            ).release.date
            for name in archive.suites
        ]  # fmt: skip
    except MinbuildError as error:
        yield MachineCheck("mirror", CheckState.FAILED, error.what, error.fix)
        return
    name = f"{mirror.debian} ({mirror.configured_by})"
    yield MachineCheck("mirror", CheckState.OK, name)
    age = time.time() - max(dates)
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    finding = f"{now}; the newest Release file is {max(0, age) / 86400:.0f} days old"
    if age > STALE_AFTER:
        fix = "set this machine's clock, or use a mirror that is kept up to date"
        yield MachineCheck("clock", CheckState.LIMITED, finding, fix)
    else:
        yield MachineCheck("clock", CheckState.OK, finding)


def _check_sandbox(toolbox: Toolbox) -> MachineCheck:
    """Foreign files can be read in a sandbox."""
    notes: list[str] = []
    program = ConfinedProgram(
        [*toolbox.build_argv("mke2fs"), "-V"], [toolbox.root], toolbox.build_environment()
    )
    try:
        run_confined(program, purpose="trying the sandbox", note=notes.append)
    except MinbuildError as error:
        return MachineCheck("sandbox", CheckState.FAILED, error.what, error.fix)
    if notes:
        return MachineCheck("sandbox", CheckState.LIMITED, notes[0], suggest_namespaces())
    return MachineCheck("sandbox", CheckState.OK, "foreign files are read in user namespaces")


def _check_network(toolbox: Toolbox) -> MachineCheck:
    """The lab can have a network of its own."""
    decision = choose_network(Network.AUTO, toolbox)
    if decision.name == Network.NAMESPACE:
        return MachineCheck("namespaces", CheckState.OK, "boots have a network of their own")
    finding = f"{decision.reason}; boots use QEMU's user network, without leases of dnsmasq"
    return MachineCheck("namespaces", CheckState.LIMITED, finding, suggest_namespaces())


_SWITCHES = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
)
"""Settings that keep users from namespaces: name, value that does, value that does not.

Source: Linux, Documentation/admin-guide/sysctl/user.rst; Debian's and Ubuntu's kernels.
"""


def suggest_namespaces(read: "Callable[[str], str] | None" = None) -> str:
    """Say which setting of this machine keeps users from namespaces."""
    for name, closed, opened in _SWITCHES:
        if (read or _read_sysctl)(name) == closed:
            return f"allow user namespaces: sysctl -w {name}={opened} (as root)"
    return (
        "allow user namespaces; in a container: --security-opt seccomp=unconfined, or --privileged"
    )


def _read_sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _check_kvm(toolbox: Toolbox) -> Iterator[MachineCheck]:
    """KVM runs a guest, and guests in it have KVM of their own."""
    fault = find_kvm_fault(toolbox, TrialFirmware.BIOS)
    if fault:
        fix = "boots are emulated, some ten times slower; to try again: minbuild store forget-kvm"
        if "may not open" in fault:
            fix = "add this user to the group kvm: adduser USER kvm, then log in again"
        elif "there is no" in fault:
            fix = "boots are emulated; for KVM: turn on virtualization in the firmware, load kvm_intel or kvm_amd"
        yield MachineCheck("kvm", CheckState.LIMITED, fault, fix)
        return
    yield MachineCheck("kvm", CheckState.OK, "/dev/kvm ran a guest")
    if fault := find_nesting_fault():
        fix = "load it again with nested=1: modprobe -r kvm_intel && modprobe kvm_intel nested=1"
        yield MachineCheck("nested", CheckState.LIMITED, fault, fix)
    else:
        yield MachineCheck("nested", CheckState.OK, "guests of a guest have KVM, too")
