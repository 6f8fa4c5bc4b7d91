"""Whether a footprint keeps to the budget of its manifest."""

from minbuild.errors import Verdict, together
from minbuild.footprint.types import Totals
from minbuild.manifest.limits import Budget, limits_set
from minbuild.manifest.types import Manifest


def judge(manifest: Manifest, totals: Totals) -> None:
    """Accept a footprint within its budget.

    Raises: Verdict for every limit that is exceeded.
    """
    manifest_limits = limits_set(manifest.budget.totals)
    problems = [
        Verdict(
            f"over budget: {name} {is_:,}, the limit is {limit:,}",
            where=str(manifest_limits[name].where),
            fix="minbuild report shows what weighs most; use less, or raise the limit",
        )
        for name, is_, limit in limits(manifest.budget, totals)
        if is_ > limit
    ]
    if problems:
        raise together(problems)


def limits(budget: Budget, totals: Totals) -> list[tuple[str, int, int]]:
    """Each limit that is set: name, what is, what may be."""
    rows = {"files": totals.files, "bytes": totals.bytes, "packed": totals.packed}
    found = limits_set(budget.totals)
    return [(name, is_, found[name].value) for name, is_ in rows.items() if name in found]
