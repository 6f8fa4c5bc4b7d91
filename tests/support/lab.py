"""The lab as tests use it: one store for all of them, a stage for what was built, data disks."""

from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.footprint.model import ProbeRow
from minbuild.lab.data_disk import DATA_LABEL
from minbuild.lab.model import BootProbe, Firmware, Network
from minbuild.lab.probes import make_component_probe
from minbuild.lab.worker.client import choose_network
from minbuild.pipeline.boot_setup import BootSetup, prepare_boot
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from minbuild.toolbox.toolbox import Toolbox
from tests.support.cache import cache_directory

STORE = cache_directory("lab")


def make_boot_setup(image: Path) -> BootSetup:
    """An image with the lock beside it, and the tools of that lock."""
    manifest = BuildRequest(manifest=data_directory("manifests") / "host.yaml")
    return prepare_boot(
        str(image), manifest, Session(STORE, SilentProgress()), firmware=Firmware.DIRECT
    )


def ask_by_tcp(name: str, port: int, says: str, *, to: str = "host", limit: int) -> BootProbe:
    """The probe that a component's `tcp:` asks for."""
    row = ProbeRow(
        name, "", limit, "", lease=False, lookup="", tcp=port, to=to, says=says, where=""
    )
    return make_component_probe(name, row)


def require_namespace(toolbox: Toolbox) -> None:
    """Skip where the lab has no network of its own."""
    if choose_network(Network.AUTO, toolbox).name != Network.NAMESPACE:
        pytest.skip("this user may not make a network namespace")


def make_data_disk(
    toolbox: Toolbox, path: Path, size: int, tree: Path | None = None, *more: str
) -> Path:
    """A data disk of `size` MiB with the files of a directory; `more` is for mke2fs."""
    with path.open("wb") as file:
        file.truncate(size << 20)
    argv = ["-t", "ext4", "-F", "-q", "-m", "0", "-L", DATA_LABEL, "-E", "root_owner=0:0", *more]
    argv += ["-d", str(tree)] if tree is not None else []
    toolbox.run("mke2fs", [*argv, path], purpose="making a disk")
    return path
