"""A traced boot held against the footprint beside its image."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.footprint import boot_trace, document
from minbuild.footprint.boot_trace import TraceSummary
from minbuild.footprint.open_ports import ObservedPort, render_ports
from minbuild.lab import kprobes
from minbuild.lab.model import BootResult
from minbuild.progress import Progress

PORTS_FOOTPRINT = "footprint.json"
PORTS_FILE = "ports.json"


def save_observed_ports(image: Path, results: Sequence[BootResult], progress: Progress) -> None:
    """Write ports.json beside an image that was built here; what was not watched is not written.

    A directory that may not be written is said, and no error: the boot itself is what counts.
    """
    events = kprobes.read_open_ports(line for result in results for line in result.lines)
    footprint_path = image.parent / PORTS_FOOTPRINT
    if events is None or not footprint_path.is_file():
        return
    observed = [
        ObservedPort(f"{one.number}/{one.protocol}", one.process, one.is_local) for one in events
    ]
    try:
        text = render_ports(observed, footprint_path.read_text(encoding="utf-8"))
        (image.parent / PORTS_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        progress.note(f"the ports that were seen are not kept: {error.strerror}: {image.parent}")


FOOTPRINT = "footprint.json"
TRACE_FILE = "trace.json"


def require_footprint(image: Path) -> None:
    """Refuse to trace an image that no footprint says the files of.

    Raises: UsageError.
    """
    if not (image.parent / FOOTPRINT).is_file():
        raise UsageError(
            f"there is no {FOOTPRINT} beside the image, which says what files it has",
            where=str(image.parent),
            fix="trace an image where it was built: minbuild boot build/host --trace",
        )


def save_trace(image: Path, results: Sequence[BootResult]) -> TraceSummary:
    """Say what these boots used of an image; kept as trace.json beside it for `plan --suggest`.

    Raises: ToolError when the footprint is damaged or the record cannot be written.
    """
    footprint_path = image.parent / FOOTPRINT
    footprint = document.read_footprint(
        footprint_path.read_text(encoding="utf-8"), str(footprint_path)
    )
    opened_paths: set[str] = set()
    missing: Counter[str] = Counter()
    for result in results:
        opened_files = kprobes.read_opened_files(result.lines)
        opened_paths |= opened_files.opened
        missing.update(dict(opened_files.missing))
    summary = boot_trace.summarize_trace(
        footprint, opened_paths, {p: n for p, n in missing.items() if p not in opened_paths}
    )
    try:
        (image.parent / TRACE_FILE).write_text(boot_trace.render_trace(summary), encoding="utf-8")
    except OSError as error:
        raise ToolError(
            f"cannot write what was traced: {error.strerror}",
            where=str(image.parent / TRACE_FILE),
            fix="trace an image in a directory that may be written",
        ) from error
    return summary


def read_last_trace(directory: Path) -> TraceSummary | None:
    """What the last traced boot of a build in `directory` used; None without one.

    Raises: ToolError when the record is damaged.
    """
    trace_path = directory / TRACE_FILE
    if not trace_path.is_file():
        return None
    return boot_trace.read_trace(trace_path.read_text(encoding="utf-8"), str(trace_path))
