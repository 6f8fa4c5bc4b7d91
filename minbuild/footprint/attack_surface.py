"""Attack surface of a host, from its files and their contents.

Source: capabilities(7), passwd(5), shadow(5), systemd.socket(5), sshd_config(5), inetd(8);
kernel options: Kernel Self Protection Project, "Recommended Settings".
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from minbuild.facts.file_hardening import DATA, Hardening
from minbuild.footprint import hardening, open_ports
from minbuild.footprint.model import FileRow, FindingKind, Surface, SurfaceFinding
from minbuild.manifest.kernel_cmdline import split_cmdline

HARDENING_OPTIONS = (
    "BUG_ON_DATA_CORRUPTION", "DEBUG_LIST", "FORTIFY_SOURCE", "HARDENED_USERCOPY",
    "INIT_ON_ALLOC_DEFAULT_ON", "INIT_STACK_ALL_ZERO", "MODULE_SIG", "MODULE_SIG_FORCE",
    "RANDOMIZE_BASE", "RANDOMIZE_KSTACK_OFFSET_DEFAULT", "RANDOMIZE_MEMORY", "SCHED_STACK_END_CHECK",
    "SECCOMP", "SECURITY_DMESG_RESTRICT", "SECURITY_LOCKDOWN_LSM", "SHUFFLE_PAGE_ALLOCATOR",
    "SLAB_FREELIST_HARDENED", "SLAB_FREELIST_RANDOM", "STACKPROTECTOR_STRONG", "STRICT_KERNEL_RWX",
    "STRICT_MODULE_RWX", "VMAP_STACK", "ZERO_CALL_USED_REGS",
)  # fmt: skip
"""Kernel options whose absence is a finding."""
WEAKENING_WORDS = {
    "mitigations=off",
    "nokaslr",
    "nopti",
    "nosmap",
    "nosmep",
    "init_on_alloc=0",
    "selinux=0",
}
"""Words of a command line that switch a protection off."""
XEN_PREFIX = "Xen: "
"""Before a word that the hypervisor reads, not the kernel."""
XEN_WEAKENING_WORD = re.compile(
    r"(?:no-)(?:xpti|smap|smep|spec-ctrl|cet|pv-l1tf|tsx|iommu)|"
    r"(?:xpti|smap|smep|spec-ctrl|cet|pv-l1tf|ept|iommu)=(?:no|off|false|0|disable)"
)
"""Words of Xen's command line that switch a protection off.

Source: Xen, docs/misc/xen-command-line.pandoc.
"""
INTERPRETER_NAMES = re.compile(
    r"/(?:(?:ba|da|z|k|mk|a|tc|c|fi)?sh|python[0-9.]*|perl[0-9.]*|ruby[0-9.]*|lua[0-9.]*|node|"
    r"php[0-9.]*|[mg]?awk|tclsh[0-9.]*|guile[0-9.]*|gdb|java|busybox)"
)
HARMLESS_DEVICES = frozenset({"c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:2"})
"""Devices that all may write everywhere: null, zero, full, random, urandom, tty, ptmx."""
NO_LOGIN = ("/nologin", "/false", "/sync", "/shutdown", "/halt")
PASSWD, SHADOW = "/etc/passwd", "/etc/shadow"
MODULE_PATH = re.compile(r"(?:/usr)?/lib/modules/[^/]+/(?:.*/)?([^/]+)\.ko(?:\.xz|\.zst|\.gz)?")
LARGEST_TEXT = 1 << 16
"""Bytes of the largest configuration file that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceInputs:
    """What is known of a host beside the rows of its files."""

    traits: Mapping[str, Hardening]
    """By path, for every regular file that was looked into."""
    texts: Mapping[str, str]
    """By path: files for which `wanted` is true."""
    cmdline: str | None = None
    """None: not known."""
    xen_cmdline: str = ""
    """Of the hypervisor that starts the kernel; "" for none."""
    kconfig: Mapping[str, str] | None = None
    """The kernel's options without CONFIG_; None: not known."""
    started_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name or path of a program → the places in scripts that start it; what is not known is not here."""
    capabilities: Mapping[str, str] | None = None
    """Path → file capabilities; None: the source cannot say."""


def is_surface_text(path: str, size: int) -> bool:
    """Tell whether the attack surface depends on the text of a file."""
    return size <= LARGEST_TEXT and (
        path in {PASSWD, SHADOW}
        or open_ports.is_port_config(path)
        or hardening.SYSCTL_FILES.fullmatch(path) is not None
    )


def find_surface(files: Sequence[FileRow], inputs: SurfaceInputs) -> Surface:
    """Find all that an attacker could use."""
    findings: set[SurfaceFinding] = set()
    for row in files:
        findings.update(_check_modes(row))
        findings.update(_check_content(row, inputs.traits.get(row.path, DATA)))
    findings.update(_find_interpreters(files))
    findings.update(_find_possible_listeners(files, inputs))
    findings.update(_find_logins(inputs.texts))
    findings.update(
        SurfaceFinding(FindingKind.LISTENER, port, f"configured: {why}")
        for port, why in open_ports.find_listeners(files, inputs.texts)
    )
    unknown = []
    if inputs.capabilities is None:
        unknown.append(FindingKind.CAPABILITY)
    for path, text in (inputs.capabilities or {}).items():
        findings.add(SurfaceFinding(FindingKind.CAPABILITY, path, text))
    if inputs.cmdline is None:
        unknown.append(FindingKind.CMDLINE)
    findings.update(_check_cmdline(inputs.cmdline or ""))
    findings.update(_check_xen_cmdline(inputs.xen_cmdline))
    if inputs.kconfig is None:
        unknown += [FindingKind.KERNEL_LACKS, FindingKind.HARDENING]
    else:
        findings.update(_check_kernel_options(inputs.kconfig))
        findings.update(
            _check_hardening(
                inputs, {one.subject for one in findings if one.kind is FindingKind.MODULE}
            )
        )
    return Surface(tuple(sorted(findings)), tuple(sorted(unknown)))


def _check_modes(row: FileRow) -> Iterator[SurfaceFinding]:
    if row.type == "file" and row.mode & 0o4000 and row.mode & 0o111:
        yield SurfaceFinding(FindingKind.SETUID, row.path, f"mode {row.mode:04o}, owner {row.uid}")
    if row.type == "file" and row.mode & 0o2000 and row.mode & 0o111:
        yield SurfaceFinding(FindingKind.SETGID, row.path, f"mode {row.mode:04o}, group {row.gid}")
    sticky = row.type == "directory" and row.mode & 0o1000
    if row.type in {"file", "directory"} and row.mode & 0o002 and not sticky:
        yield SurfaceFinding(
            FindingKind.WORLD_WRITABLE, row.path, f"{row.type}, mode {row.mode:04o}"
        )
    if row.type == "other" and row.mode & 0o002 and row.target not in HARMLESS_DEVICES:
        kind = f"device {row.target}" if row.target else "socket, FIFO or device"
        yield SurfaceFinding(FindingKind.WORLD_WRITABLE, row.path, f"{kind}, mode {row.mode:04o}")
    module = MODULE_PATH.fullmatch(row.path)
    if module is not None and row.type != "directory":
        yield SurfaceFinding(FindingKind.MODULE, module[1].replace("-", "_"), row.path)


def _check_content(row: FileRow, traits: Hardening) -> Iterator[SurfaceFinding]:
    """What a file is by its bytes; whether it may be executed is its mode's to say.

    Source: execve(2), ENOEXEC; POSIX, Shell Command Language, 2.9.1.4: a shell runs as a script
    what the kernel knows no format of.
    """
    if row.type != "file":
        return
    if row.mode & 0o111:
        detail = "data: a shell runs it as a script" if traits.sort == "data" else traits.sort
        yield SurfaceFinding(FindingKind.EXECUTABLE, row.path, detail)
    for name in traits.lacks:
        yield SurfaceFinding(FindingKind(f"no-{name}"), row.path, "")
    if traits.exports:
        yield SurfaceFinding(FindingKind.EXPORTS, row.path, str(traits.exports))


_UNKNOWN_CALLS = {
    "static": "linked statically: what it calls is not known",
    "unreadable": "a damaged ELF object: what it calls is not known",
}


def _find_possible_listeners(
    files: Sequence[FileRow], inputs: SurfaceInputs
) -> Iterator[SurfaceFinding]:
    """Programs and libraries that can be servers, and what is known to start them."""
    for row in files:
        name = row.path.rpartition("/")[2]
        reason = ""
        if row.type == "file":
            call = inputs.traits.get(row.path, DATA).listens
            reason = _UNKNOWN_CALLS.get(call) or (call and f"calls {call}")
        elif row.type == "link" and "bin/" in row.path and name in open_ports.SERVER_APPLETS:
            reason = "an applet of BusyBox" if row.target.rpartition("/")[2] == "busybox" else ""
        if reason:
            starters = (*inputs.started_by.get(row.path, ()), *inputs.started_by.get(name, ()))
            suffix = f"; started by {', '.join(sorted(starters))}" if starters else ""
            yield SurfaceFinding(FindingKind.MAY_LISTEN, row.path, reason + suffix)


def _find_interpreters(files: Sequence[FileRow]) -> Iterator[SurfaceFinding]:
    """Programs that run what they are given, known by their names."""
    for row in files:
        name = row.path[row.path.rfind("/") :]
        if (
            row.type in {"file", "link"}
            and "bin/" in row.path
            and INTERPRETER_NAMES.fullmatch(name)
        ):
            detail = f"-> {row.target}" if row.type == "link" else "by its name"
            yield SurfaceFinding(FindingKind.INTERPRETER, row.path, detail)


def _find_logins(texts: Mapping[str, str]) -> Iterator[SurfaceFinding]:
    """Users with a shell, and what keeps them out."""
    passwords = {
        fields[0]: fields[1] for line in texts.get(SHADOW, "").splitlines()
        if len(fields := line.split(":")) > 1
    }  # fmt: skip
    for line in texts.get(PASSWD, "").splitlines():
        fields = line.split(":")
        if len(fields) != 7 or fields[6].endswith(NO_LOGIN):
            continue
        password = passwords.get(fields[0], "*" if fields[1] == "x" else fields[1])
        if password == "":
            yield SurfaceFinding(FindingKind.LOGIN, fields[0], f"no password, {fields[6]}")
        elif password[0] not in "!*":
            yield SurfaceFinding(FindingKind.LOGIN, fields[0], f"a password, {fields[6]}")


def _check_cmdline(text: str) -> Iterable[SurfaceFinding]:
    for word in split_cmdline(text):
        detail = "switches a protection off" if word in WEAKENING_WORDS else ""
        yield SurfaceFinding(FindingKind.CMDLINE, word, detail)


def _check_xen_cmdline(text: str) -> Iterable[SurfaceFinding]:
    for word in split_cmdline(text):
        detail = "switches a protection off" if XEN_WEAKENING_WORD.fullmatch(word) else ""
        yield SurfaceFinding(FindingKind.CMDLINE, XEN_PREFIX + word, detail)


def list_cmdline_subjects(cmdline: str, xen_cmdline: str) -> set[str]:
    """The subjects of all findings of these command lines."""
    return {*split_cmdline(cmdline), *(XEN_PREFIX + word for word in split_cmdline(xen_cmdline))}


def _check_kernel_options(options: Mapping[str, str]) -> Iterable[SurfaceFinding]:
    for name in HARDENING_OPTIONS:
        if options.get(name, "n") == "n":
            yield SurfaceFinding(FindingKind.KERNEL_LACKS, name, "not set")


def _check_hardening(inputs: SurfaceInputs, modules: Collection[str]) -> Iterable[SurfaceFinding]:
    texts, options = inputs.texts, inputs.kconfig or {}
    for name, detail in hardening.find_unmet_settings(
        options, inputs.cmdline or "", texts, modules
    ):
        yield SurfaceFinding(FindingKind.HARDENING, name, detail)
