"""Commands that check an image against a budget, and any root for unmet needs: check, check-tree."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from minbuild.cli.console import print_message
from minbuild.cli.footprints import get_image_choice, open_footprint
from minbuild.cli.options import (
    complete,
    image_options,
    partition_option,
    store_option,
    variant_option,
)
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    FormatTargets,
    find_text_width,
    is_text_shown,
    output_options,
    write_formats,
    write_text,
)
from minbuild.cli.requests import make_trust, open_session, parse_settings
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.footprint.budget_change import check_baseline_change, check_budget_change
from minbuild.footprint.budget_check import check_budget, check_embedded_limits, has_passed
from minbuild.footprint.budget_result import BudgetResult
from minbuild.footprint.comparison import compare_footprints
from minbuild.footprint.model import Footprint
from minbuild.manifest.budget_document import is_manifest_document, load_budget, rewrite_limits
from minbuild.manifest.input_files import display_path
from minbuild.manifest.limits import Budget
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import find_manifest, find_shipped
from minbuild.pipeline.installed_root import check_root
from minbuild.report.budget_results import render_annotations, summarize_in_line
from minbuild.report.formats import CHECK_FORMATS, CheckReport, list_check_renderers
from minbuild.report.needs import render_root_check, render_root_check_json
from minbuild.resolve.closed_world import split_by_severity
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy
from minbuild.roots.footprint import is_standalone

NO_BASELINE = "no baseline: absolute rules only"
STANDALONE = "a footprint without its image: judged by what it says itself"


@click.command(cls=FormatOptionsCommand)
@click.argument("image", required=False, shell_complete=complete("images"))
@click.option("--budget", type=click.Path(path_type=Path, dir_okay=False),
              help="Budget file, or a manifest.  [default: the limits of the image's manifest]")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Set a variable of that manifest; may be repeated.")  # fmt: skip
@variant_option("Check against the budget of one variant of that manifest's matrix.")
@click.option(
    "--baseline",
    metavar="IMAGE",
    shell_complete=complete("images"),
    help="Image that growth is measured against: git:main.",
)
@click.option("--require-baseline", is_flag=True, help="Fail without a baseline.")
@click.option("--proposed", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Budget that a change proposes in place of --budget; fails unless --approved.")  # fmt: skip
@click.option("--proposed-baseline", metavar="FOOTPRINT", help="Footprint that a change "
              "commits in place of --baseline; must be that of IMAGE.")  # fmt: skip
@click.option("--approved", is_flag=True, help="A person has approved --proposed: use it.")
@click.option("--update", is_flag=True, help="Write new limits of the totals, sections, "
              "components, packages and surface into the budget file.")  # fmt: skip
@click.option("--annotations", is_flag=True, help="Also print annotations for GitHub Actions.")
@partition_option
@image_options
@output_options(*CHECK_FORMATS)
def check(
    image: str | None, budget: Path | None, settings: tuple[str, ...], variant: str,
    baseline: str | None, require_baseline: bool, update: bool, annotations: bool,
    proposed: Path | None, proposed_baseline: str | None, approved: bool, targets: FormatTargets,
) -> int:  # fmt: skip
    """Check IMAGE against a budget: one line for each rule, then the verdict.

    Exits with 1 when a rule fails, and with 2 to 6 when no verdict is possible.
    """
    if require_baseline and baseline is None:
        raise UsageError("--require-baseline needs a baseline", fix="give one: --baseline git:main")
    footprint = open_footprint(image)
    baseline_footprint = open_footprint(baseline) if baseline else None
    source = _BudgetSource(settings, variant)
    rules = source.load(budget) if budget is not None else None
    if update:
        return _update_budget(footprint, budget, rules)
    if approved and proposed is None:
        raise UsageError("--approved needs a budget that was approved", fix="name it: --proposed")
    change = _ProposedChange(proposed, proposed_baseline, approved)
    results = _check_with_change(footprint, rules, baseline_footprint, change, source)
    notes = [] if baseline_footprint is not None else [NO_BASELINE]
    notes += [STANDALONE] if image is not None and is_standalone(image) else []
    diff = (
        compare_footprints(baseline_footprint, footprint)
        if baseline_footprint is not None
        else None
    )
    report = CheckReport(results, notes, diff, find_text_width(targets))
    write_formats(list_check_renderers(report), targets)
    if not is_text_shown(targets):
        summary = summarize_in_line(results)
        if has_passed(results):
            print_message(summary)
        else:  # an error, which -q shows
            click.echo(summary, err=True)
    if annotations:
        click.echo(render_annotations(results), nl=False)
    return 0 if has_passed(results) else 1


@dataclass(frozen=True, slots=True)
class _BudgetSource:
    """The settings and the variant with which a manifest is read for its budget."""

    settings: tuple[str, ...]
    variant: str

    def load(self, budget: Path) -> Budget:
        """The rules of a budget file, or those of a manifest and all it extends."""
        if not budget.exists():
            budget = find_shipped(str(budget)) or budget
        if budget.is_fifo() or not is_manifest_document(budget):
            return load_budget(budget)
        return read_manifest(
            budget,
            settings=parse_settings(self.settings),
            components=(),
            variant=self.variant,
            trust=make_trust(),
        ).budget


@dataclass(frozen=True, slots=True)
class _ProposedChange:
    """What a change proposes: another budget, another baseline, and whether a person approved it."""

    budget: Path | None
    baseline: str | None
    approved: bool


def _check_with_change(
    footprint: Footprint,
    rules: Budget | None,
    baseline: Footprint | None,
    change: _ProposedChange,
    source: _BudgetSource,
) -> tuple[BudgetResult, ...]:
    """The image's results, and those of the proposed budget and baseline."""
    change_results = []
    if change.budget is not None:
        if rules is None:
            raise UsageError("--proposed needs the budget that it changes", fix="give --budget")
        new_rules = source.load(change.budget) if change.budget.exists() else None
        change_results.append(check_budget_change(rules, new_rules, approved=change.approved))
        rules = new_rules if change.approved and new_rules is not None else rules
    if change.baseline is not None:
        change_results.append(
            check_baseline_change(baseline, open_footprint(change.baseline), footprint)
        )
    return (*_check_image(footprint, rules, baseline), *change_results)


def _check_image(
    footprint: Footprint, rules: Budget | None, baseline: Footprint | None
) -> tuple[BudgetResult, ...]:
    if rules is not None:
        today = datetime.now(UTC).date()
        return check_budget(footprint, rules, baseline=baseline, today=today)
    results = check_embedded_limits(footprint)
    if not results:
        raise UsageError(
            "no budget to check against: the footprint has none",
            fix="give a budget file (--budget budget.yaml), or set budget: in the manifest",
        )
    return results


def _update_budget(footprint: Footprint, budget: Path | None, rules: Budget | None) -> int:
    """Write the footprint's figures as limits into a budget file."""
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
    write_text(budget, text, announce=False)
    for limit in changed:
        click.echo(f"{limit.where}: {limit.value:,} -> {new_values[limit]:,}")
    unchanged = [str(limit.where) for limit in new_values if limit not in changed]
    note = f"; left, being templates or of other files: {', '.join(unchanged)}" if unchanged else ""
    print_message(f"{len(changed)} limits changed in {budget}{note}")
    return 0


@click.command("check-tree", cls=FormatOptionsCommand)
@click.argument("root", metavar="DIR|IMAGE", type=click.Path(path_type=Path))
@click.option("--arch", default="", help="Debian architecture.  [default: that of most programs]")
@click.option("--waivers", "manifest", metavar="MANIFEST", shell_complete=complete("manifests"),
              help="Skip what drop and allow-missing of this manifest waive.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with 1 for weak findings, too.")
@output_options("text", "json")
@partition_option
@image_options
@store_option
def check_tree(root: Path, arch: str, manifest: str | None, strict: bool,
               store: Path | None, targets: FormatTargets) -> int:  # fmt: skip
    """Check that a root needs nothing outside of it, and list unmet needs.

    DIR|IMAGE is any root, built by minbuild or not: a directory, a tar archive, a container image
    (docker save, OCI layout), a UKI, a disk (the UKI that it starts, or its root), an initramfs, a
    build directory (its image). Exits with 1 when an unmet need keeps a program, a
    kernel module, or a script or link in a directory of PATH from starting. The others are weak:
    plug-ins that no program here loads, scripts and links elsewhere, firmware.
    """
    terminal = Terminal()
    container_choice = replace(get_image_choice(), arch=arch)
    root_check = check_root(
        root,
        open_session(store, terminal),
        arch=arch,
        choice=container_choice,
        policy=_load_policy(manifest),
    )
    terminal.finish()
    write_formats(
        {
            "text": lambda: render_root_check(root_check, strict=strict),
            "json": lambda: render_root_check_json(root_check, strict=strict),
        },
        targets,
    )
    strong, _ = split_by_severity(root_check, strict=strict)
    return 1 if strong else 0


def _load_policy(manifest: str | None) -> ResolvePolicy:
    if manifest is None:
        return DEFAULT_POLICY
    loaded = read_manifest(find_manifest(manifest), settings={}, components=[], trust=make_trust())
    return ResolvePolicy(loaded.drop, loaded.allow_missing)
