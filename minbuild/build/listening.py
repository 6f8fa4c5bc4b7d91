"""What boots in the lab showed of a build's ports, kept beside its image for report and check."""

from collections.abc import Sequence
from pathlib import Path

from minbuild.footprint.heard import Port, render
from minbuild.lab import ports
from minbuild.lab.types import BootResult
from minbuild.progress import Progress

FOOTPRINT = "footprint.json"
PORTS = "ports.json"


def keep(image: Path, results: Sequence[BootResult], progress: Progress) -> None:
    """Write ports.json beside an image that was built here; what was not watched is not written.

    A directory that may not be written is said, and no error: the boot itself is what counts.
    """
    opened = ports.opened(line for result in results for line in result.lines)
    place = image.parent / FOOTPRINT
    if opened is None or not place.is_file():
        return
    found = [Port(f"{one.number}/{one.protocol}", one.by, one.local) for one in opened]
    try:
        text = render(found, place.read_text(encoding="utf-8"))
        (image.parent / PORTS).write_text(text, encoding="utf-8")
    except OSError as error:
        progress.note(f"the ports that were seen are not kept: {error.strerror}: {image.parent}")
