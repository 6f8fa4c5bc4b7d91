"""What the shell scripts of an image run: read once of each content, then known by its digest."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, replace

from minbuild.archive.types import Package
from minbuild.build.installed import Bring
from minbuild.build.scripts import check_scripts
from minbuild.facts.pool import cores
from minbuild.facts.shell import Shell, Use, shell
from minbuild.facts.types import FileFacts, Files, Kind, Script
from minbuild.manifest.types import Manifest, Waiver
from minbuild.paths import RootPath
from minbuild.resolve import commands
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.commands import Heard
from minbuild.resolve.types import Caution, Closure
from minbuild.resolve.waivers import Waivers
from minbuild.store import Store
from minbuild.tree.reread import reread
from minbuild.tree.types import Tree

KIND = "shell/3"
"""SHA-256 of a script → what it runs."""
Read = Callable[[RootPath], bytes]
"""The content of a path."""
ReadOf = Callable[[str, RootPath, str], bytes]
"""The content of a package's path with a digest."""


def cautions(files: Files, read: Read, waivers: Waivers, store: Store) -> tuple[Caution, ...]:
    """Commands of a tree's scripts that the tree has not; sorted.

    Raises: ToolError when the shell parser is not installed.
    """
    catalog = Catalog([files], merged=False)
    return commands.cautions(_heard(files, catalog, read, store), catalog, waivers)


def _heard(files: Files, catalog: Catalog, read: Read, store: Store) -> dict[RootPath, Heard]:
    """All shell scripts of a tree and what they read, each read once."""
    scripts = [path for path in files.entries if _runs(files, path)]
    shells = _Shells(files, read, store)
    shells.read_all(scripts)
    heard: dict[RootPath, Heard] = {}
    for path in scripts:
        bash = _is_bash(files.facts(path), catalog)
        todo = [path]
        while todo:
            one = todo.pop()
            if one not in heard and one in files.entries:
                heard[one] = Heard(shells.of(one), bash)
                todo += commands.sources(heard[one].shell, catalog)
    return heard


def started(tree: Tree, store: Store) -> dict[str, tuple[str, ...]]:
    """What a tree's scripts run: name or path → the places that run it, PATH:LINE; sorted.

    Scripts that were read for `warned`; what no parsed script names may be started all the same.
    """
    found: dict[str, list[str]] = {}
    for node in tree.nodes:
        kept = (
            store.get(KIND, node.sha256) if node.kind is Kind.FILE and node.mode & 0o111 else None
        )
        for use in _unpacked(kept).uses if kept is not None else ():
            found.setdefault(use.name, []).append(f"{node.path}:{use.line}")
    return {name: tuple(sorted(places)) for name, places in found.items()}


class _Shells:
    """What scripts run: from the store, or read side by side and kept there."""

    def __init__(self, files: Files, read: Read, store: Store) -> None:
        self._files, self._read, self._store = files, read, store
        self._known: dict[str, Shell] = {}
        """By the content's digest."""
        self._digests: dict[RootPath, str] = {}

    def read_all(self, paths: Sequence[RootPath]) -> None:
        """Read scripts, each content once."""
        new: dict[str, RootPath] = {}
        for path in paths:
            digest = self._digest(path)
            kept = self._store.get(KIND, digest) if digest not in self._known else None
            if kept is not None:
                self._known[digest] = _unpacked(kept)
            elif digest not in self._known:
                new[digest] = path
        if not new:
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(cores()) as pool:
            found = dict(zip(new, pool.map(self._shell, new.values()), strict=True))
        self._store.put(
            KIND, {key: json.dumps(astuple(one)).encode() for key, one in found.items()}
        )
        self._known |= found

    def of(self, path: RootPath) -> Shell:
        """What one file of shell commands says."""
        self.read_all([path])
        return self._known[self._digest(path)]

    def _shell(self, path: RootPath) -> Shell:
        return shell(self._read(path))

    def _digest(self, path: RootPath) -> str:
        if path not in self._digests:
            digest = self._files.entries[path].sha256
            self._digests[path] = digest or hashlib.sha256(self._read(path)).hexdigest()
        return self._digests[path]


def warned(tree: Tree, manifest: Manifest, store: Store) -> Tree:
    """A tree with the warnings about its scripts.

    Raises: ManifestError for a rendered file that scripts read and that is no sound script.
    """
    nodes = {node.path: node for node in tree.nodes}
    files = reread(tree, store)
    catalog = Catalog([files], merged=False)
    heard = _heard(files, catalog, lambda path: store.need(nodes[path].sha256), store)
    check_scripts(manifest, store, heard)
    waivers = Waivers((), manifest.allow_missing)
    return replace(tree, cautions=commands.cautions(heard, catalog, waivers))


def heeded(
    closure: Closure,
    files: Sequence[Files],
    allow_missing: Collection[Waiver],
    read: ReadOf,
    store: Store,
) -> Closure:
    """A closure whose unused waivers are not those that a script's command needs."""
    open_waivers = [waiver for waiver in closure.unused if waiver in allow_missing]
    if closure.missing or not open_waivers:
        return closure
    waivers = Waivers((), open_waivers)
    closure_cautions(closure, files, waivers, read, store)
    idle = set(waivers.unused)
    kept = tuple(one for one in closure.unused if one not in open_waivers or one in idle)
    return replace(closure, unused=kept)


def closure_cautions(
    closure: Closure, files: Sequence[Files], waivers: Waivers, read: ReadOf, store: Store
) -> tuple[Caution, ...]:
    """Commands of the scripts of a closure that it has not; sorted."""
    by_name = {one.owner: one for one in files}

    def facts(path: RootPath) -> FileFacts | None:
        chosen = closure.chosen.get(path)
        return None if chosen is None else by_name[chosen.package].facts(path)

    def content(path: RootPath) -> bytes:
        one = closure.chosen[path]
        return read(one.package, path, one.entry.sha256)

    entries = {path: one.entry for path, one in closure.chosen.items()}
    return cautions(Files("", entries, facts, lambda _: None), content, waivers, store)


def reader(packages: Sequence[Package], store: Store, bring: Bring) -> ReadOf:
    """What `heeded` reads with: contents of the store, which a package may have to fill first."""
    by_name = {package.name: package for package in packages}

    def read(package: str, path: RootPath, digest: str) -> bytes:
        if package and store.file(digest) is None:
            bring(by_name[package], [digest])
        return store.need(digest)

    return read


def _runs(files: Files, path: RootPath) -> bool:
    entry = files.entries[path]
    return (
        entry.kind is Kind.FILE
        and bool(entry.mode & 0o111)
        and commands.is_shell(files.facts(path))
    )


def _is_bash(facts: FileFacts | None, catalog: Catalog) -> bool:
    if not isinstance(facts, Script):
        return False
    reached = catalog.reach(facts.interpreter) if facts.interpreter.startswith("/") else None
    real = catalog.real(reached.path) if reached is not None else None
    return f"{real or ''} {facts.interpreter} {facts.argument}".find("bash") >= 0


def _unpacked(kept: bytes) -> Shell:
    uses, functions, guarded, sources, directories, *flags = json.loads(kept)
    return Shell(
        tuple(Use(*use) for use in uses),
        tuple(functions),
        tuple(guarded),
        tuple(sources),
        tuple(directories),
        *flags,
    )
