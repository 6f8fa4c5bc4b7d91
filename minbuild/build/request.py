"""What a command asks of a build, and the doors it goes through."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.archive.machines import MACHINES
from minbuild.dib.types import DibIn
from minbuild.errors import ToolError
from minbuild.manifest.trust import Trust
from minbuild.manifest.types import Archive, Compression, Manifest
from minbuild.progress import Progress, Silent
from minbuild.shipped import shipped
from minbuild.store import Store

if TYPE_CHECKING:
    from minbuild.facts.types import Files
    from minbuild.toolbox.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Request:
    """One build as the command line asks for it."""

    manifest: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    cell: str = ""
    """One combination of the manifest's matrix; "" for the manifest as it stands."""
    components: tuple[Path, ...] = ()
    mirror: tuple[str, ...] = ()
    """Addresses of mirrors, best first; () for those of the manifest or this machine."""
    output: Path | None = None
    """Output directory; None for build/NAME below the current directory."""
    parent: Path | None = None
    """Directory that holds the output directory, when that is not named itself; None for build."""
    lock: Path | None = None
    """Lock file; None for MANIFEST's own place."""
    locked: bool = False
    """True: refuse to build without a lock."""
    offline: bool = False
    allow_downgrade: bool = False
    """True: a Release older than the newest one that the store has seen is taken."""
    trust_lock: bool = False
    """True: rows of the lock that no signed index has are taken as they stand."""
    archives: tuple[Archive, ...] = ()
    """Those of the manifest once it is read, Debian's own first."""
    chooses_tools: bool = True
    """False: the manifest, once it is read, may not choose what runs on this machine."""
    root: Path | None = None
    """A root that files come from instead of packages; None for the manifest's own archive."""
    compression: Compression | None = None
    """None for the manifest's own."""
    dib_in: DibIn = DibIn.AUTO
    trust: Trust = field(default_factory=Trust)
    """What the manifest may reach on this machine."""

    @property
    def stem(self) -> str:
        """A name before the manifest is read: its file's, and the combination of its matrix."""
        return f"{self.manifest.stem}-{self.cell}" if self.cell else self.manifest.stem

    @property
    def told(self) -> str:
        """The manifest as a command names it: one that ships by its name alone."""
        ships = self.manifest.is_relative_to(shipped("manifests"))
        return self.manifest.stem if ships else str(self.manifest)


@dataclass(frozen=True)
class Doors:
    """What a build reaches the world through."""

    store_directory: Path
    progress: Progress = field(default_factory=Silent)
    at_once: int = 1
    """Builds that go on side by side."""
    partition: int | None = None
    """Of a disk that a root or an image is read from: the one to read; None for what boots."""

    @cached_property
    def store(self) -> Store:
        return Store(self.store_directory)

    @cached_property
    def toolboxes(self) -> "dict[tuple[object, ...], Toolbox]":
        """Those that this run has used: each tree of tools is checked once."""
        return {}

    @cached_property
    def opened(self) -> "dict[str, Files]":
        """What locked packages offer that this run has asked, by the SHA-256 of the package."""
        return {}

    def told(self, progress: Progress) -> "Doors":
        """The same doors, with progress shown elsewhere."""
        return self._same(replace(self, progress=progress))

    def shared(self, at_once: int) -> "Doors":
        """The same doors, for builds that go on side by side."""
        return self._same(replace(self, at_once=at_once))

    def _same(self, found: "Doors") -> "Doors":
        found.__dict__.update(store=self.store, toolboxes=self.toolboxes, opened=self.opened)
        return found

    def rest(self) -> None:
        """End what was begun ahead."""
        for toolbox in self.toolboxes.values():
            toolbox.rest()

    def close(self) -> None:
        """End what was begun, and close the store's records."""
        self.rest()
        if "store" in self.__dict__:
            self.store.close()


def default_store() -> Path:
    """The store's place when no option names it. Source: XDG Base Directory Specification."""
    if named := os.environ.get("MINBUILD_STORE"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "minbuild"


def lock_file(request: Request, manifest: Manifest) -> Path:
    """Where the lock lies: beside the manifest.

    That of a shipped manifest which was found by its name alone lies in the current directory.
    """
    return _lock_named(request, manifest.name)


def work_expected(request: Request) -> int:
    """How much there is to do, before the manifest is read: bytes of its lock; 0: not known."""
    try:
        return _lock_named(request, request.stem).stat().st_size
    except OSError:
        return 0


def _lock_named(request: Request, name: str) -> Path:
    if request.lock is not None:
        return request.lock
    if request.manifest.is_relative_to(shipped("manifests")):
        return Path(f"{name}.lock")
    if request.cell:
        return request.manifest.with_name(f"{name}.lock")
    return request.manifest.with_suffix(".lock")


def machine_arch() -> str:
    """The Debian architecture of this machine, which tools are taken for.

    Raises: ToolError on a machine that Debian has no packages for here.
    """
    machine = platform.machine()
    if machine not in MACHINES:
        raise ToolError(
            f"minbuild has no tools for this machine's architecture {machine}",
            fix=f"build on one of {', '.join(sorted(MACHINES))}",
        )
    return MACHINES[machine]
