"""Attack surface as rows: a count for each kind of finding, and the findings."""

from minbuild.footprint.model import SEEN_IN_LAB, FindingKind, Surface, SurfaceFinding

FINDING_NAMES = {
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
NOT_EVALUATED = "not evaluated"
MAX_NAMED = 4
"""Findings that are named in a line."""
COUNT_ONLY = frozenset({FindingKind.EXPORTS, FindingKind.EXECUTABLE, FindingKind.MODULE})
"""Kinds of which the page says only how many."""


def list_surface_rows(surface: Surface) -> list[tuple[FindingKind, str, str, str]]:
    """Kind, its name, the count (or that it was not measured), and the first findings."""
    surface_rows = []
    for kind in FindingKind:
        if kind in surface.unknown:
            surface_rows.append((kind, FINDING_NAMES[kind], NOT_EVALUATED, ""))
        else:
            surface_rows.append(
                (kind, FINDING_NAMES[kind], str(surface.count(kind)), _name_findings(surface, kind))
            )
    return surface_rows


def select_findings(surface: Surface, kind: FindingKind) -> list[SurfaceFinding]:
    """The findings of one kind, sorted."""
    return [one for one in surface.findings if one.kind is kind]


def list_prices(surface: Surface) -> list[tuple[str, str, str]]:
    """Recommended settings that do not hold: the setting, what is there, and what it would cost."""
    findings = select_findings(surface, FindingKind.HARDENING)
    return [(one.subject, *one.detail.partition("; costs: ")[::2]) for one in findings]


def _name_findings(surface: Surface, kind: FindingKind) -> str:
    if kind in COUNT_ONLY:
        return ""
    if kind is FindingKind.LISTENER:
        return _describe_listeners(surface)
    subjects = [one.subject for one in select_findings(surface, kind)]
    suffix = f" and {len(subjects) - MAX_NAMED} more" if len(subjects) > MAX_NAMED else ""
    return ", ".join(name.rpartition("/")[2] or name for name in subjects[:MAX_NAMED]) + suffix


def _describe_listeners(surface: Surface) -> str:
    """Each port with what says so: the configuration, a boot in the lab, or both."""
    sources_by_port: dict[str, list[str]] = {}
    for finding in select_findings(surface, FindingKind.LISTENER):
        source = "seen" if finding.detail.startswith(SEEN_IN_LAB) else "configured"
        sources_by_port.setdefault(finding.subject, []).append(source)
    ports = [
        f"{port} ({' and '.join(sorted(set(source)))})"
        for port, source in sorted(sources_by_port.items())
    ]
    if not surface.in_lab:
        return "; ".join([*ports, f"in the lab: {NOT_EVALUATED}, minbuild boot looks"])
    return ", ".join(ports) or "none configured, none seen in the lab"
