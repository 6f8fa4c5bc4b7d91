"""Diff of two footprints as text, Markdown, JSON and CSV."""

import csv
import io
from dataclasses import asdict

from minbuild.escape import dump_json
from minbuild.escape import escape_csv as csv_text
from minbuild.footprint.change_causes import is_side_effect, list_causes
from minbuild.footprint.change_groups import ChangeGroup, list_groups
from minbuild.footprint.comparison import (
    ChangeKind,
    FootprintDiff,
    OpenIssue,
    PathChange,
)
from minbuild.footprint.model import FileRow
from minbuild.kconfig.needs import PREFIX, describe_chain
from minbuild.report import layout
from minbuild.report.kernel_option import describe_option_change, list_option_lines
from minbuild.report.layout import align_columns, escape_line, format_entry, format_size, wrap_line
from minbuild.report.surface import (
    FINDING_NAMES,
    describe_fix,
    issues_to_json,
    list_issue_lines,
    summarize_issues,
)

SCHEMA = "minbuild.diff/1"
MIB = 1 << 20
MAX_CAUSES = 6
"""Causes that the line of causes names."""


def summarize_diff(diff: FootprintDiff) -> str:
    """The change of the totals in one sentence."""
    before, after = diff.before.totals, diff.after.totals
    if not diff:
        return f"{diff.after.name}: nothing differs"
    return (
        f"{diff.after.name}: {after.files} files ({after.files - before.files:+d}), "
        f"installed {format_size(after.bytes)} ({format_signed(after.bytes - before.bytes)}), "
        f"packed {format_size(after.packed)} ({format_signed(after.packed - before.packed)})"
    )


def count_changes(diff: FootprintDiff) -> str:
    """One line of counts: add/remove, grow/shrink, up/down, mode/owner, surface."""
    up = sum(one.bytes for one in diff.differences if one.bytes > 0)
    down = -sum(one.bytes for one in diff.differences if one.bytes < 0)
    count = {change: len(diff.select_changes(change)) for change in ChangeKind}
    surface = len(diff.findings_new) - len(diff.findings_gone)
    moved = count[ChangeKind.MODE] + count[ChangeKind.OWNER] + count[ChangeKind.TYPE]
    return (
        f"add/remove: {count[ChangeKind.ADDED]}/{count[ChangeKind.REMOVED]}  "
        f"grow/shrink: {count[ChangeKind.GROWN]}/{count[ChangeKind.SHRUNK]}  "
        f"up/down: +{up / MIB:.1f}/-{down / MIB:.1f} MiB  "
        f"mode/owner: {moved}  surface: {surface:+d}"
    )


def summarize_causes(diff: FootprintDiff) -> str:
    """One line of the causes: `by cause: curl +19.9 MB, ssh +1.5 MB`; "" when nothing differs."""
    causes = list_causes(diff)
    shown = [f"{one.name} {format_signed(one.bytes)}" for one in causes[:MAX_CAUSES]]
    others = causes[MAX_CAUSES:]
    if others:
        total = format_signed(sum(one.bytes for one in others))
        shown.append(f"{len(others)} others {total}")
    return f"by cause: {', '.join(shown)}" if shown else ""


def format_signed(count: int) -> str:
    """A change of size with its sign: +3.1 MB, -120 B."""
    return f"{'-' if count < 0 else '+'}{format_size(abs(count))}"


def render_diff(diff: FootprintDiff, *, top: int = 0, width: int = 0) -> str:
    """Print a diff; `top` rows of each kind of change, 0 for all; `width` of the terminal."""
    lines = wrap_line(escape_line(summarize_diff(diff)), width)
    lines += wrap_line(escape_line(summarize_causes(diff)), width)
    lines += wrap_line(count_changes(diff), width, blank="  ")
    for title, rows in list_groups(diff):
        lines += ["", f"{title}:"]
        shown_rows = rows[: top or None]
        cells = [
            [f"  {format_signed(row.bytes)}", escape_line(row.name), _describe_cause(row)]
            for row in shown_rows
        ]
        table_lines = align_columns(cells, frozenset({1, 2}), width=width, shrinkable=1)
        for line, row in zip(table_lines, shown_rows, strict=True):
            lines += [line, *_render_chain(row.changes[0], width)]
        if len(rows) > len(shown_rows):
            lines.append(f"  [{len(rows) - len(shown_rows)} others]")
    lines += _render_packages(diff, width)
    lines += [
        part
        for line in list_option_lines(diff.options, top=top)
        for part in wrap_line(line, width) or [""]
    ]
    lines += [part for line in _render_surface(diff) for part in wrap_line(line, width) or [""]]
    lines += ["", *list_issue_lines(diff.issues, top=top)]
    return "\n".join(lines) + "\n"


def _describe_cause(row: ChangeGroup) -> str:
    difference = row.changes[0]
    notes = {
        ChangeKind.MODE: lambda old, new: f"{old.mode:04o} -> {new.mode:04o}",
        ChangeKind.OWNER: lambda old, new: f"{old.uid}:{old.gid} -> {new.uid}:{new.gid}",
        ChangeKind.TYPE: lambda old, new: f"{old.type} -> {new.type}",
    }
    if (
        len(row.changes) == 1
        and difference.before
        and difference.after
        and difference.change in notes
    ):
        return notes[difference.change](difference.before, difference.after)
    return f"[{row.cause}]" if row.cause else ""


def _render_chain(difference: PathChange, width: int) -> list[str]:
    """The way to a new path, with the need that is new marked."""
    lines = []
    if (
        difference.change is ChangeKind.ADDED
        and difference.after
        and difference.after.type == "file"
        and difference.chain
    ):
        lines.append(f"      {escape_line(difference.chain[0].needed_by)}")
        for depth, need in enumerate(difference.chain):
            mark = "   <- new" if need == difference.new_need else ""
            note = f"[{need.kind}: {escape_line(need.evidence)}]{mark}"
            lines += format_entry(f"      {'   ' * depth}└─ ", escape_line(need.path), note, width)
    return lines


def _render_packages(diff: FootprintDiff, width: int) -> list[str]:
    if not diff.packages:
        return []
    cells = [
        [f"  {escape_line(one.name)}", escape_line(one.before or "(none)"), "->",
         escape_line(one.after or "(none)")]
        for one in diff.packages
    ]  # fmt: skip
    return ["", "packages:", *align_columns(cells, frozenset({0, 1, 2, 3}), width=width)]


def _render_surface(diff: FootprintDiff) -> list[str]:
    if not (diff.findings_new or diff.findings_gone):
        return []
    signs = [("+", one) for one in diff.findings_new] + [("-", one) for one in diff.findings_gone]
    return ["", "attack surface:"] + [
        f"  {sign} {FINDING_NAMES[one.kind]}: {escape_line(one.subject)}"
        + (f" ({escape_line(one.detail)})" if one.detail else "")
        for sign, one in signs
    ]


def render_diff_markdown(diff: FootprintDiff) -> str:
    """A comment for a pull request."""
    lines = [f"### {layout.escape_markdown(summarize_diff(diff))}", ""]
    lines += list_summary_lines(diff)
    lines += [layout.escape_markdown(summarize_issues(diff.issues)), ""]
    return layout.render_page([*lines, *layout.fit_tables(list_tables(diff))])


def list_summary_lines(diff: FootprintDiff) -> list[str]:
    """The causes and the counts of a diff, as they stand below its headline in Markdown."""
    causes = layout.escape_markdown(summarize_causes(diff))
    return [*([f"**{causes}**", ""] if causes else []), f"`{count_changes(diff)}`", ""]


def list_tables(diff: FootprintDiff) -> list[layout.FoldedTable]:
    """The folded tables of a diff that are not empty: causes first, then files without links."""
    tables = [*_list_cause_table(diff), *_list_change_tables(diff)]
    if diff.packages:
        body = [
            [
                layout.format_code(one.name),
                layout.escape_markdown(one.before),
                layout.escape_markdown(one.after),
            ]
            for one in diff.packages
        ]
        tables.append(("Packages", ["package", "before", "after"], body, 0))
    if diff.options:
        body = [[layout.escape_markdown(describe_option_change(one))] for one in diff.options]
        tables.append(("Kernel options", ["option"], body, 0))
    for title, findings in (("New attack surface", diff.findings_new), ("Attack surface gone", diff.findings_gone)):  # fmt: skip
        if findings:
            body = [[FINDING_NAMES[one.kind], layout.format_code(one.subject), layout.escape_markdown(one.detail)]
                    for one in findings]  # fmt: skip
            tables.append((title, ["what", "where", ""], body, 0))
    if diff.issues is not None:
        for title, open_issues in (("New open issues", diff.issues.new), ("Issues no longer open", diff.issues.gone)):  # fmt: skip
            if open_issues:
                body = [_render_issue(one) for one in open_issues]
                tables.append((title, ["issue", "source", ""], body, 0))
    return tables


def _list_cause_table(diff: FootprintDiff) -> list[layout.FoldedTable]:
    body = [
        [
            layout.format_code(one.name),
            layout.escape_markdown(one.reason),
            str(one.files),
            format_signed(one.bytes),
        ]
        for one in list_causes(diff)
    ]
    return [("Causes", ["cause", "why", "files", "bytes"], body, 2)] if body else []


def _list_change_tables(diff: FootprintDiff) -> list[layout.FoldedTable]:
    tables: list[layout.FoldedTable] = []
    for title, all_rows in list_groups(diff):
        rows = [row for row in all_rows if not is_side_effect(row.changes[0])]
        left_out = len(all_rows) - len(rows)
        if not rows:
            continue
        body = [
            [
                layout.format_code(row.name),
                layout.escape_markdown(explain_change(row)),
                format_signed(row.bytes),
            ]
            for row in rows
        ]
        without = f", without {left_out} links and directories" if left_out else ""
        tables.append((f"{title.capitalize()}{without}", ["path", "why", "bytes"], body, 1))
    return tables


def _render_issue(issue: OpenIssue) -> list[str]:
    return [
        layout.escape_markdown(issue.name),
        layout.format_code(issue.source),
        layout.escape_markdown(describe_fix(issue)),
    ]


def explain_change(row: ChangeGroup) -> str:
    """Why a row differs: the need that is new, or the cause in one word; "" when nothing says it."""
    need = row.changes[0].new_need
    if need is None:
        return _describe_cause(row).strip("[]")
    return f"{row.cause}: {need.needed_by} -> {need.path} ({need.kind}: {need.evidence})"


def render_diff_json(diff: FootprintDiff) -> str:
    """Print a diff as a JSON object; sizes in bytes, keys sorted."""
    document = {
        "schema": SCHEMA,
        "before": {"name": diff.before.name, "totals": asdict(diff.before.totals)},
        "after": {"name": diff.after.name, "totals": asdict(diff.after.totals)},
        "counting": count_changes(diff),
        "causes": [
            {
                "name": one.name,
                "bytes": one.bytes,
                "files": one.files,
                "reason": one.reason,
                "paths": [change.path for change in one.changes],
            }
            for one in list_causes(diff)
        ],
        "differences": [_difference_to_json(one) for one in diff.differences],
        "packages": [
            {"name": one.name, "before": one.before, "after": one.after} for one in diff.packages
        ],
        "surface": {
            "new": [asdict(one) for one in diff.findings_new],
            "gone": [asdict(one) for one in diff.findings_gone],
        },
        "kernel_options": [
            {
                "name": one.name,
                "before": one.before,
                "after": one.after,
                "because": describe_chain(one.chain),
            }
            for one in diff.options
        ],
        "issues": issues_to_json(diff.issues),
    }
    return dump_json(document, sort=True)


def _difference_to_json(difference: PathChange) -> dict[str, object]:
    new_need = difference.new_need
    return {
        "change": str(difference.change),
        "path": difference.path,
        "bytes": difference.bytes,
        "cause": str(difference.cause),
        "before": _row_to_json(difference.before),
        "after": _row_to_json(difference.after),
        "chain": [
            f"{need.needed_by} -> {need.path} ({need.kind}: {need.evidence})"
            for need in difference.chain
        ],
        "new_edge": None
        if new_need is None
        else {
            "from": new_need.needed_by,
            "to": new_need.path,
            "kind": str(new_need.kind),
            "evidence": new_need.evidence,
        },
    }


def _row_to_json(row: FileRow | None) -> dict[str, object] | None:
    if row is None:
        return None
    return {"path": row.path, "type": row.type, "mode": f"{row.mode:04o}", "size": row.size,
            "sha256": row.sha256, "package": row.package, "component": row.component}  # fmt: skip


def render_diff_csv(diff: FootprintDiff) -> str:
    """One row for each difference; sizes in bytes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["change", "path", "bytes", "cause", "before", "after"])
    for difference in diff.differences:
        before, after = difference.before, difference.after
        writer.writerow(
            [difference.change, csv_text(difference.path), difference.bytes, difference.cause,
             before.size if before else "", after.size if after else ""]
        )  # fmt: skip
    for option in diff.options:
        cause = csv_text(describe_chain(option.chain))
        writer.writerow(["option", f"{PREFIX}{option.name}", 0, cause, option.before, option.after])
    return out.getvalue()
