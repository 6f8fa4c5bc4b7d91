"""Commands that decide: check."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import image_options, partition_option
from minbuild.cli.outputs import Outputting, is_told, output_options, room, write
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.footprint.gate import Result
    from minbuild.footprint.types import Footprint
    from minbuild.manifest.limits import Budget

NO_BASELINE = "no baseline: absolute rules only"
ALONE = "a footprint without its image: judged by what it says itself"


@click.command(cls=Outputting)
@click.argument("image", required=False, shell_complete=shell.images)
@click.option("--budget", type=click.Path(path_type=Path, dir_okay=False),
              help="Budget file, or a manifest.  [default: the totals that the image's manifest allowed]")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Give a variable of that manifest another value; may be repeated.")  # fmt: skip
@click.option("--cell", default="", metavar="NAME", help="A combination of that manifest's matrix.")
@click.option(
    "--baseline",
    metavar="IMAGE",
    shell_complete=shell.images,
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
    proposed: Path | None, proposed_baseline: str | None, approved: bool, **given: str | None,
) -> int:  # fmt: skip
    """Judge IMAGE by a budget: one line for each rule, then the verdict.

    Exits with 1 when a rule fails, and with 2 to 6 when no verdict is possible.
    """
    from minbuild.cli.inspect import subject
    from minbuild.footprint.gate import passed
    from minbuild.report import junit, sarif, verdict
    from minbuild.subject.open import is_alone

    if require_baseline and baseline is None:
        raise UsageError(
            "there is no baseline, and --require-baseline asks for one",
            fix="give one: --baseline git:main",
        )
    footprint = subject(image)
    before = subject(baseline) if baseline else None
    rules = _load(budget, settings, cell) if budget is not None else None
    if update:
        return _update(footprint, budget, rules)
    if approved and proposed is None:
        raise UsageError("--approved needs a budget that was approved", fix="name it: --proposed")
    change = _Change(proposed, proposed_baseline, approved)
    results = _judged_change(footprint, rules, before, change, settings, cell)
    notes = [] if before is not None else [NO_BASELINE]
    notes += [ALONE] if image is not None and is_alone(image) else []
    write(
        {
            "text": lambda: verdict.as_text(results, notes, room(given)),
            "md": lambda: verdict.as_markdown(results, notes, _diff(before, footprint)),
            "json": lambda: verdict.as_json(results, notes),
            "junit": lambda: junit.junit(results),
            "sarif": lambda: sarif.sarif(results),
        },
        given,
    )
    if not is_told(given):
        click.echo(verdict.line(results), err=True)
    if annotations:
        click.echo(verdict.annotations(results), nl=False)
    return 0 if passed(results) else 1


@dataclass(frozen=True, slots=True)
class _Change:
    """What a change proposes for the gate itself."""

    budget: Path | None
    baseline: str | None
    approved: bool


def _judged_change(
    footprint: "Footprint", rules: "Budget | None", before: "Footprint | None", change: _Change,
    settings: tuple[str, ...], cell: str,
) -> "tuple[Result, ...]":  # fmt: skip
    """The image's results, and those of what a change makes of the gate."""
    from minbuild.cli.inspect import subject
    from minbuild.footprint.proposed import judge_baseline, judge_budget

    more = []
    if change.budget is not None:
        if rules is None:
            raise UsageError("--proposed needs the budget that it changes", fix="give --budget")
        there = change.budget.exists()
        new = _load(change.budget, settings, cell) if there else None
        more.append(judge_budget(rules, new, approved=change.approved))
        rules = new if change.approved and new is not None else rules
    if change.baseline is not None:
        more.append(judge_baseline(before, subject(change.baseline), footprint))
    return (*_judge(footprint, rules, before), *more)


def _judge(
    footprint: "Footprint", rules: "Budget | None", before: "Footprint | None"
) -> "tuple[Result, ...]":
    from datetime import UTC, datetime

    from minbuild.footprint.gate import judge, judge_embedded

    if rules is not None:
        today = datetime.now(UTC).date()
        return judge(footprint, rules, baseline=before, today=today)
    results = judge_embedded(footprint)
    if not results:
        raise UsageError(
            "there is nothing to judge by: the footprint holds no budget",
            fix="name a budget file (--budget budget.yaml), or set budget: in the manifest",
        )
    return results


def _load(budget: Path, settings: tuple[str, ...], cell: str) -> "Budget":
    """The rules of a budget file, or those of a manifest and all it extends."""
    from minbuild.manifest.budget import is_manifest, load_budget
    from minbuild.manifest.find import shipped_manifest

    if not budget.exists():
        budget = shipped_manifest(str(budget)) or budget
    if budget.is_fifo() or not is_manifest(budget):
        return load_budget(budget)
    from minbuild.cli.options import pairs, trust_of
    from minbuild.manifest.load import load

    return load(budget, settings=pairs(settings), components=(), cell=cell, trust=trust_of()).budget


def _update(footprint: "Footprint", budget: Path | None, rules: "Budget | None") -> int:
    from datetime import UTC, datetime

    from minbuild.footprint.gate import judge
    from minbuild.manifest.budget import rewrite
    from minbuild.manifest.inputs import shown

    if budget is None or rules is None:
        raise UsageError("--update needs a budget file", fix="name one: --budget budget.yaml")
    results = judge(footprint, rules, baseline=None, today=datetime.now(UTC).date())
    wanted = {
        one.limit: max(one.actual, 0)
        for one in sorted(results, key=lambda one: one.actual)
        if one.limit is not None
        and not one.rule.startswith("shrink")
        and one.limit.value != one.actual
    }
    here = [(limit, new) for limit, new in wanted.items() if limit.where.file == shown(budget)]
    text, done = rewrite(budget.read_text(encoding="utf-8"), here)
    write({"text": lambda: text}, {"out_text": str(budget)}, tell=False)
    for limit in done:
        click.echo(f"{limit.where}: {limit.value:,} -> {wanted[limit]:,}")
    left = [str(limit.where) for limit in wanted if limit not in done]
    more = f"; left, being templates or of other files: {', '.join(left)}" if left else ""
    click.echo(f"{len(done)} limits changed in {budget}{more}", err=True)
    return 0


def _diff(before: "Footprint | None", after: "Footprint") -> "Diff | None":
    from minbuild.footprint.diff import compare

    return compare(before, after) if before is not None else None


if TYPE_CHECKING:
    from minbuild.footprint.diff import Diff

COMMANDS = (check,)
