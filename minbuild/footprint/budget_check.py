"""Check of a footprint against a budget: one result for each rule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from fnmatch import fnmatchcase

from minbuild.footprint.budget_result import BudgetResult, RuleState, check_maximum
from minbuild.footprint.kernel_budget import check_kernel_budget
from minbuild.footprint.model import UNOWNED, FindingKind, Footprint, OwnerRow, Surface, Totals
from minbuild.manifest.document.nodes import Location
from minbuild.manifest.limits import (
    AllowedFindings,
    Budget,
    BudgetWaiver,
    Limit,
    Limits,
    OwnerLimits,
    list_limits,
)
from minbuild.manifest.model import Manifest
from minbuild.paths import to_root_path

MAX_WAIVER = timedelta(days=366)


def check_budget(
    footprint: Footprint, budget: Budget, *, baseline: Footprint | None, today: date
) -> tuple[BudgetResult, ...]:
    """Check every rule of a budget, in the file's order; growth only against a baseline."""
    results = [
        *_check_absolute_rules(footprint, budget),
        *_check_relative_rules(footprint, budget, baseline),
    ]
    return tuple(_apply_waivers(results, budget.waivers, today))


def check_embedded_limits(footprint: Footprint) -> tuple[BudgetResult, ...]:
    """Check the limits of the manifest that the footprint contains."""
    totals = footprint.totals
    actual = {"files": totals.files, "bytes": totals.bytes, "packed": totals.packed}
    return tuple(
        check_maximum(
            f"budget.{name}",
            actual[name],
            limit,
            None,
            "use less, or raise the limit",
            where=_parse_location(footprint.budget_locations.get(name, ""), name),
        )
        for name, limit in footprint.budget.items()
        if name in actual
    )


def check_manifest_limits(manifest: Manifest, totals: Totals) -> tuple[BudgetResult, ...]:
    """Check totals against the limits of their manifest.

    A limit of packed bytes is skipped when the image is not compressed as the manifest says.
    """
    actual = {"files": totals.files, "bytes": totals.bytes, "packed": totals.packed}
    limits = list_limits(manifest.budget.totals)
    results = {
        name: check_maximum(f"budget.{name}", actual[name], limits[name].value, limits[name], "")
        for name in actual
        if name in limits
    }
    image = manifest.image
    if image.overridden_compression is not None and "packed" in results:
        message = f"it is for {image.overridden_compression}, and this is {image.compression}"
        results["packed"] = replace(results["packed"], state=RuleState.SKIPPED, message=message)
    return tuple(results.values())


def _parse_location(text: str, name: str) -> Location | None:
    """Parse a location as a footprint has it: host.yaml:30:10."""
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    return Location(parts[0], int(parts[1]), int(parts[2]), f"budget.{name}")


def has_passed(results: Sequence[BudgetResult]) -> bool:
    """Tell whether no rule failed."""
    return all(result.state is not RuleState.FAILED for result in results)


def _check_absolute_rules(footprint: Footprint, budget: Budget) -> Iterator[BudgetResult]:
    yield from _check_limits("totals", _make_totals_row(footprint.totals), budget.totals)
    yield from _check_slack(footprint.totals, budget)
    tables = {
        "sections": (budget.sections, footprint.sections),
        "components": (budget.components, footprint.components),
        "packages": (
            budget.packages,
            tuple(OwnerRow(r.name, r.files, r.bytes, r.packed) for r in footprint.packages),
        ),
    }
    for title, (rules, rows) in tables.items():
        yield from _check_owner_limits(title, rules, rows)
    yield from _check_partitions(footprint, budget)
    yield from _check_surface(footprint, budget)
    yield from _check_denied(footprint, budget)
    yield from check_kernel_budget(footprint.kernel_options, budget.kernel)
    if budget.unowned is not None:
        count = sum(r.component == UNOWNED and r.type == "file" for r in footprint.files)
        fix = "name in a manifest what needs these files, or build the image with minbuild"
        yield check_maximum("unowned", count, budget.unowned.value, budget.unowned, fix)


def _make_totals_row(totals: Totals) -> OwnerRow:
    return OwnerRow("totals", totals.files, totals.bytes, totals.packed)


def _check_limits(title: str, row: OwnerRow, limits: Limits) -> Iterator[BudgetResult]:
    fix = f"minbuild report --by file shows what weighs most in {title}; use less, or raise it"
    for name in ("files", "bytes", "packed"):
        limit: Limit | None = getattr(limits, name)
        if limit is not None:
            yield check_maximum(f"{title}.{name}", getattr(row, name), limit.value, limit, fix)


def _check_slack(totals: Totals, budget: Budget) -> Iterator[BudgetResult]:
    """Fail when a limit is far above the figure: it would not stop any growth."""
    percent = budget.shrink.value if budget.shrink else 0
    if not percent:
        return
    for name in ("files", "bytes", "packed"):
        limit: Limit | None = getattr(budget.totals, name)
        actual: int = getattr(totals, name)
        if limit is not None:
            low = limit.value * (100 - percent) // 100
            state = RuleState.PASSED if actual >= low else RuleState.FAILED
            message = f"{actual:,}, {percent} % below the limit is {low:,}"
            fix = "write the new limits: minbuild check IMAGE --budget FILE --update"
            yield BudgetResult(f"shrink.{name}", state, message, fix, limit.where, limit, actual)


def _check_owner_limits(
    title: str, owner_rules: Sequence[OwnerLimits], rows: Sequence[OwnerRow]
) -> Iterator[BudgetResult]:
    limits_by_owner = {rule.name: rule.limits for rule in owner_rules}
    names = {row.name for row in rows}
    for row in rows:
        limits = limits_by_owner.get(row.name, limits_by_owner.get("*"))
        if limits is not None and row.name:
            yield from _check_limits(f"{title}.{row.name}", row, limits)
    for rule in owner_rules:
        if rule.name not in names and rule.name != "*":
            message = "it is not in the image"
            yield BudgetResult(
                f"{title}.{rule.name}", RuleState.PASSED, message, "remove the rule", rule.where
            )


def _check_partitions(footprint: Footprint, budget: Budget) -> Iterator[BudgetResult]:
    for rule in budget.partitions:
        partition = rule.partition
        free = partition.size.value * (100 - partition.reserve) // 100
        needed = footprint.totals.packed * partition.slots
        fix = "make the partition larger, keep fewer copies, or make the image smaller"
        yield check_maximum(f"partitions.{rule.name}", needed, free, None, fix, where=rule.where)


def _check_surface(footprint: Footprint, budget: Budget) -> Iterator[BudgetResult]:
    for surface_rule in budget.surface:
        rule, kind = f"surface.{surface_rule.kind}", FindingKind(surface_rule.kind)
        surface = footprint.surface
        if surface is None or kind in surface.unknown:
            message = "not evaluated: this source does not say it"
            yield BudgetResult(
                rule, RuleState.FAILED, message, "check the build directory", surface_rule.where
            )
        elif kind is FindingKind.LISTENER and not surface.in_lab:
            message = "not evaluated: no boot was watched for ports"
            yield BudgetResult(
                rule, RuleState.FAILED, message, "boot it first: minbuild boot", surface_rule.where
            )
        elif isinstance(surface_rule.allowed, AllowedFindings):
            yield from _check_allowed(rule, surface, kind, surface_rule.allowed)
        else:
            fix = f"minbuild report names each {surface_rule.kind}; remove it, or allow one more"
            yield check_maximum(
                rule, surface.count(kind), surface_rule.allowed.value, surface_rule.allowed, fix
            )


def _check_allowed(
    rule: str, surface: Surface, kind: FindingKind, allowed: AllowedFindings
) -> Iterator[BudgetResult]:
    """One result for each finding that the list does not name, or one for all."""
    subjects = sorted({one.subject for one in surface.findings if one.kind is kind})
    globs = [name.text for name in allowed.subjects]
    unlisted = [one for one in subjects if not any(fnmatchcase(one, glob) for glob in globs)]
    for subject in unlisted:
        fix = f"take it out of the image, or name it: surface: {{{kind}: [{subject}, …]}}"
        yield BudgetResult(
            f"{rule} {subject}", RuleState.FAILED, "it is not in the list", fix, allowed.where
        )
    if not unlisted:
        message = f"{len(subjects)} found, each in the list"
        yield BudgetResult(rule, RuleState.PASSED, message, "", allowed.where)


def _check_denied(footprint: Footprint, budget: Budget) -> Iterator[BudgetResult]:
    names: Mapping[str, Sequence[str]] = {
        "paths": [row.path for row in footprint.files],
        "packages": [row.name for row in footprint.packages if row.name and row.files],
        "components": [row.name for row in footprint.components if row.files],
    }
    for title, row_names in names.items():
        for glob in getattr(budget.deny, title):
            matches = [name for name in row_names if _is_denied(name, glob.text, title)]
            suffix = f" and {len(matches) - 3} more" if len(matches) > 3 else ""
            message = f"found {', '.join(matches[:3])}{suffix}" if matches else "none"
            state = RuleState.FAILED if matches else RuleState.PASSED
            fix = f"see why it is there: minbuild why {matches[0]}" if matches else ""
            yield BudgetResult(f"deny.{title} {glob.text}", state, message, fix, glob.where)


def _is_denied(name: str, glob: str, title: str) -> bool:
    """Tell whether a name is denied; of a root whose /bin is a directory also as /usr/bin has it."""
    if fnmatchcase(name, glob):
        return True
    return title == "paths" and fnmatchcase(to_root_path(name), to_root_path(glob))


def _check_relative_rules(
    footprint: Footprint, budget: Budget, baseline: Footprint | None
) -> Iterator[BudgetResult]:
    for growth_rule in budget.growth:
        rule, step = f"growth.{growth_rule.measure}", growth_rule.step
        if baseline is None:
            yield BudgetResult(
                rule, RuleState.SKIPPED, "no baseline", "give one: --baseline X", growth_rule.where
            )
            continue
        before: int = getattr(baseline.totals, growth_rule.measure)
        growth: int = getattr(footprint.totals, growth_rule.measure) - before
        too_much = growth > step.bytes.value and growth * 100 > step.percent * before
        message = f"{growth:+,} against {before:,}; fails above +{step.bytes.value:,} and +{step.percent} %"
        fix = "minbuild diff BASELINE IMAGE says what grew and why"
        state = RuleState.FAILED if too_much else RuleState.PASSED
        yield BudgetResult(rule, state, message, fix, growth_rule.where, actual=growth)
    allowed = budget.new_components
    if allowed is None or allowed.value:
        return
    if baseline is None:
        fix = "give one: --baseline X"
        yield BudgetResult("new-components", RuleState.SKIPPED, "no baseline", fix, allowed.where)
        return
    new_names = sorted(
        {row.name for row in footprint.components} - {row.name for row in baseline.components}
    )
    for name in new_names:
        yield BudgetResult(f"new-components {name}", RuleState.FAILED, "the baseline has it not",
                     "take it out of the manifest, or commit the new baseline", allowed.where)  # fmt: skip
    if not new_names:
        yield BudgetResult("new-components", RuleState.PASSED, "none", "", allowed.where)


def _apply_waivers(
    results: Sequence[BudgetResult], waivers: Sequence[BudgetWaiver], today: date
) -> Iterator[BudgetResult]:
    used: set[int] = set()
    for result in results:
        if result.state is RuleState.FAILED:
            for number, waiver in enumerate(waivers):
                if fnmatchcase(result.rule, waiver.rule.text):
                    used.add(number)
                    result = _apply_waiver(result, waiver, today)  # noqa: PLW2901
                    break
        yield result
    for number, waiver in enumerate(waivers):
        if number not in used:
            yield BudgetResult(
                f"waivers {waiver.rule.text}", RuleState.FAILED, "nothing needs this waiver any more",
                "remove it", waiver.where,
            )  # fmt: skip


def _apply_waiver(result: BudgetResult, waiver: BudgetWaiver, today: date) -> BudgetResult:
    assert waiver.expires is not None
    if waiver.expires > today + MAX_WAIVER:
        message = (
            f"{result.message}; its waiver ends on {waiver.expires}, more than a year from now"
        )
        return replace(result, message=message, where=waiver.where)
    if waiver.expires < today:
        message = f"{result.message}; its waiver expired on {waiver.expires}"
        return replace(result, message=message, where=waiver.where)
    message = f"{result.message}; {waiver.because} ({waiver.owner}, until {waiver.expires})"
    return replace(result, state=RuleState.WAIVED, message=message)


def summarize_results(results: Sequence[BudgetResult]) -> str:
    """One line: PASS or FAIL, and how many rules."""
    count = {state: sum(one.state is state for one in results) for state in RuleState}
    suffix = "".join(
        f", {count[state]} {state}"
        for state in (RuleState.WAIVED, RuleState.SKIPPED)
        if count[state]
    )
    if count[RuleState.FAILED]:
        return f"FAIL: {count[RuleState.FAILED]} of {len(results)} rules{suffix}"
    return f"PASS: {count[RuleState.PASSED]} rules{suffix}"
