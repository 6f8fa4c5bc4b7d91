"""Packages of the machine's mirror as tests use them, and tools that run out of them."""

from collections.abc import Sequence
from pathlib import Path

from minbuild.archive.index import open_index
from minbuild.archive.mirror import find_mirror
from minbuild.cache.store import Store
from minbuild.manifest.model import Archive, Tool
from minbuild.pipeline.package_selection import PackageSource
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import BuildRequest, Session, detect_machine_arch
from minbuild.pipeline.tool_lock import select_tool_packages
from minbuild.toolbox.toolbox import Toolbox

TRIXIE = Archive(suites=("trixie",))


def market_of(store: Store, archive: Archive = TRIXIE, arch: str = "") -> PackageSource:
    """An archive on the machine's mirror; for this machine's architecture if none is named."""
    doors, mirror = Session(store.directory), find_mirror("")
    index = open_index(
        archive,
        arch or detect_machine_arch(),
        mirror,
        doors.store,
        offline=False,
        progress=doors.progress,
    )
    return PackageSource(index, mirror, doors)


def toolbox_of(tools: Sequence[Tool], market: PackageSource, *, epoch: int = 0) -> Toolbox:
    """Tools of any packages, run without being installed."""
    grown = select_tool_packages(tools, market)
    chosen = tuple(grown.closure.files.values())
    extract_chosen_files(BuildRequest(Path()), grown.packages, chosen, market.session)
    entries = [one.entry for one in chosen]
    return Toolbox(tools, entries, market.session.store, arch=detect_machine_arch(), epoch=epoch)
