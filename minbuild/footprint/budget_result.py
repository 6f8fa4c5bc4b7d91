"""The result of one rule of a budget."""

from dataclasses import dataclass
from enum import StrEnum

from minbuild.manifest.document.nodes import Location
from minbuild.manifest.limits import Limit


class RuleState(StrEnum):
    PASSED = "ok"
    FAILED = "FAIL"
    WAIVED = "waived"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class BudgetResult:
    """The result of one rule.

    Example: rule `totals.files`, state FAILED, message "61 of 60, 1 too many".
    """

    rule: str
    """totals.files, components.network/dhcp.bytes, deny.paths /usr/bin/perl*."""
    state: RuleState
    message: str
    """The figure and its limit, or why the rule is not checked."""
    fix: str
    where: Location | None = None
    """File, line and column of the rule; None where that is not known."""
    limit: Limit | None = None
    """The limit as the budget document has it; None where the rule has none."""
    actual: int = 0
    maximum: int = 0
    """The largest figure that passes, of a rule that has one."""


def check_maximum(
    rule: str,
    actual: int,
    maximum: int,
    limit: Limit | None,
    fix: str,
    *,
    where: Location | None = None,
) -> BudgetResult:
    """Hold a figure against the largest that passes; it is the limit's, or that of `where`."""
    state = RuleState.PASSED if actual <= maximum else RuleState.FAILED
    over = f", {actual - maximum:,} too many" if actual > maximum else ""
    location = where or (limit.where if limit else None)
    return BudgetResult(
        rule, state, f"{actual:,} of {maximum:,}{over}", fix, location, limit, actual, maximum
    )
