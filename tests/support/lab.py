"""The lab as tests use it: one store for all of them, a stage for what was built, data disks."""

from pathlib import Path

import pytest

from minbuild.build.booting import Stage, set_stage
from minbuild.build.request import Doors, Request
from minbuild.lab.data import LABEL
from minbuild.lab.session import choose_network
from minbuild.lab.types import Firmware, Network
from minbuild.progress import Silent
from minbuild.shipped import shipped
from minbuild.toolbox.toolbox import Toolbox
from tests.support.cache import cache

STORE = cache("lab")


def stage_of(image: Path) -> Stage:
    """An image with the lock beside it, and the tools of that lock."""
    manifest = Request(manifest=shipped("manifests") / "host.yaml")
    return set_stage(str(image), manifest, Doors(STORE, Silent()), firmware=Firmware.DIRECT)


def in_namespace(toolbox: Toolbox) -> None:
    """Skip where the lab has no network of its own."""
    if choose_network(Network.AUTO, toolbox).name != Network.NAMESPACE:
        pytest.skip("this user may not make a network namespace")


def data_disk(
    toolbox: Toolbox, place: Path, size: int, tree: Path | None = None, *more: str
) -> Path:
    """A data disk of `size` MiB with the files of a directory; `more` is for mke2fs."""
    with place.open("wb") as file:
        file.truncate(size << 20)
    words = ["-t", "ext4", "-F", "-q", "-m", "0", "-L", LABEL, "-E", "root_owner=0:0", *more]
    words += ["-d", str(tree)] if tree is not None else []
    toolbox.run("mke2fs", [*words, place], what="making a disk")
    return place
