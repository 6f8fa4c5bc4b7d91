"""Packages of the machine's mirror as tests use them, and tools that run out of them."""

from collections.abc import Sequence
from pathlib import Path

from minbuild.archive.index import open_index
from minbuild.archive.mirror import find_mirror
from minbuild.cache.store import Store
from minbuild.manifest.model import Archive, Tool
from minbuild.pipeline.lock_creation import select_tool_packages
from minbuild.pipeline.package_selection import PackageSource
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import BuildRequest, Session, detect_machine_arch
from minbuild.toolbox.toolbox import Toolbox

TRIXIE = Archive(suites=("trixie",))


def open_real_archive(store: Store, archive: Archive = TRIXIE, arch: str = "") -> PackageSource:
    """An archive on the machine's mirror; for this machine's architecture if none is named."""
    session, mirror = Session(store.directory), find_mirror("")
    index = open_index(
        archive,
        arch or detect_machine_arch(),
        mirror,
        session.store,
        offline=False,
        progress=session.progress,
    )
    return PackageSource(index, mirror, session)


def make_toolbox(
    tools: Sequence[Tool], package_source: PackageSource, *, epoch: int = 0
) -> Toolbox:
    """Tools of any packages, run without being installed."""
    selection = select_tool_packages(tools, package_source)
    chosen = tuple(selection.closure.files.values())
    extract_chosen_files(BuildRequest(Path()), selection.packages, chosen, package_source.session)
    entries = [one.entry for one in chosen]
    return Toolbox(
        tools, entries, package_source.session.store, arch=detect_machine_arch(), epoch=epoch
    )
