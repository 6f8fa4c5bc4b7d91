"""A root in a directory, a tar or a container image, measured."""

import tempfile
from pathlib import Path

from minbuild.facts.damage import Damage
from minbuild.facts.root.container import ANY, Choice
from minbuild.facts.root.region import Region, packing
from minbuild.facts.root.types import Reach
from minbuild.footprint.types import OVERHEAD, Footprint
from minbuild.subject.forms import Form
from minbuild.subject.measured import Weighed, measure
from minbuild.subject.source import open_source


def read_root(path: Path, form: Form, reach: Reach, choice: Choice | None) -> Footprint:
    """Measure the root that a directory, a tar or a container image holds.

    Raises: UsageError when it is not there, or several are; ToolError when it is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="minbuild-") as work:
        source = open_source(path, Path(work), reach, choice=choice or ANY)
        if form is Form.DIRECTORY:
            return measure(source, path.resolve().name or "root", reach)
        name = path.resolve().name.partition(".")[0] or "root"
        return measure(source, name, reach, _weighed(path, form))


def _weighed(path: Path, form: Form) -> Weighed:
    if form is Form.CONTAINER:
        size = sum(one.lstat().st_size for one in path.rglob("*") if one.is_file())
        return Weighed(size, "oci", True, OVERHEAD)
    size = path.stat().st_size
    try:
        packed = bool(packing(Region.of(path).read(0, min(8, size))))
    except Damage:
        packed = True
    return Weighed(size, "tar", packed, OVERHEAD)
