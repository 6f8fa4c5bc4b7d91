"""Whether a footprint keeps to the budget of its manifest."""

from minbuild.errors import Verdict, together
from minbuild.footprint.types import Totals
from minbuild.manifest.limits import limits_set
from minbuild.manifest.types import Manifest


def judge(manifest: Manifest, totals: Totals) -> None:
    """Accept a footprint within its budget; a packed size only if it is packed as the manifest says.

    Raises: Verdict for every limit that is exceeded.
    """
    manifest_limits = limits_set(manifest.budget.totals)
    problems = [
        Verdict(
            f"over budget: {name} {is_:,}, the limit is {limit:,}",
            where=str(manifest_limits[name].where),
            fix="minbuild report shows what weighs most; use less, or raise the limit",
        )
        for name, is_, limit, unjudged in limits(manifest, totals)
        if is_ > limit and not unjudged
    ]
    if problems:
        raise together(problems)


def limits(manifest: Manifest, totals: Totals) -> list[tuple[str, int, int, str]]:
    """Each limit that is set: name, what is, what may be, and why it is not judged ("": it is)."""
    image, other = manifest.image, ""
    if image.instead_of is not None:
        other = f"it is for {image.instead_of}, and this is {image.compression}"
    rows = {"files": totals.files, "bytes": totals.bytes, "packed": totals.packed}
    found = limits_set(manifest.budget.totals)
    return [
        (name, is_, found[name].value, other if name == "packed" else "")
        for name, is_ in rows.items()
        if name in found
    ]
