"""Whether a footprint keeps to the budget of its manifest."""

from minbuild.errors import Verdict, together
from minbuild.footprint.types import Totals
from minbuild.manifest.types import Budget, Manifest


def judge(manifest: Manifest, totals: Totals) -> None:
    """Accept a footprint within its budget.

    Raises: Verdict for every limit that is exceeded.
    """
    problems = [
        Verdict(
            f"over budget: {name} {is_:,}, the limit is {limit:,}",
            where=f"{manifest.file} (budget.{name})",
            fix="minbuild report shows what weighs most; use less, or raise the limit",
        )
        for name, is_, limit in limits(manifest.budget, totals)
        if is_ > limit
    ]
    if problems:
        raise together(problems)


def limits(budget: Budget, totals: Totals) -> list[tuple[str, int, int]]:
    """Each limit that is set: name, what is, what may be."""
    rows = (
        ("files", totals.files, budget.files),
        ("bytes", totals.bytes, budget.bytes),
        ("packed", totals.packed, budget.packed),
    )
    return [(name, is_, limit) for name, is_, limit in rows if limit is not None]
