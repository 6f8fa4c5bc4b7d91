"""The attack surface as lines: a count for each kind of finding, and the findings themselves."""

from minbuild.footprint.types import SEEN, Finding, FindingKind, Surface

NAMES = {
    FindingKind.SETUID: "setuid programs",
    FindingKind.SETGID: "setgid programs",
    FindingKind.CAPABILITY: "files with capabilities",
    FindingKind.WORLD_WRITABLE: "world-writable paths",
    FindingKind.EXECUTABLE: "executables",
    FindingKind.INTERPRETER: "interpreters",
    FindingKind.LISTENER: "listening ports",
    FindingKind.MAY_LISTEN: "programs that can listen",
    FindingKind.LOGIN: "users who can log in",
    FindingKind.MODULE: "kernel modules",
    FindingKind.CMDLINE: "kernel command line",
    FindingKind.KERNEL_LACKS: "hardening options that the kernel lacks",
    FindingKind.HARDENING: "recommended kernel settings that do not hold",
    FindingKind.NO_PIE: "ELF without PIE",
    FindingKind.NO_RELRO: "ELF without RELRO",
    FindingKind.NO_BIND_NOW: "ELF without BIND_NOW",
    FindingKind.NO_CANARY: "ELF without stack canary",
    FindingKind.NO_FORTIFY: "ELF without FORTIFY",
    FindingKind.NO_NX: "ELF with an executable stack",
    FindingKind.EXPORTS: "exported symbols",
}
UNKNOWN = "not evaluated"
SHORT = 4
"""Findings that are named in a line."""
COUNTED = frozenset({FindingKind.EXPORTS, FindingKind.EXECUTABLE, FindingKind.MODULE})
"""Kinds of which the page says only how many."""


def rows(surface: Surface) -> list[tuple[FindingKind, str, str, str]]:
    """Kind, its name, how many (or that nobody looked), and the first of them."""
    found = []
    for kind in FindingKind:
        if kind in surface.unknown:
            found.append((kind, NAMES[kind], UNKNOWN, ""))
        else:
            found.append((kind, NAMES[kind], str(surface.count(kind)), _some(surface, kind)))
    return found


def of_kind(surface: Surface, kind: FindingKind) -> list[Finding]:
    """The findings of one kind, sorted."""
    return [one for one in surface.findings if one.kind is kind]


def prices(surface: Surface) -> list[tuple[str, str, str]]:
    """Recommended settings that do not hold: the setting, what is there, and what it would cost."""
    found = of_kind(surface, FindingKind.HARDENING)
    return [(one.subject, *one.detail.partition("; costs: ")[::2]) for one in found]


def _some(surface: Surface, kind: FindingKind) -> str:
    if kind in COUNTED:
        return ""
    if kind is FindingKind.LISTENER:
        return _listeners(surface)
    found = [one.subject for one in of_kind(surface, kind)]
    more = f" and {len(found) - SHORT} more" if len(found) > SHORT else ""
    return ", ".join(name.rpartition("/")[2] or name for name in found[:SHORT]) + more


def _listeners(surface: Surface) -> str:
    """Each port with what says so: the configuration, a boot in the lab, or both."""
    found: dict[str, list[str]] = {}
    for one in of_kind(surface, FindingKind.LISTENER):
        how = "seen" if one.detail.startswith(SEEN) else "configured"
        found.setdefault(one.subject, []).append(how)
    named = [f"{port} ({' and '.join(sorted(set(how)))})" for port, how in sorted(found.items())]
    if not surface.in_lab:
        return "; ".join([*named, f"in the lab: {UNKNOWN}, minbuild boot looks"])
    return ", ".join(named) or "none configured, none seen in the lab"
