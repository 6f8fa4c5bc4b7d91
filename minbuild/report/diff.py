"""A diff as text, Markdown, JSON and CSV."""

import csv
import io
from collections.abc import Sequence

from minbuild.escape import csv as csv_text
from minbuild.escape import dump
from minbuild.footprint.diff import Cause, Change, Diff, Difference
from minbuild.footprint.issues import OpenIssue
from minbuild.footprint.types import FileRow
from minbuild.report import issues, markdown
from minbuild.report.fit import columns, entry, prose
from minbuild.report.surface import NAMES
from minbuild.report.units import printable, size

SCHEMA = "minbuild.diff/1"
TITLES = {
    Change.ADDED: "new",
    Change.REMOVED: "gone",
    Change.GROWN: "grown",
    Change.SHRUNK: "shrunk",
    Change.CONTENT: "changed in place",
    Change.MODE: "other mode",
    Change.OWNER: "other owner",
    Change.TYPE: "other type",
    Change.RENAMED: "renamed",
}
GROUPED = frozenset({Change.GROWN, Change.SHRUNK, Change.CONTENT, Change.RENAMED})
MIB = 1 << 20


def headline(diff: Diff) -> str:
    """The change of the totals in one sentence."""
    old, new = diff.before.totals, diff.after.totals
    if not diff:
        return f"{diff.after.name}: nothing differs"
    return (
        f"{diff.after.name}: {new.files} files ({new.files - old.files:+d}), "
        f"installed {size(new.bytes)} ({signed(new.bytes - old.bytes)}), "
        f"packed {size(new.packed)} ({signed(new.packed - old.packed)})"
    )


def counting(diff: Diff) -> str:
    """One line of counts: add/remove, grow/shrink, up/down, mode/owner, surface."""
    up = sum(one.bytes for one in diff.differences if one.bytes > 0)
    down = -sum(one.bytes for one in diff.differences if one.bytes < 0)
    count = {change: len(diff.of(change)) for change in Change}
    surface = len(diff.findings_new) - len(diff.findings_gone)
    moved = count[Change.MODE] + count[Change.OWNER] + count[Change.TYPE]
    return (
        f"add/remove: {count[Change.ADDED]}/{count[Change.REMOVED]}  "
        f"grow/shrink: {count[Change.GROWN]}/{count[Change.SHRUNK]}  "
        f"up/down: +{up / MIB:.1f}/-{down / MIB:.1f} MiB  "
        f"mode/owner: {moved}  surface: {surface:+d}"
    )


def signed(count: int) -> str:
    """A change of size with its sign: +3.1 MB, -120 B."""
    return f"{'-' if count < 0 else '+'}{size(abs(count))}"


Group = tuple[str, int, str, list[Difference]]
"""A row: name, bytes gained, cause, and what stands behind it."""


def updated(diff: Diff) -> list[Group]:
    """One row for each package that has another version, with all its files that differ.

    So a kernel's update is one row and not 40. A package with one such file is left to that file's
    own row. An index that was made for a kernel goes with it.
    """
    packages: dict[str, list[Difference]] = {}
    for one in diff.of(*GROUPED):
        row = one.after or one.before
        if one.cause is Cause.VERSION and row is not None:
            packages.setdefault(row.package or _kernel(diff), []).append(one)
    rows: list[Group] = []
    for package, several in packages.items():
        if len(several) > 1:
            counts = [
                (TITLES[change], sum(one.change is change for one in several)) for change in Change
            ]
            how = ", ".join(f"{count} {title}" for title, count in counts if count)
            gain = sum(one.bytes for one in several)
            rows.append(
                (f"{package}: {len(several)} files ({how})", gain, str(Cause.VERSION), several)
            )
    return sorted(rows, key=lambda row: (-abs(row[1]), row[0]))


def grouped(diff: Diff, change: Change) -> list[Group]:
    """Rows of one kind of change, without those of packages that have a row of their own."""
    together = {id(one) for _, _, _, several in updated(diff) for one in several}
    rows = [
        (str(one.path), one.bytes, str(one.cause), [one])
        for one in diff.of(change)
        if id(one) not in together
    ]
    return sorted(rows, key=lambda row: (-abs(row[1]), row[0]))


def groups(diff: Diff) -> list[tuple[str, list[Group]]]:
    """Every table of a diff that is not empty: its title and its rows."""
    every = [("updated", updated(diff))]
    every += [(TITLES[change], grouped(diff, change)) for change in Change]
    return [(title, rows) for title, rows in every if rows]


def _kernel(diff: Diff) -> str:
    rows = (row for row in diff.after.files if row.path.startswith("/boot/vmlinuz-"))
    return next((row.package for row in rows), "")


def as_text(diff: Diff, *, top: int = 0, width: int = 0) -> str:
    """Print a diff; `top` rows of each kind of change, 0 for all; `width` of the terminal."""
    lines = prose(printable(headline(diff)), width) + prose(counting(diff), width, blank="  ")
    for title, rows in groups(diff):
        lines += ["", f"{title}:"]
        shown = rows[: top or None]
        cells = [[f"  {signed(gain)}", printable(name), _why(cause, several)]
                 for name, gain, cause, several in shown]  # fmt: skip
        laid = columns(cells, frozenset({1, 2}), width=width, gives=1)
        for line, (_, _, _, several) in zip(laid, shown, strict=True):
            lines += [line, *_chain(several[0], width)]
        if len(rows) > len(shown):
            lines.append(f"  [{len(rows) - len(shown)} others]")
    lines += _packages(diff, width)
    lines += [part for line in _surface(diff) for part in prose(line, width) or [""]]
    lines += ["", *issues.as_lines(diff.issues, top=top)]
    return "\n".join(lines) + "\n"


def _why(cause: str, several: Sequence[Difference]) -> str:
    one = several[0]
    notes = {
        Change.MODE: lambda old, new: f"{old.mode:04o} -> {new.mode:04o}",
        Change.OWNER: lambda old, new: f"{old.uid}:{old.gid} -> {new.uid}:{new.gid}",
        Change.TYPE: lambda old, new: f"{old.type} -> {new.type}",
    }
    if len(several) == 1 and one.before and one.after and one.change in notes:
        return notes[one.change](one.before, one.after)
    return f"[{cause}]" if cause else ""


def _chain(one: Difference, width: int) -> list[str]:
    """The way to a new path, with the need that is new marked."""
    lines = []
    if one.change is Change.ADDED and one.after and one.after.type == "file" and one.chain:
        lines.append(f"      {printable(one.chain[0].by)}")
        for depth, need in enumerate(one.chain):
            mark = "   <- new" if need == one.new_edge else ""
            note = f"[{need.kind}: {printable(need.evidence)}]{mark}"
            lines += entry(f"      {'   ' * depth}└─ ", printable(need.path), note, width)
    return lines


def _packages(diff: Diff, width: int) -> list[str]:
    if not diff.packages:
        return []
    cells = [
        [f"  {printable(one.name)}", printable(one.before or "(none)"), "->",
         printable(one.after or "(none)")]
        for one in diff.packages
    ]  # fmt: skip
    return ["", "packages:", *columns(cells, frozenset({0, 1, 2, 3}), width=width)]


def _surface(diff: Diff) -> list[str]:
    if not (diff.findings_new or diff.findings_gone):
        return []
    signs = [("+", one) for one in diff.findings_new] + [("-", one) for one in diff.findings_gone]
    return ["", "attack surface:"] + [
        f"  {sign} {NAMES[one.kind]}: {printable(one.subject)}"
        + (f" ({printable(one.detail)})" if one.detail else "")
        for sign, one in signs
    ]


def as_markdown(diff: Diff) -> str:
    """A comment for a pull request."""
    lines = [f"### {markdown.cell(headline(diff))}", "", f"`{counting(diff)}`", ""]
    lines += [markdown.cell(issues.headline(diff.issues)), ""]
    return markdown.page([*lines, *markdown.fitting(parts(diff))])


def parts(diff: Diff) -> list[tuple[str, Sequence[str], Sequence[Sequence[str]], int]]:
    """The folded tables of a diff that are not empty."""
    found: list[tuple[str, Sequence[str], Sequence[Sequence[str]], int]] = []
    for title, rows in groups(diff):
        body = [
            [markdown.code(name), markdown.cell(_reason(cause, several)), signed(gain)]
            for name, gain, cause, several in rows
        ]
        found.append((title.capitalize(), ["path", "why", "bytes"], body, 1))
    if diff.packages:
        body = [
            [markdown.code(one.name), markdown.cell(one.before), markdown.cell(one.after)]
            for one in diff.packages
        ]
        found.append(("Packages", ["package", "before", "after"], body, 0))
    for title, findings in (("New attack surface", diff.findings_new), ("Attack surface gone", diff.findings_gone)):  # fmt: skip
        if findings:
            body = [[NAMES[one.kind], markdown.code(one.subject), markdown.cell(one.detail)]
                    for one in findings]  # fmt: skip
            found.append((title, ["what", "where", ""], body, 0))
    if diff.issues is not None:
        for title, some in (("New open issues", diff.issues.new), ("Issues no longer open", diff.issues.gone)):  # fmt: skip
            if some:
                body = [_cells(one) for one in some]
                found.append((title, ["issue", "source", ""], body, 0))
    return found


def _cells(one: OpenIssue) -> list[str]:
    return [markdown.cell(one.name), markdown.code(one.source), markdown.cell(issues.fix(one))]


def _reason(cause: str, several: Sequence[Difference]) -> str:
    edge = several[0].new_edge
    if edge is None:
        return _why(cause, several).strip("[]")
    return f"{cause}: {edge.by} -> {edge.path} ({edge.kind}: {edge.evidence})"


def as_json(diff: Diff) -> str:
    """Print a diff as a JSON object; sizes in bytes, keys sorted."""
    document = {
        "schema": SCHEMA,
        "before": _totals(diff.before.name, diff.before.totals),
        "after": _totals(diff.after.name, diff.after.totals),
        "counting": counting(diff),
        "differences": [_difference(one) for one in diff.differences],
        "packages": [
            {"name": one.name, "before": one.before, "after": one.after} for one in diff.packages
        ],
        "surface": {
            "new": [_finding(one) for one in diff.findings_new],
            "gone": [_finding(one) for one in diff.findings_gone],
        },
        "issues": issues.as_document(diff.issues),
    }
    return dump(document, sort=True)


def _totals(name: str, totals: object) -> dict[str, object]:
    from dataclasses import asdict

    return {"name": name, "totals": asdict(totals)}  # type: ignore[call-overload]


def _finding(one: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(one)  # type: ignore[call-overload,no-any-return]


def _difference(one: Difference) -> dict[str, object]:
    edge = one.new_edge
    return {
        "change": str(one.change),
        "path": one.path,
        "bytes": one.bytes,
        "cause": str(one.cause),
        "before": _row(one.before),
        "after": _row(one.after),
        "chain": [f"{need.by} -> {need.path} ({need.kind}: {need.evidence})" for need in one.chain],
        "new_edge": None
        if edge is None
        else {"from": edge.by, "to": edge.path, "kind": str(edge.kind), "evidence": edge.evidence},
    }


def _row(row: FileRow | None) -> dict[str, object] | None:
    if row is None:
        return None
    return {"path": row.path, "type": row.type, "mode": f"{row.mode:04o}", "size": row.size,
            "sha256": row.sha256, "package": row.package, "component": row.component}  # fmt: skip


def as_csv(diff: Diff) -> str:
    """One row for each difference; sizes in bytes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["change", "path", "bytes", "cause", "before", "after"])
    for one in diff.differences:
        old, new = one.before, one.after
        writer.writerow(
            [one.change, csv_text(one.path), one.bytes, one.cause,
             old.size if old else "", new.size if new else ""]
        )  # fmt: skip
    return out.getvalue()
