"""Registry of report formats: help text, file endings and renderers of each.

A new format is one row of `FORMATS`. The commands `report`, `diff` and `check` then offer it as
an option wherever the row has a renderer for them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from minbuild.lazy_import import import_lazily

if TYPE_CHECKING:
    from minbuild.archive.lockfile import LockChange
    from minbuild.footprint import budget_check, document
    from minbuild.footprint.budget_result import BudgetResult
    from minbuild.footprint.comparison import FootprintDiff, IssueChanges
    from minbuild.footprint.model import Footprint
    from minbuild.report import budget_results, diff, footprint_formats, html, lock_diff, text
else:  # a command writes few of the formats, and a build that changes nothing only text
    budget_check, document = import_lazily("minbuild.footprint", "budget_check", "document")
    budget_results, diff, footprint_formats, html, lock_diff, text = import_lazily(
        "minbuild.report",
        "budget_results",
        "diff",
        "footprint_formats",
        "html",
        "lock_diff",
        "text",
    )


@dataclass(frozen=True, slots=True)
class FootprintReport:
    """What `minbuild report` shows: one footprint, and how its table is summed, sorted and cut."""

    footprint: "Footprint"
    baseline: "Footprint | None" = None
    """What an HTML page shows changes against."""
    by: str = "section"
    sort: str = ""
    """"" for the order that fits `by`."""
    top: int = 0
    """Rows of a long table; 0 for all."""
    width: int = 0
    """Columns of the terminal that text goes to; 0 for no limit."""


@dataclass(frozen=True, slots=True)
class DiffReport:
    """What `minbuild diff` shows of two footprints."""

    diff: "FootprintDiff"
    top: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True)
class LockDiffReport:
    """What `minbuild diff` shows of two locks."""

    changes: "Sequence[LockChange]"
    issues: "IssueChanges | None"
    """None without security data."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `minbuild check` shows: a result for each rule of a budget."""

    results: "Sequence[BudgetResult]"
    notes: Sequence[str] = ()
    diff: "FootprintDiff | None" = None
    """What changed since the baseline; None without one."""
    width: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """One format. A renderer that is None: that command does not offer the format."""

    help: str
    """What the option `--NAME` writes."""
    endings: tuple[str, ...]
    """How files of the format usually end; no input of a command ends so, except `.json`."""
    footprint: Callable[[FootprintReport], str] | None = None
    diff: Callable[[DiffReport], str] | None = None
    lock_diff: Callable[[LockDiffReport], str] | None = None
    check: Callable[[CheckReport], str] | None = None


FORMATS: Mapping[str, ReportFormat] = {
    "text": ReportFormat(
        help="a page for a terminal",
        endings=(".txt", ".text", ".log"),
        footprint=lambda report: text.render_text(
            report.footprint,
            top=report.top,
            by=report.by,
            sort=report.sort,
            full=True,
            width=report.width,
        ),
        diff=lambda report: diff.render_diff(report.diff, top=report.top, width=report.width),
        lock_diff=lambda report: lock_diff.render_lock_diff(report.changes, report.issues),
        check=lambda report: budget_results.render_results(
            report.results, report.notes, report.width
        ),
    ),
    "md": ReportFormat(
        help="Markdown for a pull request",
        endings=(".md", ".markdown"),
        footprint=lambda report: footprint_formats.render_markdown(
            report.footprint, by=report.by, sort=report.sort, top=report.top
        ),
        diff=lambda report: diff.render_diff_markdown(report.diff),
        lock_diff=lambda report: lock_diff.render_lock_diff_markdown(report.changes, report.issues),
        check=lambda report: budget_results.render_results_markdown(
            report.results, report.notes, report.diff
        ),
    ),
    "json": ReportFormat(
        help="JSON",
        endings=(".json",),
        footprint=lambda report: document.render_footprint(report.footprint),
        diff=lambda report: diff.render_diff_json(report.diff),
        lock_diff=lambda report: lock_diff.render_lock_diff_json(report.changes, report.issues),
        check=lambda report: budget_results.render_results_json(report.results, report.notes),
    ),
    "csv": ReportFormat(
        help="CSV",
        endings=(".csv",),
        footprint=lambda report: footprint_formats.render_csv(
            report.footprint, by=report.by, sort=report.sort, top=report.top
        ),
        diff=lambda report: diff.render_diff_csv(report.diff),
        lock_diff=lambda report: lock_diff.render_lock_diff_csv(report.changes),
    ),
    "html": ReportFormat(
        help="one HTML file",
        endings=(".html", ".htm"),
        footprint=lambda report: html.render_html(report.footprint, report.baseline),
        diff=lambda report: html.render_html(report.diff.after, report.diff.before),
    ),
    "junit": ReportFormat(
        help="JUnit XML",
        endings=(".xml",),
        footprint=lambda report: budget_results.render_results_junit(
            budget_check.check_embedded_limits(report.footprint)
        ),
        check=lambda report: budget_results.render_results_junit(report.results),
    ),
    "sarif": ReportFormat(
        help="SARIF",
        endings=(".sarif", ".json"),
        footprint=lambda report: budget_results.render_results_sarif(
            budget_check.check_embedded_limits(report.footprint)
        ),
        check=lambda report: budget_results.render_results_sarif(report.results),
    ),
    "dot": ReportFormat(
        help="a Graphviz graph",
        endings=(".dot", ".gv"),
        footprint=lambda report: footprint_formats.render_dot(report.footprint),
    ),
}
"""Name of a format, which is that of its option → the format; in the order of the help."""

FOOTPRINT_FORMATS = tuple(name for name, row in FORMATS.items() if row.footprint is not None)
DIFF_FORMATS = tuple(name for name, row in FORMATS.items() if row.diff is not None)
CHECK_FORMATS = tuple(name for name, row in FORMATS.items() if row.check is not None)


def list_footprint_renderers(report: FootprintReport) -> dict[str, Callable[[], str]]:
    """Each format in which a footprint can be written, and its renderer."""
    return {
        name: partial(row.footprint, report)
        for name, row in FORMATS.items()
        if row.footprint is not None
    }


def list_diff_renderers(report: DiffReport | LockDiffReport) -> dict[str, Callable[[], str]]:
    """Each format in which a diff can be written, and its renderer."""
    if isinstance(report, LockDiffReport):
        return {
            name: partial(row.lock_diff, report)
            for name, row in FORMATS.items()
            if row.lock_diff is not None
        }
    return {
        name: partial(row.diff, report) for name, row in FORMATS.items() if row.diff is not None
    }


def list_check_renderers(report: CheckReport) -> dict[str, Callable[[], str]]:
    """Each format in which the results of a check can be written, and its renderer."""
    return {
        name: partial(row.check, report) for name, row in FORMATS.items() if row.check is not None
    }
