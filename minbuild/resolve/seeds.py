"""What the roots choose first, before anything follows from it."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbuild.facts.types import Entry, Files, Kind
from minbuild.paths import RootPath, rootpath
from minbuild.resolve import pattern
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.kernel import IMAGE, IMAGES
from minbuild.resolve.roots import OWN
from minbuild.resolve.rulebook import asked
from minbuild.resolve.rules import firmware
from minbuild.resolve.types import Missing, Need, NeedKind, Root
from minbuild.resolve.world import Outcome, World

APPLET = ": applet of "
"""In the evidence of a file that lies where an applet's link is to lie; then the link's."""
_PAPER = ("/usr/share/doc/", "/usr/share/bug/", "/usr/share/lintian/", "/usr/share/man/")


@dataclass(frozen=True, slots=True)
class Applets:
    """Links to BusyBox's applets, by path."""

    standing: Mapping[RootPath, Root]
    replaced: Mapping[RootPath, Root]
    """Those whose place a package's file takes, since the manifest itself keeps that file."""


def applets(roots: Sequence[Root], catalog: Catalog) -> Applets:
    """Tell which applets' links stand: a component cannot know what a manifest will keep."""
    links = {rootpath(root.text): root for root in roots if root.applet}
    kept = [root for root in roots if links and root.package and root.component == OWN]
    taken = {path for root in kept for path, _ in _search(root, catalog)[0]} & links.keys()
    return Applets(
        {path: root for path, root in links.items() if path not in taken},
        {path: links[path] for path in sorted(taken)},
    )


def paths(
    root: Root, catalog: Catalog, pins: dict[RootPath, str], applets: Applets
) -> Iterator[Outcome]:
    """A path or glob of one package, or a path of a rendered file; pins what it finds."""
    if not root.package:
        if rootpath(root.text) not in applets.replaced:
            yield _rendered(root, catalog)
        return
    found, asked, searched = _search(root, catalog)
    for path, files in found:
        if path in applets.standing and not _is_applet(files.entries[path]):
            link = applets.standing[path]
            evidence = f"{root.evidence}{APPLET}{link.evidence}, component {link.component}"
            yield _lack(root, path, files.owner, (files.owner,), evidence)
            continue
        other = pins.setdefault(path, files.owner)
        if other == files.owner:
            catalog.pin(path, files, rendered=path in applets.replaced)
            evidence = f"{root.evidence}{_instead(path, applets)}"
            yield Need(path, root.component, NeedKind.ROOT, evidence)
        elif not _same(path, files, catalog.by_name[other]):
            evidence = f"{root.evidence}: already taken from package {other}"
            yield _lack(root, path, files.owner, (files.owner,), evidence)
    if not found:
        yield _lack(root, root.text, asked, searched, root.evidence)


def modules(root: Root, world: World) -> Iterator[Outcome]:
    """A module by name, alias, path or glob."""
    hits = world.kernel.find(root.text)
    for path in hits.paths:
        yield Need(path, root.component, NeedKind.MODULE, root.evidence)
    for name in hits.builtin:
        world.note_builtin(name, root.component)
        for blob in world.kernel.builtin[name].firmware:
            evidence = f"firmware={blob} of built-in {name}"
            yield from firmware(world, blob, root.component, evidence, world.kernel.package)
    if hits or root.text in world.known_builtin:
        return
    if root.optional:
        world.note_absent(root.text, root.component)
    else:
        yield _lack(root, root.text, world.kernel.package, _kernel(world), root.evidence)


def blobs(root: Root, world: World) -> Iterator[Outcome]:
    """A firmware file by name or glob."""
    package = root.package or world.kernel.package
    yield from firmware(world, root.text, root.component, root.evidence, package)


def options(root: Root, world: World) -> Iterator[Outcome]:
    """A kernel option: built in or as a module."""
    name = root.text.removeprefix("CONFIG_")
    if world.kernel.options.get(name) not in ("y", "m"):
        looked = (str(world.kernel.config_path),) if world.kernel.options else ()
        yield _lack(root, name, world.kernel.package, looked, root.evidence)


NAMES: Mapping[NeedKind, Callable[[Root, World], Iterator[Outcome]]] = {
    NeedKind.MODULE: modules,
    NeedKind.FIRMWARE: blobs,
    NeedKind.KCONFIG: options,
    NeedKind.DATA: asked,
}
"""Roots that are names in a kernel or of a rule; all others are paths."""


def _instead(path: RootPath, applets: Applets) -> str:
    link = applets.replaced.get(path)
    if link is None:
        return ""
    name = path.rpartition("/")[2]
    return f", in place of the applet {name} of {link.component} ({link.evidence})"


def _is_applet(entry: Entry) -> bool:
    """Tell whether a package's own file is such a link: postmarketOS and others ship them."""
    return entry.kind is Kind.LINK and entry.target.rpartition("/")[2] == "busybox"


def _rendered(root: Root, catalog: Catalog) -> Outcome:
    path = rootpath(root.text)
    if catalog.entry(path) is not None:
        return Need(path, root.component, NeedKind.ROOT, root.evidence)
    return _lack(root, path, "", (), root.evidence)


def _search(
    root: Root, catalog: Catalog
) -> tuple[list[tuple[RootPath, Files]], str, tuple[str, ...]]:
    """Find a root in its package, or in those that a package without files of its own names.

    Returns: what was found; the package to ask for next; the packages searched.
    """
    todo = deque(catalog.named(root.package))
    searched: list[str] = []
    absent = ""
    while todo:
        name = todo.popleft()
        files = catalog.by_name[name]
        found = [(path, files) for path in _matches(root.text, files, catalog)]
        if found:
            return found, name, tuple(searched)
        searched.append(name)
        paper = only_paper(files)
        if name in catalog.named(root.package) and not paper:
            break
        for alternatives in files.depends:
            given = [each for want in alternatives for each in catalog.named(want)]
            if not given and paper:
                absent = absent or alternatives[0]
            todo.extend(each for each in given if each not in (*searched, *todo))
    return [], absent or root.package, () if absent else tuple(searched)


def _matches(text: str, files: Files, catalog: Catalog) -> tuple[RootPath, ...]:
    if text == IMAGE:
        return tuple(path for each in IMAGES for path in catalog.matching(rootpath(each), files))
    path = rootpath(text)
    if pattern.is_pattern(text):
        return tuple(catalog.matching(path, files))
    if path in files.entries:
        return (path,)
    reached = catalog.reach(text)
    return (reached.path,) if reached and reached.path in files.entries else ()


def only_paper(files: Files) -> bool:
    """Tell a package that exists for its Depends from one with files of its own."""
    return all(
        path.startswith(_PAPER) or files.entries[path].kind is Kind.DIRECTORY
        for path in files.entries
    )


def _same(path: RootPath, one: Files, other: Files) -> bool:
    return one.entries[path] == other.entries[path]


def _kernel(world: World) -> tuple[str, ...]:
    return (world.kernel.directory,) if world.kernel.version else ()


def _lack(root: Root, wanted: str, package: str, looked: tuple[str, ...], evidence: str) -> Missing:
    return Missing(root.kind, wanted, root.component, package, evidence, looked=looked)
