"""Commands that decide: check."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import image_options, partition_option
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    find_text_width,
    is_text_shown,
    output_options,
    write_formats,
)
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.footprint.budget_check import BudgetResult
    from minbuild.footprint.model import Footprint
    from minbuild.manifest.limits import Budget

NO_BASELINE = "no baseline: absolute rules only"
STANDALONE = "a footprint without its image: judged by what it says itself"


@click.command(cls=FormatOptionsCommand)
@click.argument("image", required=False, shell_complete=shell.complete_images)
@click.option("--budget", type=click.Path(path_type=Path, dir_okay=False),
              help="Budget file, or a manifest.  [default: the totals that the image's manifest allowed]")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Give a variable of that manifest another value; may be repeated.")  # fmt: skip
@click.option("--cell", default="", metavar="NAME", help="A combination of that manifest's matrix.")
@click.option(
    "--baseline",
    metavar="IMAGE",
    shell_complete=shell.complete_images,
    help="What growth is measured against: git:main.",
)
@click.option("--require-baseline", is_flag=True, help="Without a baseline, that is an error.")
@click.option("--proposed", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="The budget that a change makes of --budget: it is shown, and fails.")  # fmt: skip
@click.option("--proposed-baseline", metavar="FOOTPRINT", help="The footprint that a change "
              "commits in place of --baseline: it must be that of IMAGE.")  # fmt: skip
@click.option("--approved", is_flag=True, help="A person has approved --proposed: judge by it.")
@click.option("--update", is_flag=True, help="Write new limits of the totals, sections, "
              "components, packages and surface into the budget file.")  # fmt: skip
@click.option("--annotations", is_flag=True, help="Also print annotations for GitHub Actions.")
@partition_option
@image_options
@output_options("text", "md", "json", "junit", "sarif")
def check(
    image: str | None, budget: Path | None, settings: tuple[str, ...], cell: str,
    baseline: str | None, require_baseline: bool, update: bool, annotations: bool,
    proposed: Path | None, proposed_baseline: str | None, approved: bool, **targets: str | None,
) -> int:  # fmt: skip
    """Judge IMAGE by a budget: one line for each rule, then the verdict.

    Exits with 1 when a rule fails, and with 2 to 6 when no verdict is possible.
    """
    from minbuild.cli.footprints import open_footprint
    from minbuild.footprint.budget_check import has_passed
    from minbuild.report import budget_results
    from minbuild.roots.footprint import is_standalone

    if require_baseline and baseline is None:
        raise UsageError(
            "there is no baseline, and --require-baseline asks for one",
            fix="give one: --baseline git:main",
        )
    footprint = open_footprint(image)
    baseline_footprint = open_footprint(baseline) if baseline else None
    rules = _load_rules(budget, settings, cell) if budget is not None else None
    if update:
        return _update_budget(footprint, budget, rules)
    if approved and proposed is None:
        raise UsageError("--approved needs a budget that was approved", fix="name it: --proposed")
    change = _ProposedChange(proposed, proposed_baseline, approved)
    results = _check_with_change(footprint, rules, baseline_footprint, change, settings, cell)
    notes = [] if baseline_footprint is not None else [NO_BASELINE]
    notes += [STANDALONE] if image is not None and is_standalone(image) else []
    write_formats(
        {
            "text": lambda: budget_results.render_results(results, notes, find_text_width(targets)),
            "md": lambda: budget_results.render_results_markdown(
                results, notes, _compare_with_baseline(baseline_footprint, footprint)
            ),
            "json": lambda: budget_results.render_results_json(results, notes),
            "junit": lambda: budget_results.render_results_junit(results),
            "sarif": lambda: budget_results.render_results_sarif(results),
        },
        targets,
    )
    if not is_text_shown(targets):
        click.echo(budget_results.summarize_in_line(results), err=True)
    if annotations:
        click.echo(budget_results.render_annotations(results), nl=False)
    return 0 if has_passed(results) else 1


@dataclass(frozen=True, slots=True)
class _ProposedChange:
    """What a change proposes for the gate itself."""

    budget: Path | None
    baseline: str | None
    approved: bool


def _check_with_change(
    footprint: "Footprint", rules: "Budget | None", baseline: "Footprint | None", change: _ProposedChange,
    settings: tuple[str, ...], cell: str,
) -> "tuple[BudgetResult, ...]":  # fmt: skip
    """The image's results, and those of what a change makes of the gate."""
    from minbuild.cli.footprints import open_footprint
    from minbuild.footprint.budget_change import check_baseline_change, check_budget_change

    change_results = []
    if change.budget is not None:
        if rules is None:
            raise UsageError("--proposed needs the budget that it changes", fix="give --budget")
        is_present = change.budget.exists()
        new_rules = _load_rules(change.budget, settings, cell) if is_present else None
        change_results.append(check_budget_change(rules, new_rules, approved=change.approved))
        rules = new_rules if change.approved and new_rules is not None else rules
    if change.baseline is not None:
        change_results.append(
            check_baseline_change(baseline, open_footprint(change.baseline), footprint)
        )
    return (*_check_image(footprint, rules, baseline), *change_results)


def _check_image(
    footprint: "Footprint", rules: "Budget | None", baseline: "Footprint | None"
) -> "tuple[BudgetResult, ...]":
    from datetime import UTC, datetime

    from minbuild.footprint.budget_check import check_budget, check_embedded_limits

    if rules is not None:
        today = datetime.now(UTC).date()
        return check_budget(footprint, rules, baseline=baseline, today=today)
    results = check_embedded_limits(footprint)
    if not results:
        raise UsageError(
            "there is nothing to judge by: the footprint holds no budget",
            fix="name a budget file (--budget budget.yaml), or set budget: in the manifest",
        )
    return results


def _load_rules(budget: Path, settings: tuple[str, ...], cell: str) -> "Budget":
    """The rules of a budget file, or those of a manifest and all it extends."""
    from minbuild.manifest.budget_document import is_manifest_document, load_budget
    from minbuild.manifest.shipped_manifests import find_shipped

    if not budget.exists():
        budget = find_shipped(str(budget)) or budget
    if budget.is_fifo() or not is_manifest_document(budget):
        return load_budget(budget)
    from minbuild.cli.options import make_trust, parse_settings
    from minbuild.manifest.loader import read_manifest

    return read_manifest(
        budget, settings=parse_settings(settings), components=(), variant=cell, trust=make_trust()
    ).budget


def _update_budget(footprint: "Footprint", budget: Path | None, rules: "Budget | None") -> int:
    from datetime import UTC, datetime

    from minbuild.footprint.budget_check import check_budget
    from minbuild.manifest.budget_document import rewrite_limits
    from minbuild.manifest.input_files import display_path

    if budget is None or rules is None:
        raise UsageError("--update needs a budget file", fix="name one: --budget budget.yaml")
    results = check_budget(footprint, rules, baseline=None, today=datetime.now(UTC).date())
    new_values = {
        one.limit: max(one.actual, 0)
        for one in sorted(results, key=lambda one: one.actual)
        if one.limit is not None
        and not one.rule.startswith("shrink")
        and one.limit.value != one.actual
    }
    own_limits = [
        (limit, new)
        for limit, new in new_values.items()
        if limit.where.file == display_path(budget)
    ]
    text, changed = rewrite_limits(budget.read_text(encoding="utf-8"), own_limits)
    write_formats({"text": lambda: text}, {"out_text": str(budget)}, announce=False)
    for limit in changed:
        click.echo(f"{limit.where}: {limit.value:,} -> {new_values[limit]:,}")
    unchanged = [str(limit.where) for limit in new_values if limit not in changed]
    note = f"; left, being templates or of other files: {', '.join(unchanged)}" if unchanged else ""
    click.echo(f"{len(changed)} limits changed in {budget}{note}", err=True)
    return 0


def _compare_with_baseline(
    baseline: "Footprint | None", after: "Footprint"
) -> "FootprintDiff | None":
    from minbuild.footprint.comparison import compare_footprints

    return compare_footprints(baseline, after) if baseline is not None else None


if TYPE_CHECKING:
    from minbuild.footprint.comparison import FootprintDiff

COMMANDS = (check,)
