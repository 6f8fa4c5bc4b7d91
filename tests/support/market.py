"""Packages of the machine's mirror as tests use them, and tools that run out of them."""

from collections.abc import Sequence
from pathlib import Path

from minbuild.archive.index import open_index
from minbuild.archive.mirror import find_mirror
from minbuild.build.contents import bring
from minbuild.build.ground import grow_tools
from minbuild.build.growing import Market
from minbuild.build.request import Doors, Request, machine_arch
from minbuild.manifest.types import Archive, Tool
from minbuild.store import Store
from minbuild.toolbox.toolbox import Toolbox

TRIXIE = Archive(suites=("trixie",))


def market_of(store: Store, archive: Archive = TRIXIE, arch: str = "") -> Market:
    """An archive on the machine's mirror; for this machine's architecture if none is named."""
    doors, mirror = Doors(store.directory), find_mirror("")
    index = open_index(
        archive,
        arch or machine_arch(),
        mirror,
        doors.store,
        offline=False,
        progress=doors.progress,
    )
    return Market(index, mirror, doors)


def toolbox_of(tools: Sequence[Tool], market: Market, *, epoch: int = 0) -> Toolbox:
    """Tools of any packages, run without being installed."""
    grown = grow_tools(tools, market)
    chosen = tuple(grown.closure.chosen.values())
    bring(Request(Path()), grown.packages, chosen, market.doors)
    entries = [one.entry for one in chosen]
    return Toolbox(tools, entries, market.doors.store, arch=machine_arch(), epoch=epoch)
