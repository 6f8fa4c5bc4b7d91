"""The life of a build: the same steps in the same order for every command that builds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.build import state
from minbuild.build.again import again
from minbuild.build.request import Doors, Request, lock_file
from minbuild.errors import UsageError
from minbuild.footprint.types import Footprint
from minbuild.manifest.kept import remembering
from minbuild.manifest.load import load
from minbuild.manifest.types import ImageFormat, Manifest

# What follows is imported by each step: a build without a change needs none of it.
if TYPE_CHECKING:
    from minbuild.archive.types import Package
    from minbuild.build import locking
    from minbuild.build.ground import Ground
    from minbuild.toolbox.toolbox import Toolbox
    from minbuild.tree.types import Tree

    Stand = Callable[[Request, Manifest, Doors], Ground]


@dataclass(frozen=True, slots=True)
class Planned:
    """A manifest that was resolved and not built."""

    ground: "Ground"
    tree: "Tree"
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Prepared:
    """A manifest that was resolved and proved, with the tools that will write its images."""

    request: Request
    cause: str
    """The manifest as it was read, as a digest: what packages declare is not yet in it."""
    ground: "Ground"
    tree: "Tree"
    toolbox: "Toolbox"
    directory: Path
    lock: Path


@dataclass(frozen=True, slots=True)
class Built:
    """A manifest whose images stand in a directory."""

    manifest: Manifest
    directory: Path
    footprint: Footprint
    fresh: bool
    """False: nothing had changed, and the images of the last build stand."""


def make(request: Request, doors: Doors) -> Built:
    """Build every image of a manifest, unless those of the last build still hold."""
    return again(lambda: _make(request, doors), doors)


def _make(request: Request, doors: Doors) -> Built:
    try:
        ready = prepare(request, doors)
        return ready if isinstance(ready, Built) else finish(ready, doors)
    finally:
        doors.rest()


def prepare(request: Request, doors: Doors) -> Prepared | Built:
    """Take a build to where only its images are to be written; `Built` when nothing had changed."""
    manifest = read(request, doors)
    directory = request.output or (request.parent or Path("build")) / manifest.name
    place = lock_file(request, manifest)
    cause = state.cause(manifest)
    last = state.unchanged(doors.store, directory, state.key(cause, place))
    if last is not None and not manifest.archive.root and not manifest.elements:
        return Built(manifest, directory, last, fresh=False)

    from minbuild.build.archives import with_archives
    from minbuild.build.tools import begin, open_toolbox

    request = with_archives(request, manifest)
    begin(request, place, manifest, doors)
    ground, tree = _grown(_stood, request, manifest, doors)
    toolbox = open_toolbox(request, ground.lock, doors, image=manifest.image)
    return Prepared(request, cause, ground, tree, toolbox, directory, place)


def finish(ready: Prepared, doors: Doors) -> Built:
    """Write the images of a prepared build."""
    from minbuild.build.packing import pack
    from minbuild.build.starting import unstarted

    for text in unstarted(ready.tree, ready.ground.manifest):
        doors.progress.note(text)
    footprint, outputs = pack(
        ready.request, ready.ground, ready.tree, ready.toolbox, ready.directory, doors
    )
    state.remember(doors.store, ready.directory, state.key(ready.cause, ready.lock), outputs)
    return Built(ready.ground.manifest, ready.directory, footprint, fresh=True)


def _grown(
    stand: "Stand", request: Request, manifest: Manifest, doors: Doors
) -> "tuple[Ground, Tree]":
    """A manifest's ground and its tree, proved closed; elements see the tree without them."""
    from minbuild.build.cmdline import check_cmdline
    from minbuild.build.proof import prove
    from minbuild.build.starting import unknown_accounts
    from minbuild.build.surface import kconfig

    ground = _settled(stand, request, manifest, doors)
    tree = grow_tree(request, ground, doors)
    if manifest.elements:
        from minbuild.build.elements import with_elements

        ground = _settled(stand, request, with_elements(manifest, tree, doors), doors)
        tree = grow_tree(request, ground, doors)
    prove(ground, tree, doors)
    for text in unknown_accounts(tree, doors.store):
        doors.progress.note(text)
    check_cmdline(ground.manifest, kconfig(ground, tree.release) or {})
    return ground, tree


def _settled(stand: "Stand", request: Request, manifest: Manifest, doors: Doors) -> "Ground":
    """A ground with the users and directories that its packages declare."""
    from minbuild.build.declared import with_declared

    ground = stand(request, manifest, doors)
    if ground.manifest.archive.root:  # an installed root has them
        return ground
    more = with_declared(ground.manifest, ground.closure, ground.files)
    return ground if more is ground.manifest else stand(request, more, doors)


def _stood(request: Request, manifest: Manifest, doors: Doors) -> "Ground":
    if manifest.archive.root:
        from minbuild.build.rooted import stand_root

        return stand_root(request, manifest, doors, tools=True)
    from minbuild.build.ground import stand

    return stand(request, manifest, doors)


def plan(request: Request, doors: Doors) -> Planned:
    """Resolve a manifest and measure what would be packed; nothing is written but the store."""
    return again(lambda: _plan(request, doors), doors)


def _surveyed(request: Request, manifest: Manifest, doors: Doors) -> "Ground":
    if manifest.archive.root:
        from minbuild.build.rooted import stand_root

        return stand_root(request, manifest, doors, tools=False)
    from minbuild.build.ground import survey

    return survey(request, manifest, doors)


def _plan(request: Request, doors: Doors) -> Planned:
    from minbuild.build.archives import with_archives
    from minbuild.build.cmdline import cmdline
    from minbuild.build.surface import look
    from minbuild.build.weights import estimate, weigh
    from minbuild.footprint.measure import measure

    manifest = read(request, doors)
    request = with_archives(request, manifest)
    ground, tree = _grown(_surveyed, request, manifest, doors)
    weights = weigh(tree, doors.store)
    footprint = measure(
        ground.manifest,
        tree,
        ground.lock.packages,
        initramfs=estimate(tree, weights),
        packed={},
        weights=weights,
        surface=look(ground, tree, cmdline(ground.manifest), doors.store),
    )
    return Planned(ground, tree, footprint)


def propose(
    request: Request, doors: Doors, *, update: bool, only: Sequence[str] = ()
) -> "locking.Proposal":
    """Make the lock that a manifest would get now; `accept` writes it."""
    from minbuild.build import locking
    from minbuild.build.archives import with_archives

    manifest = read(request, doors)
    known = with_archives(request, manifest)
    return again(lambda: locking.propose(known, manifest, doors, update=update, only=only), doors)


def accept(proposal: "locking.Proposal") -> None:
    """Write a proposed lock."""
    from minbuild.build import locking

    locking.accept(proposal)


def newer(request: Request, doors: Doors) -> "tuple[locking.Newer, ...]":
    """What the archive has newer than the lock of a manifest."""
    from minbuild.build import locking
    from minbuild.build.archives import with_archives

    manifest = read(request, doors)
    known = with_archives(request, manifest)
    return again(lambda: locking.newer(known, manifest, doors), doors)


def fetch(request: Request, doors: Doors) -> "tuple[Package, ...]":
    """Bring every package of a manifest's lock into the store."""
    from minbuild.build import locking
    from minbuild.build.archives import with_archives

    manifest = read(request, doors)
    return locking.fill(with_archives(request, manifest), manifest, doors)


def read(request: Request, doors: Doors | None = None) -> Manifest:
    """Load the manifest of a request; with `doors`, what was rendered is kept in their store.

    Raises: ManifestError with every problem of it.
    """
    if doors is not None:
        from minbuild.build.scripts import check_scripts

        with remembering(doors.store, state.code()):
            manifest = read(request)
            check_scripts(manifest, doors.store)
            return manifest
    manifest = load(
        request.manifest,
        settings=request.settings,
        components=request.components,
        cell=request.cell,
        trust=request.trust,
    )
    if request.root is not None:
        archive = replace(manifest.archive, root=str(request.root), suites=("installed root",))
        manifest = replace(manifest, archive=archive)
    elif manifest.archive.root_to_give:
        raise UsageError(
            "the manifest takes its files from a root, and none is given",
            where=str(request.manifest),
            fix="give it: --root PATH (a directory, a tar, a container image or a disk image)",
        )
    if manifest.drop:
        from minbuild.build.overriding import with_own_words

        manifest = with_own_words(manifest)
    own = manifest.image.compression
    if request.compression in {None, own}:
        return manifest
    image = replace(manifest.image, compression=request.compression, instead_of=own)
    return replace(manifest, image=image)


def grow_tree(request: Request, ground: "Ground", doors: Doors) -> "Tree":
    """Bring the contents of a closure into the store and make its tree."""
    from minbuild.build.commands import warned
    from minbuild.build.contents import bring
    from minbuild.build.strings import with_named_paths
    from minbuild.tree.assemble import assemble

    bring(request, ground.lock.packages, ground.closure.chosen.values(), doors)
    tree = assemble(ground.manifest, ground.closure, ground.files, doors.store)
    tree = with_named_paths(tree, ground.files, doors.store)
    if tree.unpacked:
        from minbuild.tree.unpacked import WHY

        doors.progress.note(f"modules unpacked: {len(tree.unpacked)}, since {WHY}")
    _tell_lost_capabilities(tree, ground.manifest, doors)
    _tell_undriven(ground, doors)
    tree = warned(tree, ground.manifest, doors.store)
    if tree.cautions:
        from minbuild.build.elsewhere import command_owners

        lock = ground.lock
        found = command_owners(tree.cautions, lock.suites, lock.arch, doors.store)
        for name, packages in found.items():
            doors.progress.note(f"the command {name} is in the package {packages}")
    return tree


def _tell_undriven(ground: "Ground", doors: Doors) -> None:
    names = [name for part in ground.manifest.components for name in part.hardware]
    if names:
        from minbuild.build.hardware import undriven

        for text in undriven(names, ground.closure.absent, ground.closure.kernel):
            doors.progress.note(text)


def _tell_lost_capabilities(tree: "Tree", manifest: Manifest, doors: Doors) -> None:
    """Name the files whose capabilities an initramfs cannot hold. Source: cpio's newc has no place."""
    able = [str(node.path) for node in tree.nodes if node.capability]
    formats = [str(one) for one in manifest.image.formats if one is not ImageFormat.TAR]
    if able and formats:
        doors.progress.note(
            f"{', '.join(formats)}: an initramfs cannot hold file capabilities, and these have "
            f"some: {', '.join(able)}"
        )
