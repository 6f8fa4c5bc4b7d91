"""What an unmet need means, in words: what, where in the chain of needs, and how to go on."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from minbuild.errors import ResolveError, together
from minbuild.facts.types import Files, KernelConfig
from minbuild.manifest.types import Waiver
from minbuild.resolve.depmod import module_name
from minbuild.resolve.kernel import MODULE_FORMS, MODULES
from minbuild.resolve.seeds import APPLET
from minbuild.resolve.types import Closure, Missing, NeedKind


def error(closure: Closure, files: Sequence[Files] = ()) -> ResolveError:
    """Make one error of all that a closure lacks and of every waiver that nothing needs.

    `files`: what was resolved, to find similar names in.
    """
    problems = [_lack(missing, files, closure.kernel) for missing in closure.missing]
    problems += [_stale(waiver) for waiver in closure.unused]
    return together(problems)


def dangling(found: Sequence[Missing], stale: Sequence[Waiver] = ()) -> ResolveError:
    """Make one error of all that a closed-world check found, and of waivers it did not need."""
    problems = [_lack(missing, (), "", tree=True) for missing in found]
    return together([*problems, *map(_stale, stale)])


def _lack(
    missing: Missing, files: Sequence[Files], kernel: str, *, tree: bool = False
) -> ResolveError:
    if not missing.by.startswith("/"):
        return _root(missing, files, kernel)
    what = f"{_noun(missing)} is {'not in the image' if tree else 'in none of the packages'}"
    if missing.kind is NeedKind.DATA and missing.wanted == missing.by:
        what = f"{missing.wanted} is damaged"
    return ResolveError(what, where=_chain(missing), fix=_fix(missing))


def _fix(missing: Missing) -> str:
    if missing.kind is NeedKind.EXEC and " " in missing.wanted:
        return f"write `env -S {missing.wanted}`: without -S env takes all of it for one name"
    return (
        "keep a package that holds it (keep: [{package: …, paths: […]}]), or waive it with a "
        f"reason (allow-missing: [{{path: {missing.wanted}, because: …}}])"
    )


NOUNS: Mapping[NeedKind, str] = {
    **dict.fromkeys((NeedKind.MODULE, NeedKind.SOFTDEP), "module "),
    NeedKind.FIRMWARE: "firmware ",
    NeedKind.EXEC: "a program ",
    NeedKind.KCONFIG: "the kernel option CONFIG_",
    # a path or a soname says what it is
    **dict.fromkeys((NeedKind.ROOT, NeedKind.PARENT, NeedKind.LINK, NeedKind.INTERP), ""),
    **dict.fromkeys((NeedKind.NEEDED, NeedKind.DLOPEN, NeedKind.SHEBANG), ""),
    **dict.fromkeys((NeedKind.DATA, NeedKind.STRING, NeedKind.GENERATED), ""),
}
"""What stands before the name of what a file lacks."""


def _noun(missing: Missing) -> str:
    is_symbol = missing.kind is NeedKind.MODULE and missing.wanted.startswith("symbol ")
    return missing.wanted if is_symbol else f"{NOUNS[missing.kind]}{missing.wanted}"


def _chain(missing: Missing) -> str:
    chain = " → ".join((*(missing.chain or (missing.by,)), missing.wanted))
    searched = f"; looked in {', '.join(_few(missing.looked))}" if missing.looked else ""
    return f"{chain} ({missing.evidence}{searched})"


def _few(names: Sequence[str], most: int = 6) -> list[str]:
    rest = len(names) - most
    return [*names[:most], f"and {rest} more"] if rest > 0 else list(names)


def _root(missing: Missing, files: Sequence[Files], kernel: str) -> ResolveError:
    where = f"{missing.evidence}, component {missing.by}"
    match missing.kind:
        case NeedKind.MODULE:
            names = [module_name(path) for path in _modules(files)]
            what = f"{_kernel(missing, kernel)} has no module {missing.wanted}"
            fix = _near(missing.wanted.replace("-", "_"), names, "name a module that it has")
            if ":" in missing.wanted:
                fix = _DEVICES
        case NeedKind.KCONFIG:
            names = [name for config in _configs(files) for name in config.options]
            what = f"{_kernel(missing, kernel)} lacks the option CONFIG_{missing.wanted}"
            fix = _near(missing.wanted, names, "use another kernel, or leave the component out")
        case NeedKind.FIRMWARE:
            what = f"firmware {missing.wanted} is in none of the packages"
            fix = "keep a package that holds it, or waive it: allow-missing"
        case NeedKind.DATA if not missing.wanted.startswith("/"):
            return _ruleless(missing, where)
        case NeedKind.DLOPEN:
            where = f"{missing.evidence} (dlopen)"
            what = f"no ELF file of the host matches {missing.wanted}"
            fix = "correct the path, or remove that line"
        case _:
            return _path(missing, files, where)
    return ResolveError(what, where=where, fix=fix)


NOT_OFFERED = "is not there"
"""What is said of a package that is in none of those at hand."""
_DEVICES = (
    "name the driver: one that is built in may not say which devices it drives; or list the "
    "devices in a file (kernel: {hardware: FILE}), of which only what drives them is taken"
)
"""Source: Linux before 6.18 leaves aliases of device tables out of modules.builtin.modinfo."""


def _ruleless(missing: Missing, where: str) -> ResolveError:
    topic, _, value = missing.wanted.partition("/")
    if topic in missing.looked:
        what, fix = (
            f"no rule of {topic} tells what {value} needs",
            f"write what rules/{topic}.yaml knows",
        )
    else:
        what = f"there are no rules of {topic}"
        fix = _near(topic, missing.looked, f"write rules/{topic}.yaml among your components")
    return ResolveError(what, where=where, fix=fix)


def _path(missing: Missing, files: Sequence[Files], where: str) -> ResolveError:
    wanted, package = missing.wanted, missing.package
    paths = [path for one in files if one.owner in missing.looked for path in one.entries]
    if APPLET in missing.evidence:
        return _beside_applet(missing)
    if ": already taken" in missing.evidence:
        what = f"{wanted} is wanted from two packages that differ"
        return ResolveError(what, where=where, fix="ask for it from one of them")
    if not package:
        what = f"{wanted} is asked for, and no component makes it"
        return ResolveError(what, where=where, fix="add it to files, or name its package")
    if not missing.looked:
        what = f"the package {package} {NOT_OFFERED}, and {wanted} should come from it"
        return ResolveError(what, where=where, fix="correct the package's name, or add its suite")
    if any(character in wanted for character in "*?["):
        what = f"{wanted} matches nothing in the package {package}"
    else:
        what = f"the package {package} holds no {wanted}"
    return ResolveError(what, where=where, fix=_near_path(wanted, paths))


def _beside_applet(missing: Missing) -> ResolveError:
    wanted, package = missing.wanted, missing.package
    own, _, link = missing.evidence.partition(APPLET)
    return ResolveError(
        f"{wanted} is wanted from the package {package}, and as a link to BusyBox's applet",
        where=f"{own}, component {missing.by}; the applet: {link}",
        fix="take it out of one of them, or say in the manifest which one it is: "
        f"keep: [{{package: {package}, paths: [{wanted}]}}], or "
        f"files: {{{wanted}: {{link: busybox}}}}",
    )


def _stale(waiver: Waiver) -> ResolveError:
    return ResolveError(
        f"nothing needs the waiver for {waiver.path} any more",
        where=str(waiver.where),
        fix="remove that line",
    )


def _kernel(missing: Missing, kernel: str) -> str:
    if kernel:
        return f"the kernel {kernel}"
    return f"the kernel of {missing.package}" if missing.package else "the kernel"


def _near(wanted: str, names: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(wanted, sorted(set(names)), n=3, cutoff=0.7)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def _near_path(wanted: str, paths: Sequence[str]) -> str:
    """Compare last names: whole paths of one directory all look alike."""
    name = wanted.rpartition("/")[2]
    by_name: dict[str, list[str]] = {}
    for path in sorted(paths):
        by_name.setdefault(path.rpartition("/")[2], []).append(path)
    names = difflib.get_close_matches(name, by_name, n=3, cutoff=0.7)
    near = [path for name in names for path in by_name[name]][:3]
    return f"did you mean {' or '.join(near)}?" if near else "name a path that it holds"


def _modules(files: Sequence[Files]) -> list[str]:
    return [
        path
        for one in files
        for path in one.entries
        if path.startswith(MODULES) and path.endswith(MODULE_FORMS)
    ]


def _configs(files: Sequence[Files]) -> list[KernelConfig]:
    found = []
    for one in files:
        for path in one.entries:
            facts = one.facts(path) if path.startswith("/boot/config-") else None
            if isinstance(facts, KernelConfig):
                found.append(facts)
    return found
