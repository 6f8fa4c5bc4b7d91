"""The worklist: from roots over every need to all that must be there."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from minbuild.facts.types import Elf, Entry, Files, Kind
from minbuild.manifest.rule import NO_RULES, Rulebook
from minbuild.manifest.types import DlopenRule, Waiver
from minbuild.paths import RootPath
from minbuild.resolve import pattern, seeds
from minbuild.resolve.book import Book
from minbuild.resolve.catalog import Catalog, generated_directory
from minbuild.resolve.configured import configured
from minbuild.resolve.graph import adjacency, reached_from, way
from minbuild.resolve.kernel import IMAGE, MODULES, Kernel, image_version
from minbuild.resolve.ldso import Loader
from minbuild.resolve.machine import Machine, machine
from minbuild.resolve.place import place
from minbuild.resolve.process import is_program
from minbuild.resolve.rules import RULES
from minbuild.resolve.types import Chosen, Closure, Missing, Need, NeedKind, Root
from minbuild.resolve.waivers import Waivers
from minbuild.resolve.world import Outcome, Subject, World

_MANIFEST = "manifest"
NO_STRINGS: Mapping[RootPath, tuple[str, ...]] = {}


def resolve(
    roots: Sequence[Root],
    files: Sequence[Files],
    *,
    arch: str,
    drop: Sequence[Waiver] = (),
    allow_missing: Sequence[Waiver] = (),
    dlopen: Sequence[DlopenRule] = (),
    rulebook: Rulebook = NO_RULES,
    strings: Mapping[RootPath, tuple[str, ...]] = NO_STRINGS,
) -> Closure:
    """Follow every need of `roots` (in manifest order) through `files` (in any order).

    Nothing is fetched: what `files` do not offer comes back in `Closure.missing`.
    `dlopen`: the least priority of `.note.dlopen` that is followed, by path; the last rule that
    matches holds, and one that matches nothing is missing something. `rulebook`: what rule
    files know. `strings`: what files name in their texts and is followed.

    Raises: ResolveError for an unknown architecture.
    """
    catalog = Catalog(files, [root.package for root in roots if root.package])
    waivers = Waivers(drop, allow_missing)
    work = Work(catalog, machine(arch), waivers, dlopen=dlopen)
    work.world.book = Book(rulebook)
    work.world.strings = strings
    work.seed(roots)
    work.run()
    return work.closure(_components(roots))


class Work:
    """One run of the worklist; what it has chosen so far."""

    def __init__(
        self,
        catalog: Catalog,
        machine: Machine,
        waivers: Waivers,
        *,
        dlopen: Sequence[DlopenRule] = (),
        version: str = "",
    ) -> None:
        loader = Loader(catalog, machine, waivers, dlopen=dlopen)
        self.world = World(catalog, waivers, loader, Kernel(catalog, version))
        self._machine = machine
        self._rules = tuple(dlopen)
        self._chosen: dict[RootPath, Entry] = {}
        self._objects: list[tuple[RootPath, Elf]] = []
        self._needs: set[Need] = set()
        self._missing: dict[Missing, None] = {}
        self._todo: deque[RootPath] = deque()

    def seed(self, roots: Sequence[Root]) -> None:
        """Choose what the roots name; paths go first, since they fix whose file wins."""
        pins: dict[RootPath, str] = {}
        named = [root for root in roots if root.kind in seeds.NAMES]
        found: list[Outcome] = []
        paths = [root for root in roots if root.kind not in seeds.NAMES]
        applets = seeds.applets(paths, self.world.catalog)
        for root in paths:
            found += seeds.paths(root, self.world.catalog, pins, applets)
        self._take(found)
        version = next(filter(None, map(image_version, sorted(self._chosen))), "")
        if version:
            asked = next((root.package for root in roots if root.text == IMAGE), "")
            self.world.kernel = Kernel(self.world.catalog, version, asked)
        elif any(missing.wanted == IMAGE for missing in self._missing):
            # without its kernel a module's name says nothing: the kernel's lack is the news
            return
        for root in named:
            self._take(seeds.NAMES[root.kind](root, self.world))

    def begin(self, needs: Iterable[Need]) -> None:
        """Choose paths outright."""
        self._take(needs)

    @property
    def needs(self) -> frozenset[Need]:
        """Every edge so far."""
        return frozenset(self._needs)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What is missing so far, in the order it was found."""
        return tuple(self._missing)

    def run(self) -> None:
        """Follow needs until there are no more."""
        world = self.world
        made = world.catalog.generated
        world.loader.configure(configured(world.catalog, self._chosen, self._machine, made=made))
        self._follow()

    def _follow(self) -> None:
        self._drain()
        # plug-ins: libraries that were asked for and that no program loads
        alone = [each for each in self._objects if each[0] not in self.world.loader.loaded]
        for path, elf in sorted(alone, key=lambda each: each[0]):
            self._take(self.world.loader.process(path, elf).outcomes)
        if alone:
            self._follow()

    def _drain(self) -> None:
        world = self.world
        while self._todo:
            path = self._todo.popleft()
            entry = self._chosen[path]
            content = entry.kind in (Kind.FILE, Kind.HARDLINK)
            facts = world.catalog.facts(path) if content else None
            if isinstance(facts, Elf) and self._loadable(facts):
                self._objects.append((path, facts))
            subject = Subject(path, entry, facts)
            for rule in RULES:
                self._take(rule(subject, world))

    def _loadable(self, elf: Elf) -> bool:
        return elf.dynamic and not is_program(elf) and self._machine.accepts(elf)

    def _take(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Missing):
                if outcome not in self._missing and not self.world.waivers.allows(outcome):
                    self._missing[outcome] = None
            elif outcome not in self._needs:
                self._choose(outcome)

    def _choose(self, need: Need) -> None:
        if need.kind is not NeedKind.PARENT and self.world.waivers.drops(need.path):
            return
        self._needs.add(need)
        if need.path not in self._chosen:
            entry = self.world.catalog.entry(need.path)
            self._chosen[need.path] = entry or generated_directory(need.path)
            self._todo.append(need.path)

    def closure(self, components: Sequence[str]) -> Closure:
        """What was chosen, each path with the first of `components` that leads to it."""
        catalog = self.world.catalog
        needs = sorted(self._needs, key=_order)
        edges = adjacency((need.by, need.path) for need in needs)
        owner, before = reached_from(components, edges)
        needs = [need for need in needs if need.by in owner]
        entries = _own_hard_links(self._chosen)
        names = frozenset(path.rpartition("/")[2] for path in self._chosen)
        maybe = {
            path: tuple(name for name in elf.maybe_dlopen if name not in names)
            for path, elf in sorted(self._elves())
        }
        return Closure(
            chosen={
                path: Chosen(entry, catalog.owner(path), owner[path])
                for path, entry in sorted(entries.items())
                if path in owner
            },
            needs=tuple(needs),
            missing=tuple(
                sorted(
                    (
                        replace(each, chain=way(each.by, before))
                        for each in (*self._missing, *self._idle())
                    ),
                    key=lambda each: (each.kind, each.wanted, each.by, each.evidence),
                )
            ),
            kernel=self.world.kernel.version if self._has_kernel() else "",
            builtin=dict(sorted(self.world.builtin.items())),
            waived=self.world.waivers.used,
            maybe_dlopen={path: names for path, names in maybe.items() if names},
            unused=self.world.waivers.unused,
            absent=dict(sorted(self.world.absent.items())),
            possible=tuple(sorted(one for one in self.world.possible if one.by in owner)),
        )

    def _idle(self) -> list[Missing]:
        """Rules for files that open libraries, and no such file is there."""
        paths = [path for path, _ in self._elves()]
        return [
            Missing(NeedKind.DLOPEN, rule.path, _MANIFEST, "", place(rule.where))
            for rule in self._rules
            if not any(pattern.matches(rule.path, path) for path in paths)
        ]

    def _elves(self) -> list[tuple[RootPath, Elf]]:
        found = []
        for path, entry in self._chosen.items():
            if entry.kind is Kind.FILE:
                facts = self.world.catalog.facts(path)
                if isinstance(facts, Elf):
                    found.append((path, facts))
        return found

    def _has_kernel(self) -> bool:
        return any(image_version(path) or path.startswith(MODULES) for path in self._chosen)


def _order(need: Need) -> tuple[str, ...]:
    """Need's own order, compared faster."""
    return (need.path, need.by, need.kind, need.evidence)


def _components(roots: Sequence[Root]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(root.component for root in roots))


def _own_hard_links(chosen: dict[RootPath, Entry]) -> dict[RootPath, Entry]:
    """Make the first chosen name of a file its first name, when the package's is not chosen."""
    entries = dict(chosen)
    first: dict[str, RootPath] = {}
    for path, entry in sorted(chosen.items()):
        if entry.kind is not Kind.HARDLINK or entry.target in chosen:
            continue
        name = first.setdefault(entry.target, path)
        if name == path:
            entries[path] = replace(entry, kind=Kind.FILE, target="")
        else:
            entries[path] = replace(entry, target=name)
    return entries
