"""Roots of a manifest, and the paths, modules, firmware and options that they select."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from minbuild.facts.model import FileEntry, PackageFiles
from minbuild.facts.versions import version_key
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Component, LocatedName, Manifest, PackagePaths, Tool
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob
from minbuild.resolve.builtin_tables import OPTION_MODULES
from minbuild.resolve.data_rules import find_value_needs
from minbuild.resolve.device_roots import find_essential_class
from minbuild.resolve.file_rules import follow_request
from minbuild.resolve.firmware import follow_firmware
from minbuild.resolve.kernel import IMAGE_GLOB, IMAGE_GLOBS, ModuleMatches, parse_image_version
from minbuild.resolve.model import Need, NeedKind, Root, RuleResult, UnmetNeed, shorten_location
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.resolve_state import ResolveState


def map_to_installed_root(
    roots: Iterable[Root], packages: Sequence[PackageFiles]
) -> tuple[Root, ...]:
    """Give each root the package that has its path here; one that nothing meets stays as it is.

    A root's own package goes first, then those it depends on, then any. Of several kernels the
    newest is taken, out of /boot or else beside its modules.
    """
    by_name = {one.owner: one for one in packages if one.owner}
    mapped: list[Root] = []
    for root in roots:
        matches = list(_find_owners(root, by_name)) if root.package else []
        if root.text == IMAGE_GLOB:
            matches = matches or list(_find_owners(replace(root, text=IMAGE_GLOBS[1]), by_name))
            matches = sorted(matches, key=lambda hit: version_key(parse_image_version(hit[1])))[-1:]
        if not matches:
            mapped.append(root)
        mapped += [replace(root, text=path, package=owner) for owner, path in matches]
    return tuple(dict.fromkeys(mapped))


def _find_owners(root: Root, by_name: Mapping[str, PackageFiles]) -> Iterator[tuple[str, RootPath]]:
    package = by_name.get(root.package)
    dependencies = (
        [each for candidates in package.depends for each in candidates if each in by_name]
        if package
        else []
    )
    for candidates in (
        [package] if package else [],
        [by_name[name] for name in dependencies],
        by_name.values(),
    ):
        matches = [(one.owner, path) for one in candidates for path in _match_paths(root.text, one)]
        if matches:
            yield from dict.fromkeys(matches)
            return


def _match_paths(text: str, package: PackageFiles) -> list[RootPath]:
    path = to_root_path(text)
    if not path_glob.is_glob(text):
        return [path] if path in package.entries else []
    start, match = path_glob.get_literal_prefix(text), path_glob.compile_glob(text).fullmatch
    return [
        each
        for each in package.entries
        if each.startswith(start) and match(each)
        and package.entries[each].kind is not FileType.DIRECTORY
    ]  # fmt: skip


KERNEL_COMPONENT, MANIFEST_COMPONENT = "kernel/manifest", "services/manifest"
"""The component that owns the kernel, and that of the other roots that the manifest itself asks for."""


def list_roots(manifest: Manifest) -> tuple[Root, ...]:
    """List the roots of a host: its kernel, then each component's, in manifest order."""
    kernel = manifest.kernel
    kernel_root = Root(
        NeedKind.ROOT, IMAGE_GLOB, KERNEL_COMPONENT, shorten_location(kernel.where), kernel.package
    )
    component_roots = (
        root for component in manifest.components for root in _list_component_roots(component)
    )
    return tuple(dict.fromkeys((kernel_root, *component_roots)))


def list_tool_roots(tool: Tool) -> tuple[Root, ...]:
    """List the roots of one program of the toolbox."""
    return tuple(dict.fromkeys(_list_package_roots(tool.packages, f"toolbox/{tool.name}")))


def _list_component_roots(component: Component) -> Iterator[Root]:
    name = component.name
    yield from _list_package_roots(component.packages, name)
    applets = {applet.where for applet in component.applets}
    for file in component.files:
        applet = bool(file.link) and file.where in applets
        yield Root(NeedKind.ROOT, file.path, name, shorten_location(file.where), applet=applet)
    for data in component.data:
        for value in data.values:
            text = f"{data.topic}/{value.text}"
            yield Root(NeedKind.DATA, text, name, shorten_location(value.where))
    yield from _list_name_roots(NeedKind.MODULE, component.modules, name)
    for alias in component.hardware:
        yield Root(NeedKind.MODULE, alias.text, name, shorten_location(alias.where), optional=True)
    yield from _list_name_roots(NeedKind.FIRMWARE, component.firmware, name)
    yield from _list_name_roots(NeedKind.KCONFIG, component.kconfig, name)


def _list_package_roots(packages: Iterable[PackagePaths], component: str) -> Iterator[Root]:
    for package_paths in packages:
        for text in package_paths.paths:
            yield Root(
                NeedKind.ROOT,
                text,
                component,
                shorten_location(package_paths.where),
                package_paths.package,
            )


def _list_name_roots(
    kind: NeedKind, names: Iterable[LocatedName], component: str
) -> Iterator[Root]:
    for name in names:
        yield Root(kind, name.text, component, shorten_location(name.where))


APPLET_CONFLICT = ": applet of "
"""In the evidence of a file at the path of an applet link; the evidence of the link follows."""
_DOCUMENTATION = ("/usr/share/doc/", "/usr/share/bug/", "/usr/share/lintian/", "/usr/share/man/")


@dataclass(frozen=True, slots=True)
class AppletLinks:
    """Links to BusyBox's applets, by path."""

    kept: Mapping[RootPath, Root]
    replaced: Mapping[RootPath, Root]
    """Those whose place a package's file takes, since the manifest itself keeps that file."""


def find_applet_links(roots: Sequence[Root], view: PackageView) -> AppletLinks:
    """Tell which applets' links stand: a component cannot know what a manifest will keep."""
    links = {to_root_path(root.text): root for root in roots if root.applet}
    manifest_roots = [
        root for root in roots if links and root.package and root.component == MANIFEST_COMPONENT
    ]
    replaced = {
        path for root in manifest_roots for path, _ in _search_packages(root, view)[0]
    } & links.keys()
    return AppletLinks(
        {path: root for path, root in links.items() if path not in replaced},
        {path: links[path] for path in sorted(replaced)},
    )


def select_root_paths(
    root: Root, view: PackageView, pins: dict[RootPath, str], applet_links: AppletLinks
) -> Iterator[RuleResult]:
    """A path or glob of one package, or a path of a rendered file; pins what it finds."""
    if not root.package:
        path = to_root_path(root.text)
        if path in applet_links.replaced:
            return
        if view.get_entry(path) is not None:
            yield Need(path, root.component, NeedKind.ROOT, root.evidence)
        else:
            yield _make_unmet(root, path, "", (), root.evidence)
        return
    matches, package, searched = _search_packages(root, view)
    for path, package_files in matches:
        if path in applet_links.kept and not _is_applet_link(package_files.entries[path]):
            link = applet_links.kept[path]
            evidence = (
                f"{root.evidence}{APPLET_CONFLICT}{link.evidence}, component {link.component}"
            )
            yield _make_unmet(root, path, package_files.owner, (package_files.owner,), evidence)
            continue
        owner = pins.setdefault(path, package_files.owner)
        if owner == package_files.owner:
            view.prefer(path, package_files, rendered=path in applet_links.replaced)
            evidence = f"{root.evidence}{_describe_replaced_applet(path, applet_links)}"
            yield Need(path, root.component, NeedKind.ROOT, evidence)
        elif not _is_same_entry(path, package_files, view.by_name[owner]):
            evidence = f"{root.evidence}: already taken from package {owner}"
            yield _make_unmet(root, path, package_files.owner, (package_files.owner,), evidence)
    if not matches:
        yield _make_unmet(root, root.text, package, searched, root.evidence)


def select_modules(root: Root, state: ResolveState) -> Iterator[RuleResult]:
    """A module by name, alias, path or glob."""
    matches = state.kernel.find(root.text)
    for path in matches.paths:
        yield Need(path, root.component, NeedKind.MODULE, root.evidence)
    for name in matches.builtin:
        state.note_builtin(name, root.component)
        module = state.kernel.builtin_modules[name]
        for blob in module.firmware:
            evidence = f"firmware={blob} of built-in {name}"
            yield from follow_firmware(state, blob, root.component, evidence, state.kernel.package)
        for alias in module.soft_pre:
            evidence = f"softdep pre: {alias} of built-in {name}"
            yield from follow_request(state, alias, root.component, evidence)
    if matches or root.text in state.known_builtin:
        return
    if root.optional and not find_essential_class(root.text):
        state.note_skipped(root.text, root.component)
    else:
        yield _make_unmet(
            root, root.text, state.kernel.package, _list_kernel_directories(state), root.evidence
        )


def select_firmware(root: Root, state: ResolveState) -> Iterator[RuleResult]:
    """A firmware file by name or glob."""
    package = root.package or state.kernel.package
    yield from follow_firmware(state, root.text, root.component, root.evidence, package)


def check_kconfig(root: Root, state: ResolveState) -> Iterator[RuleResult]:
    """A kernel option: built in, or a module, which is then needed.

    The configuration does not name the module of an option, so one without a known name is an error.
    """
    name = root.text.removeprefix("CONFIG_")
    value = state.kernel.options.get(name)
    if value == "m":
        module = OPTION_MODULES.get(name, name.lower())
        matches = state.kernel.find(module) if module else ModuleMatches()
        for path in matches.paths:
            yield Need(path, root.component, NeedKind.KCONFIG, f"{root.evidence}: {name}=m")
        if module and not matches:
            evidence = f"{root.evidence}{OPTION_WITHOUT_MODULE}"
            yield _make_unmet(root, name, state.kernel.package, (), evidence)
    elif value != "y":
        searched = (str(state.kernel.config_path),) if state.kernel.options else ()
        yield _make_unmet(root, name, state.kernel.package, searched, root.evidence)


OPTION_WITHOUT_MODULE = ": a module in this kernel"
"""End of the evidence of an option that is a module of unknown name."""

SELECTORS: Mapping[NeedKind, Callable[[Root, ResolveState], Iterator[RuleResult]]] = {
    NeedKind.MODULE: select_modules,
    NeedKind.FIRMWARE: select_firmware,
    NeedKind.KCONFIG: check_kconfig,
    NeedKind.DATA: find_value_needs,
}
"""Roots that are names in a kernel or of a rule; all others are paths."""


def _describe_replaced_applet(path: RootPath, applet_links: AppletLinks) -> str:
    link = applet_links.replaced.get(path)
    if link is None:
        return ""
    name = path.rpartition("/")[2]
    return f", in place of the applet {name} of {link.component} ({link.evidence})"


def _is_applet_link(entry: FileEntry) -> bool:
    """Tell whether a package's own file is such a link: postmarketOS and others ship them."""
    return entry.kind is FileType.LINK and entry.target.rpartition("/")[2] == "busybox"


def _search_packages(
    root: Root, view: PackageView
) -> tuple[list[tuple[RootPath, PackageFiles]], str, tuple[str, ...]]:
    """Find a root in its package, or in those that a package without files of its own names.

    Returns: what was found; the package to ask for next; the packages searched.
    """
    queue = deque(view.find_providers(root.package))
    searched: list[str] = []
    absent_package = ""
    while queue:
        name = queue.popleft()
        package_files = view.by_name[name]
        matches = [
            (path, package_files) for path in _match_package_paths(root.text, package_files, view)
        ]
        if matches:
            return matches, name, tuple(searched)
        searched.append(name)
        is_meta = is_metapackage(package_files)
        if name in view.find_providers(root.package) and not is_meta:
            break
        for alternatives in package_files.depends:
            providers = [each for want in alternatives for each in view.find_providers(want)]
            if not providers and is_meta:
                absent_package = absent_package or alternatives[0]
            queue.extend(each for each in providers if each not in (*searched, *queue))
    return [], absent_package or root.package, () if absent_package else tuple(searched)


def _match_package_paths(
    text: str, package_files: PackageFiles, view: PackageView
) -> tuple[RootPath, ...]:
    if text == IMAGE_GLOB:
        return tuple(
            path
            for each in IMAGE_GLOBS
            for path in view.find_paths(to_root_path(each), package_files)
        )
    path = to_root_path(text)
    if path_glob.is_glob(text):
        return tuple(view.find_paths(path, package_files))
    if path in package_files.entries:
        return (path,)
    resolved = view.look_up(text)
    return (resolved.path,) if resolved and resolved.path in package_files.entries else ()


def is_metapackage(files: PackageFiles) -> bool:
    """Tell a package that exists for its Depends from one with files of its own."""
    return all(
        path.startswith(_DOCUMENTATION) or files.entries[path].kind is FileType.DIRECTORY
        for path in files.entries
    )


def _is_same_entry(path: RootPath, package: PackageFiles, other_package: PackageFiles) -> bool:
    return package.entries[path] == other_package.entries[path]


def _list_kernel_directories(state: ResolveState) -> tuple[str, ...]:
    return (state.kernel.directory,) if state.kernel.version else ()


def _make_unmet(
    root: Root, name: str, package: str, searched: tuple[str, ...], evidence: str
) -> UnmetNeed:
    return UnmetNeed(root.kind, name, root.component, package, evidence, looked=searched)
