"""The attack surface of a host, from what its files are and say.

Source: capabilities(7), passwd(5), shadow(5), systemd.socket(5), sshd_config(5), inetd(8);
kernel options: Kernel Self Protection Project, "Recommended Settings".
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from minbuild.facts.traits import DATA, Traits
from minbuild.footprint import hardening, listening
from minbuild.footprint.types import FileRow, Finding, FindingKind, Surface
from minbuild.manifest.cmdline import split

HARDENING = (
    "BUG_ON_DATA_CORRUPTION", "DEBUG_LIST", "FORTIFY_SOURCE", "HARDENED_USERCOPY",
    "INIT_ON_ALLOC_DEFAULT_ON", "INIT_STACK_ALL_ZERO", "MODULE_SIG", "MODULE_SIG_FORCE",
    "RANDOMIZE_BASE", "RANDOMIZE_KSTACK_OFFSET_DEFAULT", "RANDOMIZE_MEMORY", "SCHED_STACK_END_CHECK",
    "SECCOMP", "SECURITY_DMESG_RESTRICT", "SECURITY_LOCKDOWN_LSM", "SHUFFLE_PAGE_ALLOCATOR",
    "SLAB_FREELIST_HARDENED", "SLAB_FREELIST_RANDOM", "STACKPROTECTOR_STRONG", "STRICT_KERNEL_RWX",
    "STRICT_MODULE_RWX", "VMAP_STACK", "ZERO_CALL_USED_REGS",
)  # fmt: skip
"""Kernel options whose absence is a finding."""
WEAKENS = {
    "mitigations=off",
    "nokaslr",
    "nopti",
    "nosmap",
    "nosmep",
    "init_on_alloc=0",
    "selinux=0",
}
"""Words of a command line that switch a protection off."""
INTERPRETERS = re.compile(
    r"/(?:(?:ba|da|z|k|mk|a|tc|c|fi)?sh|python[0-9.]*|perl[0-9.]*|ruby[0-9.]*|lua[0-9.]*|node|"
    r"php[0-9.]*|[mg]?awk|tclsh[0-9.]*|guile[0-9.]*|gdb|java|busybox)"
)
HARMLESS = frozenset({"c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:2"})
"""Devices that all may write everywhere: null, zero, full, random, urandom, tty, ptmx."""
NO_LOGIN = ("/nologin", "/false", "/sync", "/shutdown", "/halt")
PASSWD, SHADOW = "/etc/passwd", "/etc/shadow"
MODULE = re.compile(r"(?:/usr)?/lib/modules/[^/]+/(?:.*/)?([^/]+)\.ko(?:\.xz|\.zst|\.gz)?")
LARGEST_TEXT = 1 << 16
"""Bytes of the largest configuration file that is read."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a host beside the rows of its files."""

    traits: Mapping[str, Traits]
    """By path, for every regular file that was looked into."""
    texts: Mapping[str, str]
    """By path: files for which `wanted` is true."""
    cmdline: str | None = None
    """None: not known."""
    kconfig: Mapping[str, str] | None = None
    """The kernel's options without CONFIG_; None: not known."""
    starts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name or path of a program → the places in scripts that start it; what is not known is not here."""
    capabilities: Mapping[str, str] | None = None
    """Path → file capabilities; None: the source cannot say."""


def wanted(path: str, size: int) -> bool:
    """Whether a file's text is needed to judge the surface."""
    return size <= LARGEST_TEXT and (
        path in {PASSWD, SHADOW}
        or listening.wanted(path)
        or hardening.PLACES.fullmatch(path) is not None
    )


def surface(files: Sequence[FileRow], evidence: Evidence) -> Surface:
    """Find all that an attacker could use."""
    found: set[Finding] = set()
    for row in files:
        found.update(_modes(row))
        found.update(_content(row, evidence.traits.get(row.path, DATA)))
    found.update(_interpreters(files))
    found.update(_may_listen(files, evidence))
    found.update(_logins(evidence.texts))
    found.update(
        Finding(FindingKind.LISTENER, port, f"configured: {why}")
        for port, why in listening.listeners(files, evidence.texts)
    )
    unknown = []
    if evidence.capabilities is None:
        unknown.append(FindingKind.CAPABILITY)
    for path, text in (evidence.capabilities or {}).items():
        found.add(Finding(FindingKind.CAPABILITY, path, text))
    if evidence.cmdline is None:
        unknown.append(FindingKind.CMDLINE)
    found.update(_cmdline(evidence.cmdline or ""))
    if evidence.kconfig is None:
        unknown += [FindingKind.KERNEL_LACKS, FindingKind.HARDENING]
    else:
        found.update(_kernel(evidence.kconfig))
        found.update(
            _hardening(evidence, {one.subject for one in found if one.kind is FindingKind.MODULE})
        )
    return Surface(tuple(sorted(found)), tuple(sorted(unknown)))


def _modes(row: FileRow) -> Iterator[Finding]:
    if row.type == "file" and row.mode & 0o4000 and row.mode & 0o111:
        yield Finding(FindingKind.SETUID, row.path, f"mode {row.mode:04o}, owner {row.uid}")
    if row.type == "file" and row.mode & 0o2000 and row.mode & 0o111:
        yield Finding(FindingKind.SETGID, row.path, f"mode {row.mode:04o}, group {row.gid}")
    sticky = row.type == "directory" and row.mode & 0o1000
    if row.type in {"file", "directory"} and row.mode & 0o002 and not sticky:
        yield Finding(FindingKind.WORLD_WRITABLE, row.path, f"{row.type}, mode {row.mode:04o}")
    if row.type == "other" and row.mode & 0o002 and row.target not in HARMLESS:
        kind = f"device {row.target}" if row.target else "socket, FIFO or device"
        yield Finding(FindingKind.WORLD_WRITABLE, row.path, f"{kind}, mode {row.mode:04o}")
    module = MODULE.fullmatch(row.path)
    if module is not None and row.type != "directory":
        yield Finding(FindingKind.MODULE, module[1].replace("-", "_"), row.path)


def _content(row: FileRow, traits: Traits) -> Iterator[Finding]:
    if row.type != "file" or traits.sort == "data":
        return
    if row.mode & 0o111:
        yield Finding(FindingKind.EXECUTABLE, row.path, traits.sort)
    for name in traits.lacks:
        yield Finding(FindingKind(f"no-{name}"), row.path, "")
    if traits.exports:
        yield Finding(FindingKind.EXPORTS, row.path, str(traits.exports))


def _may_listen(files: Sequence[FileRow], evidence: Evidence) -> Iterator[Finding]:
    """Programs and libraries that can be servers, and what is known to start them."""
    for row in files:
        name = row.path.rpartition("/")[2]
        how = ""
        if row.type == "file":
            by = evidence.traits.get(row.path, DATA).listens
            how = (
                "linked statically: what it calls is not known"
                if by == "static"
                else by and f"calls {by}"
            )
        elif row.type == "link" and "bin/" in row.path and name in listening.APPLETS:
            how = "an applet of BusyBox" if row.target.rpartition("/")[2] == "busybox" else ""
        if how:
            places = (*evidence.starts.get(row.path, ()), *evidence.starts.get(name, ()))
            more = f"; started by {', '.join(sorted(places))}" if places else ""
            yield Finding(FindingKind.MAY_LISTEN, row.path, how + more)


def _interpreters(files: Sequence[FileRow]) -> Iterator[Finding]:
    """Programs that run what they are given, known by their names."""
    for row in files:
        name = row.path[row.path.rfind("/") :]
        if row.type in {"file", "link"} and "bin/" in row.path and INTERPRETERS.fullmatch(name):
            detail = f"-> {row.target}" if row.type == "link" else "by its name"
            yield Finding(FindingKind.INTERPRETER, row.path, detail)


def _logins(texts: Mapping[str, str]) -> Iterator[Finding]:
    """Users with a shell, and what keeps them out."""
    locked = {
        fields[0]: fields[1] for line in texts.get(SHADOW, "").splitlines()
        if len(fields := line.split(":")) > 1
    }  # fmt: skip
    for line in texts.get(PASSWD, "").splitlines():
        fields = line.split(":")
        if len(fields) != 7 or fields[6].endswith(NO_LOGIN):
            continue
        word = locked.get(fields[0], "*" if fields[1] == "x" else fields[1])
        if word == "":
            yield Finding(FindingKind.LOGIN, fields[0], f"no password, {fields[6]}")
        elif word[0] not in "!*":
            yield Finding(FindingKind.LOGIN, fields[0], f"a password, {fields[6]}")


def _cmdline(text: str) -> Iterable[Finding]:
    for word in split(text):
        weak = "switches a protection off" if word in WEAKENS else ""
        yield Finding(FindingKind.CMDLINE, word, weak)


def _kernel(options: Mapping[str, str]) -> Iterable[Finding]:
    for name in HARDENING:
        if options.get(name, "n") == "n":
            yield Finding(FindingKind.KERNEL_LACKS, name, "not set")


def _hardening(evidence: Evidence, modules: Collection[str]) -> Iterable[Finding]:
    texts, options = evidence.texts, evidence.kconfig or {}
    for name, detail in hardening.lacks(options, evidence.cmdline or "", texts, modules):
        yield Finding(FindingKind.HARDENING, name, detail)
