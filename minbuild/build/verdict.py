"""Whether a footprint keeps to the budget of its manifest."""

from collections.abc import Mapping
from pathlib import Path

from minbuild.errors import Verdict, together
from minbuild.footprint.types import Totals
from minbuild.manifest.limits import Limit, limits_set
from minbuild.manifest.types import Manifest
from minbuild.shipped import shipped


def judge(manifest: Manifest, totals: Totals) -> None:
    """Accept a footprint within its budget; a packed size only if it is packed as the manifest says.

    Raises: Verdict for every limit that is exceeded.
    """
    known = limits_set(manifest.budget.totals)
    over = {
        name: (is_, limit)
        for name, is_, limit, unjudged in limits(manifest, totals)
        if is_ > limit and not unjudged
    }
    inherited = {name: over[name][0] for name in over if _is_inherited(manifest, known[name])}
    problems = [
        Verdict(
            f"over budget: {name} {is_:,}, the limit is {limit:,}",
            where=_place(manifest, name, known[name]),
            fix=f"use less: minbuild report shows what weighs most; or {_raise(manifest, inherited)}"
            if name in inherited
            else "minbuild report shows what weighs most; use less, or raise the limit",
        )
        for name, (is_, limit) in over.items()
    ]
    if problems:
        raise together(problems)


def _is_inherited(manifest: Manifest, limit: Limit) -> bool:
    """Whether a limit is not the user's own to raise: of a manifest that is extended, or ships."""
    file = Path(limit.where.file).absolute()
    return file != Path(manifest.file).absolute() or file.is_relative_to(shipped("manifests"))


def _place(manifest: Manifest, name: str, limit: Limit) -> str:
    """Where a limit stands; one that is inherited is told by the manifest that inherits it."""
    if not _is_inherited(manifest, limit):
        return str(limit.where)
    origin = Path(limit.where.file)
    short = origin.name if origin.is_relative_to(shipped("manifests")) else limit.where.file
    return f"{Path(manifest.file).name} (budget.{name}, set by {short}:{limit.where.line})"


def _raise(manifest: Manifest, over: Mapping[str, int]) -> str:
    """The line that raises inherited limits, with the least numbers that will do."""
    shown = {"files": str}
    values = ", ".join(f"{name}: {shown.get(name, size_above)(is_)}" for name, is_ in over.items())
    file = Path(manifest.file)
    if file.absolute().is_relative_to(shipped("manifests")):
        return f"write a manifest with extends: [{file.stem}] and budget: {{{values}}}"
    return f"write budget: {{{values}}} in {manifest.file}"


def size_above(size: int) -> str:
    """A size as a manifest writes it, in tenths of a MB or kB, not below what it is."""
    unit, name = (10**6, "MB") if size >= 10**6 else (10**3, "kB")
    tenths = -(-size * 10 // unit)
    return f"{tenths // 10}.{tenths % 10} {name}"


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
