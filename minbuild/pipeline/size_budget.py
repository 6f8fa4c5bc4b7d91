"""Errors of a build that is over the budget of its manifest."""

from collections.abc import Mapping
from pathlib import Path

from minbuild.data import data_directory
from minbuild.errors import CheckFailed, combine
from minbuild.footprint.budget_check import check_manifest_limits
from minbuild.footprint.budget_result import RuleState
from minbuild.footprint.model import Totals
from minbuild.manifest.limits import Limit, list_limits
from minbuild.manifest.model import Manifest


def check_size_budget(manifest: Manifest, totals: Totals) -> None:
    """Refuse totals above a limit of their manifest. Raises: CheckFailed for each such limit."""
    exceeded = {
        result.rule.removeprefix("budget."): result
        for result in check_manifest_limits(manifest, totals)
        if result.state is RuleState.FAILED
    }
    limits_by_name = list_limits(manifest.budget.totals)
    inherited = {
        name: result.actual
        for name, result in exceeded.items()
        if _is_inherited(manifest, limits_by_name[name])
    }
    problems = [
        CheckFailed(
            f"over budget: {name} {result.actual:,}, the limit is {result.maximum:,}",
            where=_describe_limit_location(manifest, name, limits_by_name[name]),
            fix=f"use less: minbuild report shows what weighs most; or {_suggest_raise(manifest, inherited)}"
            if name in inherited
            else "minbuild report shows what weighs most; use less, or raise the limit",
        )
        for name, result in exceeded.items()
    ]
    if problems:
        raise combine(problems)


def _is_inherited(manifest: Manifest, limit: Limit) -> bool:
    """Tell whether a limit comes from an extended manifest, or from one that ships."""
    file = Path(limit.where.file).absolute()
    return file != Path(manifest.file).absolute() or file.is_relative_to(
        data_directory("manifests")
    )


def _describe_limit_location(manifest: Manifest, name: str, limit: Limit) -> str:
    """The location of a limit; of an inherited one also the manifest that inherits it."""
    if not _is_inherited(manifest, limit):
        return str(limit.where)
    origin = Path(limit.where.file)
    short = origin.name if origin.is_relative_to(data_directory("manifests")) else limit.where.file
    return f"{Path(manifest.file).name} (budget.{name}, set by {short}:{limit.where.line})"


def _suggest_raise(manifest: Manifest, inherited: Mapping[str, int]) -> str:
    """The line that raises inherited limits, with the smallest sufficient numbers."""
    shown = {"files": str}
    values = ", ".join(
        f"{name}: {shown.get(name, round_up_size)(is_)}" for name, is_ in inherited.items()
    )
    file = Path(manifest.file)
    if file.absolute().is_relative_to(data_directory("manifests")):
        return f"write a manifest with extends: [{file.stem}] and budget: {{{values}}}"
    return f"write budget: {{{values}}} in {manifest.file}"


def round_up_size(size: int) -> str:
    """Format a size for a manifest, rounded up to tenths of a MB or kB."""
    unit, name = (10**6, "MB") if size >= 10**6 else (10**3, "kB")
    tenths = -(-size * 10 // unit)
    return f"{tenths // 10}.{tenths % 10} {name}"
