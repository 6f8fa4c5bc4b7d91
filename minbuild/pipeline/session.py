"""Build request of a command, and the session in which it runs: store, progress, open tools."""

import contextlib
import hashlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.archive.model import MACHINES
from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.data import data_directory
from minbuild.errors import ToolError
from minbuild.file_io import hash_file
from minbuild.lazy_import import import_lazily
from minbuild.manifest.image_settings import Compression, DibLocation
from minbuild.manifest.input_files import Trust
from minbuild.manifest.matrix import list_combinations
from minbuild.manifest.model import Archive, Manifest
from minbuild.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from minbuild.facts.model import PackageFiles
    from minbuild.pipeline import shared_store
    from minbuild.toolbox.preload import PreloadingToolbox
else:  # most hosts have none
    (shared_store,) = import_lazily("minbuild.pipeline", "shared_store")


@dataclass(frozen=True, slots=True)
class BuildRequest:
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
    output_root: Path | None = None
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
    dib_in: DibLocation = DibLocation.AUTO
    trust: Trust = field(default_factory=Trust)
    """What the manifest may reach on this machine."""

    @property
    def provisional_name(self) -> str:
        """A name before the manifest is read: its file's, and the combination of its matrix."""
        return f"{self.manifest.stem}-{self.cell}" if self.cell else self.manifest.stem

    @property
    def manifest_argument(self) -> str:
        """The manifest as a command names it: one that ships by its name alone."""
        is_shipped = self.manifest.is_relative_to(data_directory("manifests"))
        return self.manifest.stem if is_shipped else str(self.manifest)


def expand_matrices(requests: Sequence[BuildRequest]) -> tuple[BuildRequest, ...]:
    """Replace each manifest that has a matrix by one request for each combination."""
    cells: list[BuildRequest] = []
    for request in requests:
        names = () if request.cell else list_combinations(request.manifest)
        cells += [replace(request, cell=name) for name in names] or [request]
    return tuple(cells)


@dataclass(frozen=True)
class Session:
    """What a build reaches the world through."""

    store_directory: Path
    progress: Progress = field(default_factory=SilentProgress)
    parallel_builds: int = 1
    """Builds that go on side by side."""
    shared_store: str = ""
    """URL of a store that several machines share; "" for what the environment names, or none."""
    offline: bool = False
    """True: only a shared store in a directory is used."""
    partition: int | None = None
    """Of a disk that a root or an image is read from: the one to read; None for what boots."""

    @cached_property
    def store(self) -> Store:
        store = Store(self.store_directory)
        if self.shared_store or os.environ.get("MINBUILD_STORE_REMOTE"):
            store.remote = shared_store.open_shared_store(self.shared_store, offline=self.offline)
        return store

    @cached_property
    def toolboxes(self) -> "dict[tuple[object, ...], PreloadingToolbox]":
        """Those that this run has used: each tree of tools is checked once."""
        return {}

    @cached_property
    def package_files(self) -> "dict[str, PackageFiles]":
        """What locked packages offer that this run has asked, by the SHA-256 of the package."""
        return {}

    def with_progress(self, progress: Progress) -> "Session":
        """The same doors, with progress shown elsewhere."""
        return self._share_caches_with(replace(self, progress=progress))

    def for_parallel_builds(self, parallel_builds: int) -> "Session":
        """The same doors, for builds that go on side by side."""
        return self._share_caches_with(replace(self, parallel_builds=parallel_builds))

    def _share_caches_with(self, session: "Session") -> "Session":
        session.__dict__.update(
            store=self.store, toolboxes=self.toolboxes, package_files=self.package_files
        )
        return session

    @contextlib.contextmanager
    def stop_tools_at_end(self) -> Iterator[None]:
        """End the tools that a build preloads, unless other builds go on beside it."""
        try:
            yield
        finally:
            if self.parallel_builds == 1:
                self.stop_preloaded_tools()

    def stop_preloaded_tools(self) -> None:
        """End what was begun ahead."""
        for toolbox in self.toolboxes.values():
            toolbox.stop_preloaded()

    def close(self) -> None:
        """End what was begun, and close the store's records."""
        self.stop_preloaded_tools()
        if "store" in self.__dict__:
            self.store.close()


def find_store_directory() -> Path:
    """The store's place when no option names it. Source: XDG Base Directory Specification."""
    if configured := os.environ.get("MINBUILD_STORE"):
        return Path(configured)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "minbuild"


SOURCE_DIRECTORY = Path(__file__).parents[1]
"""Where the code of minbuild lies."""


def digest_source_code(store: Store, top: Path = SOURCE_DIRECTORY) -> str:
    """The code of minbuild, as a digest of its files' contents: the same on every machine.

    The store remembers it under the files' sizes and times of change, so that they are read once
    after a change.
    """
    key = _digest_source_stamps(top)
    known = store.get(RecordKind.SOURCE_CODE, key)
    digest = _digest_source_contents(top, key) if known is None else known.decode()
    if known is None:
        store.put(RecordKind.SOURCE_CODE, {key: digest.encode()})
    return digest


@cache
def _digest_source_stamps(top: Path) -> str:
    lines = []
    for path in sorted(top.rglob("*.py")):
        stat = path.stat()
        lines.append(f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def _digest_source_contents(top: Path, stamps: str) -> str:
    names = sorted((path.relative_to(top).as_posix(), path) for path in top.rglob("*.py"))
    lines = [f"{name} {hash_file(path)}" for name, path in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def locate_lock(request: BuildRequest, manifest: Manifest) -> Path:
    """Where the lock lies: beside the manifest.

    That of a shipped manifest which was found by its name alone lies in the current directory.
    """
    return _locate_lock_named(request, manifest.name)


def locate_output(request: BuildRequest, manifest: Manifest) -> Path:
    """Where the outputs of a build lie: --output, or build/NAME."""
    return request.output or (request.output_root or Path("build")) / manifest.name


def read_lock_size(request: BuildRequest) -> int:
    """How much there is to do, before the manifest is read: bytes of its lock; 0: not known."""
    try:
        return locate_provisional_lock(request).stat().st_size
    except OSError:
        return 0


def locate_provisional_lock(request: BuildRequest) -> Path:
    """Where the lock lies, before the manifest is read."""
    return _locate_lock_named(request, request.provisional_name)


def _locate_lock_named(request: BuildRequest, name: str) -> Path:
    if request.lock is not None:
        return request.lock
    if request.manifest.is_relative_to(data_directory("manifests")):
        return Path(f"{name}.lock")
    if request.cell:
        return request.manifest.with_name(f"{name}.lock")
    return request.manifest.with_suffix(".lock")


def detect_machine_arch() -> str:
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


BUILD_ATTEMPTS = 4
"""Times that a build begins; each finds at least one damaged entry and drops it."""


class CacheRecovery:
    """Another attempt at a build that found damage in the cache: `while True: with recovery: …`.

    The block ends the loop with `return` when it succeeds. A CacheCorrupted becomes a note, and the
    next turn of the loop finds the damaged entry gone; the fourth one is raised, since the disk
    then does not keep what is written to it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._remaining = BUILD_ATTEMPTS

    def __enter__(self) -> None:
        self._remaining -= 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        recovers = isinstance(error, CacheCorrupted) and self._remaining > 0
        if isinstance(error, CacheCorrupted) and recovers:
            self._session.progress.note(f"{error.what} ({error.where}): made or fetched anew")
            self._session.package_files.clear()
        self._report_damage()
        return recovers

    def _report_damage(self) -> None:
        store = self._session.store
        entries, store.damage_log = store.damage_log, []
        for entry in entries:
            self._session.progress.note(f"the store had a damaged entry, and dropped it: {entry}")
