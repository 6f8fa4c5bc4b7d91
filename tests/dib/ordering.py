"""One order of disk-image-create in a process of its own: ordering.py FOLDER WORK ELEMENT."""

import sys
from collections.abc import Callable
from pathlib import Path

from minbuild.dib.assemble import Order, assemble
from minbuild.dib.machine import Machine
from minbuild.dib.types import DibIn
from minbuild.manifest.types import DibFormat, DibWish, Where
from minbuild.progress import Silent


def order(
    folder: Path,
    work: Path,
    element: str,
    form: DibFormat,
    builder: Callable[[Path], Machine] | None = None,
) -> tuple[Path, ...]:
    """Have dib make an image of the small host, here or in the machine that `builder` makes."""
    work.mkdir(exist_ok=True)
    wish = DibWish(Where("small.yaml", 8, 5), (element,), formats=(form,))
    one = Order(wish, "small-dib", folder, folder / "small-dib.log", 1 << 20, ["/usr/bin/hello"])
    place = DibIn.VM if builder else DibIn.HERE
    return assemble(one, work, progress=Silent(), place=place, builder=builder or _nowhere)


def _nowhere(work: Path) -> Machine:
    raise AssertionError(f"dib runs here, not in a machine made in {work}")


if __name__ == "__main__":
    order(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], DibFormat.RAW)
