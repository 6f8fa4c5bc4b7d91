"""Error messages for unmet needs: what is missing, the chain of needs, and the fix."""

import difflib
from collections.abc import Iterable, Sequence

from minbuild.errors import ResolveError, combine
from minbuild.facts.model import KernelConfig, PackageFiles
from minbuild.manifest.model import Waiver
from minbuild.resolve.depmod import get_module_name
from minbuild.resolve.device_roots import find_essential_class
from minbuild.resolve.kernel import MODULE_SUFFIXES, MODULES_DIRECTORY
from minbuild.resolve.model import Closure, NeedKind, UnmetNeed
from minbuild.resolve.root_selection import APPLET_CONFLICT, OPTION_WITHOUT_MODULE


def make_unresolved_error(closure: Closure, packages: Sequence[PackageFiles] = ()) -> ResolveError:
    """Make one error of all unmet needs of a closure and of its unused waivers.

    `packages`: those that were resolved, to find similar names in.
    """
    problems = [
        _make_unmet_error(missing, packages, closure.kernel_release)
        for missing in closure.unmet_needs
    ]
    problems += [_make_waiver_error(waiver) for waiver in closure.unused_waivers]
    return combine(problems)


def make_not_closed_error(
    unmet_needs: Sequence[UnmetNeed], unused: Sequence[Waiver] = ()
) -> ResolveError:
    """Make one error of the findings of a closed-world check and of its unused waivers."""
    problems = [_make_unmet_error(missing, (), "", tree=True) for missing in unmet_needs]
    return combine([*problems, *map(_make_waiver_error, unused)])


def _make_unmet_error(
    unmet: UnmetNeed, packages: Sequence[PackageFiles], kernel: str, *, tree: bool = False
) -> ResolveError:
    if not unmet.by.startswith("/"):
        return _make_root_error(unmet, packages, kernel)
    problem = (
        f"{_name_with_kind(unmet)} is {'not in the image' if tree else 'in none of the packages'}"
    )
    if unmet.kind is NeedKind.DATA and unmet.wanted == unmet.by:
        problem = f"{unmet.wanted} is damaged"
    return ResolveError(problem, where=_render_chain(unmet), fix=_suggest_fix(unmet))


def _suggest_fix(unmet: UnmetNeed) -> str:
    if unmet.kind is NeedKind.EXEC and " " in unmet.wanted:
        return f"write `env -S {unmet.wanted}`: without -S, env takes the whole text as one program name"
    return (
        "keep a package that contains it (keep: [{package: …, paths: […]}]), or waive it with a "
        f"reason (allow-missing: [{{path: {unmet.wanted}, because: …}}])"
    )


def _name_with_kind(unmet: UnmetNeed) -> str:
    is_symbol = unmet.kind is NeedKind.MODULE and unmet.wanted.startswith("symbol ")
    return unmet.wanted if is_symbol else f"{unmet.kind.noun}{unmet.wanted}"


def _render_chain(unmet: UnmetNeed) -> str:
    chain = " → ".join((*(unmet.chain or (unmet.by,)), unmet.wanted))
    searched = f"; looked in {', '.join(_shorten_list(unmet.looked))}" if unmet.looked else ""
    return f"{chain} ({unmet.evidence}{searched})"


def _shorten_list(names: Sequence[str], limit: int = 6) -> list[str]:
    omitted = len(names) - limit
    return [*names[:limit], f"and {omitted} more"] if omitted > 0 else list(names)


def _make_root_error(
    unmet: UnmetNeed, packages: Sequence[PackageFiles], kernel: str
) -> ResolveError:
    where = f"{unmet.evidence}, component {unmet.by}"
    match unmet.kind:
        case NeedKind.MODULE:
            names = [get_module_name(path) for path in _list_modules(packages)]
            problem = f"{_describe_kernel(unmet, kernel)} has no module {unmet.wanted}"
            fix = _suggest_name(unmet.wanted.replace("-", "_"), names, "name a module that it has")
            if ":" in unmet.wanted:
                fix = _DEVICES_FIX
            if device := find_essential_class(unmet.wanted):
                problem = f"the {device} {unmet.wanted} has no driver in {_describe_kernel(unmet, kernel)}"
                fix = _suggest_kernel(unmet, kernel)
        case NeedKind.KCONFIG:
            names = [name for config in _read_kernel_configs(packages) for name in config.options]
            problem = f"{_describe_kernel(unmet, kernel)} lacks the option CONFIG_{unmet.wanted}"
            fix = _suggest_name(
                unmet.wanted, names, "use another kernel, or leave the component out"
            )
            if unmet.evidence.endswith(OPTION_WITHOUT_MODULE):
                problem = f"{_describe_kernel(unmet, kernel)} has CONFIG_{unmet.wanted} as a module, whose name is not known"
                fix = "name the module (modules: […]) instead of the option"
        case NeedKind.FIRMWARE:
            problem = f"firmware {unmet.wanted} is in none of the packages"
            fix = "keep a package that contains it, or waive it: allow-missing"
        case NeedKind.DATA if not unmet.wanted.startswith("/"):
            return _make_rule_error(unmet, where)
        case NeedKind.DLOPEN:
            where = f"{unmet.evidence} (dlopen)"
            problem = f"no ELF file of the host matches {unmet.wanted}"
            fix = "correct the path, or remove that line"
        case _:
            return _make_path_error(unmet, packages, where)
    return ResolveError(problem, where=where, fix=fix)


def _suggest_kernel(unmet: UnmetNeed, kernel: str) -> str:
    waiver = f'allow-missing: [{{path: "{unmet.wanted}", because: …}}]'
    if CLOUD_KERNEL not in kernel:
        return f"take another kernel, or do without the device: {waiver}"
    return (
        f"take linux-image-{kernel.rpartition('-')[2]} (kernel: {{package: …}}), which has the drivers of "
        f"machines that are not virtual, or do without the device: {waiver}"
    )


NOT_OFFERED = "is not available"
"""Predicate of a package that is not among those at hand; a caller may name the lock instead."""
CLOUD_KERNEL = "-cloud-"
"""In releases of kernels that know the devices of virtual machines alone."""
_DEVICES_FIX = (
    "name the driver: one that is built in may not say which devices it drives; or list the "
    "devices in a file (kernel: {hardware: FILE}), of which only what drives them is taken"
)
"""Source: Linux before 6.18 leaves aliases of device tables out of modules.builtin.modinfo."""


def _make_rule_error(unmet: UnmetNeed, where: str) -> ResolveError:
    topic, _, value = unmet.wanted.partition("/")
    if topic in unmet.looked:
        problem, fix = (
            f"no rule of {topic} matches {value}",
            f"use a value that a rule of rules/{topic}.yaml matches",
        )
    else:
        problem = f"there are no rules of {topic}"
        fix = _suggest_name(topic, unmet.looked, f"write rules/{topic}.yaml among your components")
    return ResolveError(problem, where=where, fix=fix)


def _make_path_error(
    unmet: UnmetNeed, packages: Sequence[PackageFiles], where: str
) -> ResolveError:
    requested, package = unmet.wanted, unmet.package
    paths = [path for one in packages if one.owner in unmet.looked for path in one.entries]
    if APPLET_CONFLICT in unmet.evidence:
        return _make_applet_error(unmet)
    if ": already taken" in unmet.evidence:
        problem = f"{requested} differs between two packages that the manifest takes it from"
        return ResolveError(problem, where=where, fix="ask for it from one of them")
    if not package:
        problem = f"no component creates {requested}"
        return ResolveError(problem, where=where, fix="add it to files, or name its package")
    if not unmet.looked:
        problem = f"the package {package} {NOT_OFFERED}; {requested} should come from it"
        return ResolveError(
            problem, where=where, fix="correct the package's name, or add its suite"
        )
    if any(character in requested for character in "*?["):
        problem = f"{requested} matches nothing in the package {package}"
    else:
        problem = f"the package {package} does not contain {requested}"
    return ResolveError(problem, where=where, fix=_suggest_path(requested, paths))


def _make_applet_error(unmet: UnmetNeed) -> ResolveError:
    path, package = unmet.wanted, unmet.package
    package_evidence, _, applet_evidence = unmet.evidence.partition(APPLET_CONFLICT)
    return ResolveError(
        f"{path} is both a file of the package {package} and a link to BusyBox's applet",
        where=f"{package_evidence}, component {unmet.by}; the applet: {applet_evidence}",
        fix="take it out of one of them, or say in the manifest which one it is: "
        f"keep: [{{package: {package}, paths: [{path}]}}], or "
        f"files: {{{path}: {{link: busybox}}}}",
    )


def _make_waiver_error(waiver: Waiver) -> ResolveError:
    return ResolveError(
        f"nothing needs the waiver for {waiver.path} any more",
        where=str(waiver.where),
        fix="remove that line",
    )


def _describe_kernel(unmet: UnmetNeed, version: str) -> str:
    if version:
        return f"the kernel {version}"
    return f"the kernel of {unmet.package}" if unmet.package else "the kernel"


def _suggest_name(name: str, names: Iterable[str], otherwise: str) -> str:
    matches = difflib.get_close_matches(name, sorted(set(names)), n=3, cutoff=0.7)
    return f"did you mean {' or '.join(matches)}?" if matches else otherwise


def _suggest_path(requested: str, paths: Sequence[str]) -> str:
    """Compare last names: whole paths of one directory all look alike."""
    name = requested.rpartition("/")[2]
    by_name: dict[str, list[str]] = {}
    for path in sorted(paths):
        by_name.setdefault(path.rpartition("/")[2], []).append(path)
    names = difflib.get_close_matches(name, by_name, n=3, cutoff=0.7)
    matches = [path for name in names for path in by_name[name]][:3]
    return f"did you mean {' or '.join(matches)}?" if matches else "name a path of that package"


def _list_modules(packages: Sequence[PackageFiles]) -> list[str]:
    return [
        path
        for one in packages
        for path in one.entries
        if path.startswith(MODULES_DIRECTORY) and path.endswith(MODULE_SUFFIXES)
    ]


def _read_kernel_configs(packages: Sequence[PackageFiles]) -> list[KernelConfig]:
    configs = []
    for package in packages:
        for path in package.entries:
            facts = package.facts(path) if path.startswith("/boot/config-") else None
            if isinstance(facts, KernelConfig):
                configs.append(facts)
    return configs
