"""A build whose files come from an installed root instead of an archive's packages."""

import contextlib
import functools
import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.types import INSTALLED, Lock, Package
from minbuild.build.commands import heeded
from minbuild.build.ground import Ground, stand_tools
from minbuild.build.request import Doors, Request, lock_file
from minbuild.build.selection import named
from minbuild.build.strings import follow_names
from minbuild.build.tools import lay_tools
from minbuild.errors import ResolveError, together
from minbuild.facts.rendered import rendered
from minbuild.facts.root.container import Choice
from minbuild.facts.root.offer import Offer
from minbuild.facts.root.types import Program, Readers, Source
from minbuild.facts.types import Files, Kind
from minbuild.manifest.rulebook import rulebook
from minbuild.manifest.types import ANY, Manifest
from minbuild.paths import RootPath
from minbuild.resolve import explain
from minbuild.resolve.relocate import relocate
from minbuild.resolve.resolve import resolve
from minbuild.resolve.roots import roots
from minbuild.resolve.types import Closure, Missing, NeedKind
from minbuild.subject.source import open_source
from minbuild.toolbox.toolbox import Toolbox

RPM_CONFIG = RootPath("/usr/lib/rpm")


def stand_root(request: Request, manifest: Manifest, doors: Doors, *, tools: bool) -> Ground:
    """Resolve a manifest over the files of its root; what is chosen is kept in the store.

    `tools`: the ground's lock pins a toolbox, for images.
    Raises: UsageError when there is no such root; ToolError; ResolveError.
    """
    work = Path(tempfile.mkdtemp(prefix="work-", dir=doors.store.directory / "partial"))
    try:
        root = Path(manifest.archive.root)
        choice = Choice(arch=manifest.arch)
        reach = readers(doors, request)
        source = open_source(root, work, lambda: reach, choice=choice, starts=False)
        offer = Offer(source, owned=manifest.archive.owners, rpm=reach.rpm)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    # facts are read when they are asked for, also by later steps: the work lasts as long
    weakref.finalize(offer, shutil.rmtree, work, ignore_errors=True)
    ground = stand_offer(manifest, offer, doors)
    return ground if not tools else _with_tools(ground, request, doors)


def stand_offer(manifest: Manifest, offer: Offer, doors: Doors) -> Ground:
    """Resolve a manifest over a root; the lock lists the root's packages.

    Raises: ResolveError when the root lacks what a need asks for.
    """
    doors.progress.step(f"reading {offer.source.name}")
    own = rendered((file for one in manifest.components for file in one.files), doors.store)
    files = (own, *offer.files)

    def read(package: str, path: RootPath, digest: str) -> bytes:
        return offer.content(path) if package else doors.store.need(digest)

    closure = follow_names(manifest, doors.store, read, lambda strings: resolve(
        relocate(roots(manifest), files),
        files,
        arch=manifest.arch,
        drop=manifest.drop,
        allow_missing=manifest.allow_missing,
        dlopen=manifest.dlopen,
        rulebook=rulebook(manifest.rules),
        strings=strings,
    ))  # fmt: skip
    closure = heeded(closure, files, manifest.allow_missing, read, doors.store)
    for hidden, taken in offer.hidden:
        if taken.path in closure.chosen:
            doors.progress.note(f"of two files one is left out: /{hidden.raw}, for /{taken.raw}")
    if closure.missing or closure.unused:
        raise _lack(closure, files, offer)
    for path, chosen in closure.chosen.items():
        if chosen.package and chosen.entry.kind is Kind.FILE:
            offer.keep(path, doors.store)
    lock = Lock(manifest.arch, (), _packages(closure, offer), ())
    return Ground(manifest, lock, files, closure)


@contextlib.contextmanager
def open_root(
    path: Path, doors: Doors, *, choice: Choice, leave: Sequence[str] = ()
) -> Iterator[Source]:
    """Open a root for a while. Raises: as `open_source`."""
    with doors.store.work() as work:
        reach = readers(doors)
        yield open_source(path, work, lambda: reach, choice=choice, leave=leave)


def readers(doors: Doors, request: Request | None = None) -> Readers:
    """The toolbox's programs for a root that a stranger made: each runs in a sandbox."""
    at = request or Request(Path())
    return Readers(lambda name: _program(name, at, doors), doors.progress.note, doors.partition)


def _program(name: str, request: Request, doors: Doors) -> Program:
    """A tool of the toolbox, fetched when it is first run."""
    toolbox = _alone(name, request, doors)

    def run(
        args: Sequence[str | Path],
        *,
        what: str,
        reads: Sequence[Path] = (),
        writes: Path | None = None,
        stdin: bytes = b"",
        stdout: Path | None = None,
        output: int = 256 << 20,
        file: int = 1 << 20,
        codes: Sequence[int] = (0,),
    ) -> bytes:
        env = {"RPM_CONFIGDIR": str(toolbox().path(RPM_CONFIG))} if name == "rpm" else {}
        return toolbox().confined(
            name, args, what=what, reads=reads, writes=writes, stdin=stdin, stdout=stdout,
            output=output, file=file, env=env, codes=codes, note=doors.progress.note,
        )  # fmt: skip

    return run


def _alone(name: str, request: Request, doors: Doors) -> Callable[[], Toolbox]:
    @functools.cache
    def toolbox() -> Toolbox:
        only = named(name)
        return lay_tools(request, stand_tools(request, doors, only), doors, only)

    return toolbox


def _with_tools(ground: Ground, request: Request, doors: Doors) -> Ground:
    place = lock_file(request, ground.manifest)
    tools = lockfile.read(place) if place.exists() else stand_tools(request, doors)
    lock = Lock(ground.lock.arch, tools.suites, ground.lock.packages, tools.toolbox)
    return Ground(ground.manifest, lock, ground.files, ground.closure)


def _packages(closure: Closure, offer: Offer) -> tuple[Package, ...]:
    """The root's packages that the closure takes files from, each known by those files."""
    lines: dict[str, list[str]] = {}
    for chosen in closure.chosen.values():
        if chosen.package:
            lines.setdefault(chosen.package, []).append(repr(chosen.entry))
    distribution = offer.release.get("ID", "linux")
    suite = offer.release.get("VERSION_CODENAME") or offer.release.get("VERSION_ID", "")
    found = []
    for name, entries in sorted(lines.items()):
        owner = offer.owners.get(name)
        found.append(
            Package(
                name=name,
                version=owner.version if owner else "",
                arch=owner.arch if owner else "",
                root="",
                path=f"{INSTALLED}/{owner.kind}/{distribution}" if owner else f"{INSTALLED}/",
                size=0,
                sha256=hashlib.sha256("\n".join(entries).encode()).hexdigest(),
                suite=suite if owner else "",
                source=owner.source if owner else "",
                source_version=owner.source_version if owner else "",
            )
        )
    return tuple(found)


def _wanted(missing: Missing) -> str:
    if missing.package == ANY:
        return "what has it"
    return f"{missing.package} (or what your distribution calls it)"


def _lack(closure: Closure, files: tuple[Files, ...], offer: Offer) -> ResolveError:
    """Say of a root what it lacks: no other package will bring it."""
    said = explain.error(closure, files)
    problems: list[ResolveError] = []
    for number, error in enumerate((said, *said.others)):
        each = error
        missing = closure.missing[number] if number < len(closure.missing) else None
        if missing is not None and missing.kind is NeedKind.ROOT and missing.package:
            each = ResolveError(
                f"the root holds no {missing.wanted}",
                where=f"{offer.source.name}; {missing.evidence}, component {missing.by}",
                fix=f"install {_wanted(missing)} in the root, or leave the component out",
            )
        if isinstance(each, ResolveError):
            problems.append(each)
    return together(problems)
