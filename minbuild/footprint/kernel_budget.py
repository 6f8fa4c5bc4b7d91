"""Rules of a budget about the options of a kernel that was built for its host."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from minbuild.footprint.budget_result import BudgetResult, RuleState, check_maximum
from minbuild.kconfig.model import OptionNeed
from minbuild.kconfig.needs import PREFIX, list_enabled
from minbuild.manifest.document.nodes import LocatedName, Location
from minbuild.manifest.limits import AllowedFindings, KernelBudget


def check_kernel_budget(
    options: Sequence[OptionNeed], budget: KernelBudget
) -> Iterator[BudgetResult]:
    """Check the options of a kernel; () for options: it is a package's, and every rule fails."""
    values = {need.name: need.value for need in list_enabled(options)}
    if not values:
        yield from _refuse_all(budget)
        return
    if budget.options is not None:
        count = sum(value in {"y", "m"} for value in values.values())
        fix = "minbuild tree IMAGE CONFIG_NAME shows what an option leads to; ask for less, or raise it"
        yield check_maximum("kernel.options", count, budget.options.value, budget.options, fix)
    for name in budget.required:
        yield _check_required(name, values)
    for glob in budget.forbidden:
        yield _check_forbidden(glob, values)
    if budget.allowed is not None:
        yield from _check_allowed(budget.allowed, values)


def _refuse_all(budget: KernelBudget) -> Iterator[BudgetResult]:
    rules: list[tuple[str, Location]] = []
    if budget.options is not None:
        rules.append(("kernel.options", budget.options.where))
    rules += [(f"kernel.required {one.text}", one.where) for one in budget.required]
    rules += [(f"kernel.forbidden {one.text}", one.where) for one in budget.forbidden]
    if budget.allowed is not None:
        rules.append(("kernel.allowed", budget.allowed.where))
    for rule, where in rules:
        message = "not evaluated: this kernel was not built for its host, or is not known"
        fix = "build one (kernel: {build: linux-source-6.12}), and check the build directory"
        yield BudgetResult(rule, RuleState.FAILED, message, fix, where)


def _check_required(name: LocatedName, values: Mapping[str, str]) -> BudgetResult:
    option, _, wanted = name.text.removeprefix(PREFIX).partition("=")
    value = values.get(option, "n")
    is_met = value == wanted if wanted else value in {"y", "m"}
    return BudgetResult(
        f"kernel.required {name.text}",
        RuleState.PASSED if is_met else RuleState.FAILED,
        f"it is {value}",
        "" if is_met else f"ask for it: kernel: {{options: [{option}]}}",
        name.where,
    )


def _check_forbidden(glob: LocatedName, values: Mapping[str, str]) -> BudgetResult:
    pattern = glob.text.removeprefix(PREFIX)
    enabled = [name for name in values if fnmatchcase(name, pattern)]
    suffix = f" and {len(enabled) - 3} more" if len(enabled) > 3 else ""
    return BudgetResult(
        f"kernel.forbidden {glob.text}",
        RuleState.FAILED if enabled else RuleState.PASSED,
        f"on: {', '.join(enabled[:3])}{suffix}" if enabled else "off",
        f"see who needs it: minbuild why IMAGE {PREFIX}{enabled[0]}" if enabled else "",
        glob.where,
    )


def _check_allowed(allowed: AllowedFindings, values: Mapping[str, str]) -> Iterator[BudgetResult]:
    """One result for each option that the list does not name, or one for all."""
    globs = [name.text.removeprefix(PREFIX) for name in allowed.subjects]
    unlisted = [name for name in values if not any(fnmatchcase(name, glob) for glob in globs)]
    for name in unlisted:
        fix = f"see who needs it (minbuild why IMAGE {PREFIX}{name}), or name it in the list"
        message = "it is not in the list"
        yield BudgetResult(f"kernel.allowed {name}", RuleState.FAILED, message, fix, allowed.where)
    if not unlisted:
        message = f"{len(values)} options, each in the list"
        yield BudgetResult("kernel.allowed", RuleState.PASSED, message, "", allowed.where)
