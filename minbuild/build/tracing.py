"""A traced boot held against the footprint beside its image."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.footprint import document, usage
from minbuild.footprint.usage import Usage
from minbuild.lab import trace
from minbuild.lab.types import BootResult

FOOTPRINT = "footprint.json"
TRACE = "trace.json"


def traceable(image: Path) -> None:
    """Refuse to trace an image that no footprint says the files of.

    Raises: UsageError.
    """
    if not (image.parent / FOOTPRINT).is_file():
        raise UsageError(
            f"there is no {FOOTPRINT} beside the image, which says what files it has",
            where=str(image.parent),
            fix="trace an image where it was built: minbuild boot build/host --trace",
        )


def record(image: Path, results: Sequence[BootResult]) -> Usage:
    """Say what these boots used of an image; kept as trace.json beside it for `plan --suggest`.

    Raises: ToolError when the footprint is damaged or the record cannot be written.
    """
    place = image.parent / FOOTPRINT
    footprint = document.read(place.read_text(encoding="utf-8"), str(place))
    found: set[str] = set()
    missing: Counter[str] = Counter()
    for result in results:
        one = trace.opened(result.lines)
        found |= one.found
        missing.update(dict(one.missing))
    made = usage.usage(footprint, found, {p: n for p, n in missing.items() if p not in found})
    try:
        (image.parent / TRACE).write_text(usage.render(made), encoding="utf-8")
    except OSError as error:
        raise ToolError(
            f"cannot write what was traced: {error.strerror}",
            where=str(image.parent / TRACE),
            fix="trace an image in a directory that may be written",
        ) from error
    return made


def last(directory: Path) -> Usage | None:
    """What the last traced boot of a build in `directory` used; None without one.

    Raises: ToolError when the record is damaged.
    """
    place = directory / TRACE
    if not place.is_file():
        return None
    return usage.read(place.read_text(encoding="utf-8"), str(place))
