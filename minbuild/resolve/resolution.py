"""Resolution: from the roots along every need to the closure."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from minbuild.facts.model import Elf, FileEntry, PackageFiles
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.resolve import path_glob, root_selection
from minbuild.resolve.builtin_tables import Architecture, find_architecture
from minbuild.resolve.device_roots import narrow_to_devices
from minbuild.resolve.elf_process import is_program
from minbuild.resolve.file_rules import RULES
from minbuild.resolve.kernel import (
    IMAGE_GLOB,
    MODULES_DIRECTORY,
    InstalledKernel,
    parse_image_version,
)
from minbuild.resolve.ldso import DynamicLoader
from minbuild.resolve.loader_config import read_loader_config
from minbuild.resolve.model import (
    Closure,
    FoundPath,
    Need,
    NeedKind,
    Root,
    RuleResult,
    SelectedFile,
    UnmetNeed,
    build_adjacency,
    shorten_location,
    trace_from,
    trace_path,
)
from minbuild.resolve.package_view import PackageView, make_directory_entry
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy, Waivers
from minbuild.resolve.resolve_state import ResolveState, RuleIndex, RuleInput

_MANIFEST = "manifest"
NO_STRINGS: Mapping[RootPath, tuple[str, ...]] = {}


def resolve(
    roots: Sequence[Root],
    packages: Sequence[PackageFiles],
    *,
    arch: str,
    policy: ResolvePolicy = DEFAULT_POLICY,
    strings: Mapping[RootPath, tuple[str, ...]] = NO_STRINGS,
) -> Closure:
    """Follow every need of `roots` (in manifest order) through `packages` (in any order).

    Nothing is fetched: what no package offers comes back in `Closure.unmet_needs`, and so does a
    line of `policy.dlopen` that matches no file. `strings`: paths that files name in their text and
    that are followed.

    Raises: ResolveError for an unknown architecture.
    """
    view = PackageView(packages, [root.package for root in roots if root.package])
    waivers = Waivers(policy.drop, policy.allow_missing)
    resolution = Resolution(view, find_architecture(arch), policy, waivers)
    resolution.state.strings = strings
    resolution.add_roots(roots)
    resolution.follow_needs()
    return resolution.make_closure(_list_components(roots))


class Resolution:
    """One resolve: a queue of selected paths, the needs and unmet needs so far."""

    def __init__(
        self,
        view: PackageView,
        architecture: Architecture,
        policy: ResolvePolicy,
        waivers: Waivers,
        *,
        version: str = "",
    ) -> None:
        loader = DynamicLoader(view, architecture, waivers, dlopen=policy.dlopen)
        self.state = ResolveState(
            view, waivers, loader, InstalledKernel(view, version), RuleIndex(policy.rules)
        )
        self.state.take_firmware = policy.firmware
        self._architecture = architecture
        self._dlopen_rules = policy.dlopen
        self._selected: dict[RootPath, FileEntry] = {}
        self._libraries: list[tuple[RootPath, Elf]] = []
        self._needs: set[Need] = set()
        self._unmet: dict[UnmetNeed, None] = {}
        self._queue: deque[RootPath] = deque()

    def add_roots(self, roots: Sequence[Root]) -> None:
        """Select what the roots name; paths go first, since they decide whose file wins."""
        pins: dict[RootPath, str] = {}
        named_roots = [root for root in roots if root.kind in root_selection.SELECTORS]
        results: list[RuleResult] = []
        paths = [root for root in roots if root.kind not in root_selection.SELECTORS]
        applet_links = root_selection.find_applet_links(paths, self.state.view)
        for root in paths:
            results += root_selection.select_root_paths(root, self.state.view, pins, applet_links)
        for result in results:  # not before all: each may change whose file a path is
            self.add(result)
        version = next(filter(None, map(parse_image_version, sorted(self._selected))), "")
        if version:
            package = next((root.package for root in roots if root.text == IMAGE_GLOB), "")
            self.state.kernel = InstalledKernel(self.state.view, version, package)
        elif any(missing.wanted == IMAGE_GLOB for missing in self._unmet):
            # without its kernel a module's name says nothing: only the missing kernel is reported
            return
        for root in narrow_to_devices(named_roots, self.state.kernel):
            for result in root_selection.SELECTORS[root.kind](root, self.state):
                self.add(result)

    @property
    def needs(self) -> frozenset[Need]:
        """Every edge so far."""
        return frozenset(self._needs)

    @property
    def unmet_needs(self) -> tuple[UnmetNeed, ...]:
        """What is missing so far, in the order it was found."""
        return tuple(self._unmet)

    def follow_needs(self) -> None:
        """Apply every rule to every selected path until nothing new is selected.

        Libraries that no program loads by then are plug-ins: each is loaded as a process of its own.
        """
        state = self.state
        state.loader.configure(
            read_loader_config(
                state.view, self._selected, self._architecture, with_cache=state.view.is_image
            )
        )
        while self._queue:
            while self._queue:
                subject = self._take_subject()
                for rule in RULES:
                    for result in rule(subject, state):
                        self.add(result)
            for path, elf in self._list_unloaded_libraries():
                for result in state.loader.load_process(path, elf).results:
                    self.add(result)

    def add(self, result: RuleResult) -> None:
        """Take one result of a rule: select the paths that it needs, or note what is unmet."""
        if isinstance(result, Need):
            self._select(result)
        elif isinstance(result, FoundPath):
            for path in result.traversed:
                entry = self.state.view.get_entry(path)
                is_link = entry is not None and entry.kind is FileType.LINK
                kind = NeedKind.LINK if is_link else NeedKind.PARENT
                self._select(Need(path, result.needed_by, kind, result.raw))
            self._select(Need(result.path, result.needed_by, result.kind, result.evidence))
        elif result not in self._unmet and not self.state.waivers.allows(result):
            self._unmet[result] = None

    def _select(self, need: Need) -> None:
        if need in self._needs:
            return
        if need.kind is not NeedKind.PARENT and self.state.waivers.drops(need.path):
            return
        self._needs.add(need)
        if need.path not in self._selected:
            entry = self.state.view.get_entry(need.path)
            self._selected[need.path] = entry or make_directory_entry(need.path)
            self._queue.append(need.path)

    def _take_subject(self) -> RuleInput:
        """Take the next path from the queue, with its facts; notes a library."""
        path = self._queue.popleft()
        entry = self._selected[path]
        has_content = entry.kind in (FileType.FILE, FileType.HARDLINK)
        facts = self.state.view.get_facts(path) if has_content else None
        if isinstance(facts, Elf) and self._is_library(facts):
            self._libraries.append((path, facts))
        return RuleInput(path, entry, facts)

    def _is_library(self, elf: Elf) -> bool:
        return elf.dynamic and not is_program(elf) and self._architecture.accepts(elf)

    def _list_unloaded_libraries(self) -> list[tuple[RootPath, Elf]]:
        loaded = self.state.loader.loaded
        return sorted(
            (each for each in self._libraries if each[0] not in loaded), key=lambda each: each[0]
        )

    def make_closure(self, components: Sequence[str]) -> Closure:
        """What was chosen, each path with the first of `components` that leads to it."""
        view = self.state.view
        needs = sorted(self._needs, key=_make_sort_key)
        edges = build_adjacency((need.needed_by, need.path) for need in needs)
        owner, predecessors = trace_from(components, edges)
        needs = [need for need in needs if need.needed_by in owner]
        entries = _promote_hard_links(self._selected)
        names = frozenset(path.rpartition("/")[2] for path in self._selected)
        unexplained = {
            path: tuple(name for name in elf.maybe_dlopen if name not in names)
            for path, elf in sorted(self._list_elf_files())
        }
        return Closure(
            files={
                path: SelectedFile(entry, view.get_owner(path), owner[path])
                for path, entry in sorted(entries.items())
                if path in owner
            },
            needs=tuple(needs),
            unmet_needs=tuple(
                sorted(
                    (
                        replace(each, chain=trace_path(each.by, predecessors))
                        for each in (*self._unmet, *self._find_unused_dlopen_rules())
                    ),
                    key=lambda each: (each.kind, each.wanted, each.by, each.evidence),
                )
            ),
            kernel_release=self.state.kernel.version if self._has_kernel() else "",
            builtin_modules=dict(sorted(self.state.builtin_modules.items())),
            used_waivers=self.state.waivers.used_paths,
            unexplained_sonames={path: names for path, names in unexplained.items() if names},
            unused_waivers=self.state.waivers.unused_waivers,
            skipped_softdeps=dict(sorted(self.state.skipped_softdeps.items())),
            optional_files=tuple(
                sorted(one for one in self.state.optional_files if one.by in owner)
            ),
        )

    def _find_unused_dlopen_rules(self) -> list[UnmetNeed]:
        """Lines of `dlopen:` that match no ELF file of the closure."""
        paths = [path for path, _ in self._list_elf_files()]
        return [
            UnmetNeed(NeedKind.DLOPEN, rule.path, _MANIFEST, "", shorten_location(rule.where))
            for rule in self._dlopen_rules
            if not any(path_glob.matches(rule.path, path) for path in paths)
        ]

    def _list_elf_files(self) -> list[tuple[RootPath, Elf]]:
        elf_files = []
        for path, entry in self._selected.items():
            if entry.kind is FileType.FILE:
                facts = self.state.view.get_facts(path)
                if isinstance(facts, Elf):
                    elf_files.append((path, facts))
        return elf_files

    def _has_kernel(self) -> bool:
        return any(
            parse_image_version(path) or path.startswith(MODULES_DIRECTORY)
            for path in self._selected
        )


def _make_sort_key(need: Need) -> tuple[str, ...]:
    """Need's own order, compared faster."""
    return (need.path, need.needed_by, need.kind, need.evidence)


def _list_components(roots: Sequence[Root]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(root.component for root in roots))


def _promote_hard_links(selected: dict[RootPath, FileEntry]) -> dict[RootPath, FileEntry]:
    """Make the first chosen name of a file its first name, when the package's is not chosen."""
    entries = dict(selected)
    first: dict[str, RootPath] = {}
    for path, entry in sorted(selected.items()):
        if entry.kind is not FileType.HARDLINK or entry.target in selected:
            continue
        name = first.setdefault(entry.target, path)
        if name == path:
            entries[path] = replace(entry, kind=FileType.FILE, target="")
        else:
            entries[path] = replace(entry, target=name)
    return entries
