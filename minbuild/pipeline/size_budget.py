"""Whether a footprint keeps to the budget of its manifest."""

from collections.abc import Mapping
from pathlib import Path

from minbuild.data import data_directory
from minbuild.errors import CheckFailed, combine
from minbuild.footprint.model import Totals
from minbuild.manifest.limits import Limit, list_limits
from minbuild.manifest.model import Manifest


def check_size_budget(manifest: Manifest, totals: Totals) -> None:
    """Accept a footprint within its budget; a packed size only if it is packed as the manifest says.

    Raises: Verdict for every limit that is exceeded.
    """
    limits_by_name = list_limits(manifest.budget.totals)
    exceeded = {
        name: (is_, limit)
        for name, is_, limit, unjudged in list_total_limits(manifest, totals)
        if is_ > limit and not unjudged
    }
    inherited = {
        name: exceeded[name][0]
        for name in exceeded
        if _is_inherited(manifest, limits_by_name[name])
    }
    problems = [
        CheckFailed(
            f"over budget: {name} {is_:,}, the limit is {limit:,}",
            where=_describe_limit_location(manifest, name, limits_by_name[name]),
            fix=f"use less: minbuild report shows what weighs most; or {_suggest_raise(manifest, inherited)}"
            if name in inherited
            else "minbuild report shows what weighs most; use less, or raise the limit",
        )
        for name, (is_, limit) in exceeded.items()
    ]
    if problems:
        raise combine(problems)


def _is_inherited(manifest: Manifest, limit: Limit) -> bool:
    """Whether a limit is not the user's own to raise: of a manifest that is extended, or ships."""
    file = Path(limit.where.file).absolute()
    return file != Path(manifest.file).absolute() or file.is_relative_to(
        data_directory("manifests")
    )


def _describe_limit_location(manifest: Manifest, name: str, limit: Limit) -> str:
    """Where a limit stands; one that is inherited is told by the manifest that inherits it."""
    if not _is_inherited(manifest, limit):
        return str(limit.where)
    origin = Path(limit.where.file)
    short = origin.name if origin.is_relative_to(data_directory("manifests")) else limit.where.file
    return f"{Path(manifest.file).name} (budget.{name}, set by {short}:{limit.where.line})"


def _suggest_raise(manifest: Manifest, inherited: Mapping[str, int]) -> str:
    """The line that raises inherited limits, with the least numbers that will do."""
    shown = {"files": str}
    values = ", ".join(
        f"{name}: {shown.get(name, round_up_size)(is_)}" for name, is_ in inherited.items()
    )
    file = Path(manifest.file)
    if file.absolute().is_relative_to(data_directory("manifests")):
        return f"write a manifest with extends: [{file.stem}] and budget: {{{values}}}"
    return f"write budget: {{{values}}} in {manifest.file}"


def round_up_size(size: int) -> str:
    """A size as a manifest writes it, in tenths of a MB or kB, not below what it is."""
    unit, name = (10**6, "MB") if size >= 10**6 else (10**3, "kB")
    tenths = -(-size * 10 // unit)
    return f"{tenths // 10}.{tenths % 10} {name}"


def list_total_limits(manifest: Manifest, totals: Totals) -> list[tuple[str, int, int, str]]:
    """Each limit that is set: name, what is, what may be, and why it is not judged ("": it is)."""
    image, unjudged_reason = manifest.image, ""
    if image.overridden_compression is not None:
        unjudged_reason = (
            f"it is for {image.overridden_compression}, and this is {image.compression}"
        )
    rows = {"files": totals.files, "bytes": totals.bytes, "packed": totals.packed}
    limits_by_name = list_limits(manifest.budget.totals)
    return [
        (name, is_, limits_by_name[name].value, unjudged_reason if name == "packed" else "")
        for name, is_ in rows.items()
        if name in limits_by_name
    ]
