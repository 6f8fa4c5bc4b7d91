"""Check of a change to the budget or the baseline itself, which a person must approve.

The rules and the baseline of a check come from the target branch of the change. What the change
makes of them is shown, and fails until it is approved.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from minbuild.footprint.budget_result import BudgetResult, RuleState
from minbuild.footprint.model import Footprint
from minbuild.manifest.document.nodes import LocatedName, Location
from minbuild.manifest.limits import AllowedFindings, Budget, Limit

BUDGET_RULE, BASELINE_RULE = "proposed.budget", "proposed.baseline"
IDENTITY_KEYS = ("name", "kind", "measure", "rule")
"""Keys of a row that tell it from the others of its table."""
MAX_SHOWN = 6
"""Changes that a line names."""


def check_budget_change(base: Budget, proposed: Budget | None, *, approved: bool) -> BudgetResult:
    """Check what a change makes of the budget; None: it removes the budget, which always fails."""
    if proposed is None:
        fix = "put it back; take single rules out of it instead"
        return BudgetResult(BUDGET_RULE, RuleState.FAILED, "the change removes the budget", fix)
    changes = list(_list_changes(list_rules(base), list_rules(proposed)))
    if not changes:
        return BudgetResult(BUDGET_RULE, RuleState.PASSED, "the change leaves it as it is", "")
    suffix = f" and {len(changes) - MAX_SHOWN} more" if len(changes) > MAX_SHOWN else ""
    message = f"the change makes it another: {', '.join(changes[:MAX_SHOWN])}{suffix}"
    if approved:
        return BudgetResult(BUDGET_RULE, RuleState.WAIVED, f"{message}; approved", "")
    fix = "have it approved by whoever answers for the budget, and check with --approved"
    return BudgetResult(BUDGET_RULE, RuleState.FAILED, message, fix)


def check_baseline_change(
    base: Footprint | None, proposed: Footprint, image: Footprint
) -> BudgetResult:
    """Judge a footprint that a change commits: that of the base branch, or that of the image."""
    for expected, message in ((base, "the base branch's"), (image, "that of the image")):
        if expected is not None and _is_same_image(expected, proposed):
            return BudgetResult(BASELINE_RULE, RuleState.PASSED, f"it is {message}", "")
    message = (
        f"it is neither the base branch's nor that of the image: {proposed.totals.files:,} files, "
        f"{proposed.totals.packed:,} bytes packed; the image has {image.totals.files:,} and "
        f"{image.totals.packed:,}"
    )
    return BudgetResult(
        BASELINE_RULE, RuleState.FAILED, message, "commit the footprint.json of this very build"
    )


def _is_same_image(first: Footprint, second: Footprint) -> bool:
    """Tell whether two footprints have the same files; observations of the lab are ignored."""
    return first.totals == second.totals and first.files == second.files


def list_rules(budget: Budget) -> dict[str, str]:
    """Every rule of a budget as name → text, without its location."""
    return dict(_flatten_rules("", _to_plain(budget)))


def _to_plain(value: object) -> object:
    """A budget's part as dictionaries, lists, texts and numbers, without places."""
    if isinstance(value, Limit | LocatedName):
        return value.value if isinstance(value, Limit) else value.text
    if isinstance(value, AllowedFindings):
        return [one.text for one in value.subjects]
    if is_dataclass(value):
        parts = {one.name: getattr(value, one.name) for one in fields(value)}
        return {
            name: _to_plain(part) for name, part in parts.items() if not isinstance(part, Location)
        }
    if isinstance(value, tuple):
        return [_to_plain(part) for part in value]
    return value


def _flatten_rules(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in IDENTITY_KEYS:
                yield from _flatten_rules(f"{name}.{key}".lstrip("."), part)
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for number, part in enumerate(value):
            row_name = next((part[key] for key in IDENTITY_KEYS if part.get(key)), number)
            yield f"{name}.{row_name}", "there"
            yield from _flatten_rules(f"{name}.{row_name}", part)
    elif isinstance(value, list):
        yield name, f"[{', '.join(sorted(map(str, value)))}]"
    elif value is not None:
        yield name, f"{value:,}" if isinstance(value, int) else str(value)


def _list_changes(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield f"{name} {old or 'none'} -> {new or 'none'}"
