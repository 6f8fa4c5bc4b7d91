"""Security of an image as rows: attack surface by kind of finding, and changes of open issues."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from minbuild.footprint.model import SEEN_IN_LAB, FindingKind, Surface, SurfaceFinding
from minbuild.report.layout import align_columns, escape_line

if TYPE_CHECKING:
    from minbuild.footprint.comparison import IssueChanges, OpenIssue

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


ISSUES_NOT_EVALUATED = "open issues: not evaluated (no data: --cve-data FILE|URL)"


def summarize_issues(issues: "IssueChanges | None") -> str:
    """One line: how many were open, how many are, and how many came and went."""
    if issues is None:
        return ISSUES_NOT_EVALUATED
    return (
        f"open issues: {issues.before} -> {issues.after} (+{len(issues.new)}, -{len(issues.gone)})"
    )


def list_issue_lines(issues: "IssueChanges | None", *, top: int = 0) -> list[str]:
    """The headline, and an issue a line; `top` of each kind, 0 for all."""
    lines = [summarize_issues(issues)]
    if issues is None:
        return lines
    for sign, open_issues in (("+", issues.new), ("-", issues.gone)):
        cells = [
            [f"  {sign} {escape_line(one.name)}", escape_line(one.source), describe_fix(one)]
            for one in open_issues[: top or None]
        ]
        lines += align_columns(cells, frozenset({0, 1, 2})) if cells else []
        if len(open_issues) > len(cells):
            lines.append(f"  {sign} [{len(open_issues) - len(cells)} others]")
    return lines


def describe_fix(issue: "OpenIssue") -> str:
    """The version that fixes an issue, as text."""
    return f"fixed in {escape_line(issue.fixed)}" if issue.fixed else "no fix yet"


def issues_to_json(issues: "IssueChanges | None") -> dict[str, object] | None:
    """The same as JSON; None when it was not evaluated, which is never the same as none."""
    return None if issues is None else asdict(issues)
