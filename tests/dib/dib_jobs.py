"""One order of disk-image-create in a process of its own: ordering.py FOLDER WORK ELEMENT."""

import sys
from collections.abc import Callable
from pathlib import Path

from minbuild.dib.builder_vm import BuilderVm
from minbuild.dib.disk_image_create import DibJob, choose_location, make_dib_images
from minbuild.manifest.image_settings import DibFormat, DibLocation, DibSettings
from minbuild.manifest.model import Location
from minbuild.progress import SilentProgress


def run_dib_job(
    folder: Path,
    work: Path,
    element: str,
    form: DibFormat,
    builder: Callable[[Path], BuilderVm] | None = None,
) -> tuple[Path, ...]:
    """Have dib make an image of the small host, here or in the machine that `builder` makes."""
    work.mkdir(exist_ok=True)
    settings = DibSettings(Location("small.yaml", 8, 5), (element,), formats=(form,))
    job = DibJob(
        settings, "small-dib", folder, folder / "small-dib.log", 1 << 20, ["/usr/bin/hello"]
    )
    location = DibLocation.VM if builder else DibLocation.HERE
    choose_location(job, location, SilentProgress())
    vm = builder(work) if builder else None
    return make_dib_images(job, work, progress=SilentProgress(), builder=vm)


if __name__ == "__main__":
    run_dib_job(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], DibFormat.RAW)
