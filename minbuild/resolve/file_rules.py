"""Rules for one selected file: each yields what the file needs; RULES lists them."""

import shlex
from collections.abc import Callable, Iterator, Mapping

from minbuild.facts.model import Elf, FileFacts, Malformed, Module, Script
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve.builtin_tables import (
    CONFIGURED_REQUESTS,
    DOCUMENTATION_DIRECTORIES,
    PROGRAM_DIRECTORIES,
    RUNTIME_DIRECTORIES,
    SHARED_DIRECTORIES,
)
from minbuild.resolve.data_rules import find_file_needs
from minbuild.resolve.elf_process import is_program
from minbuild.resolve.firmware import follow_firmware
from minbuild.resolve.kernel import MODULE_SUFFIXES
from minbuild.resolve.model import Need, NeedKind, RuleResult, UnmetNeed
from minbuild.resolve.package_view import LINK_LOOP, PackageView, join_link_target
from minbuild.resolve.resolve_state import ResolveState, RuleInput

MAX_INTERPRETERS = 5
"""Source: Linux fs/exec.c, exec_binprm: one more is ELOOP."""

RuleFunction = Callable[[RuleInput, ResolveState], Iterator[RuleResult]]


def follow_parent(subject: RuleInput, _state: ResolveState) -> Iterator[RuleResult]:
    """Every path needs its directory."""
    path = RootPath(subject.path.rpartition("/")[0])
    if path:
        yield Need(path, subject.path, NeedKind.PARENT, "directory")


def follow_link(subject: RuleInput, state: ResolveState) -> Iterator[RuleResult]:
    """A link needs what it points to. Source: symlink(7)."""
    if subject.entry.kind is not FileType.LINK:
        return
    raw = join_link_target(subject.path, subject.entry.target)
    evidence = f"-> {subject.entry.target}"
    top = RootPath(f"/{to_root_path(raw).split('/')[1]}")
    if top in RUNTIME_DIRECTORIES:
        yield Need(top, subject.path, NeedKind.LINK, evidence)
        return
    resolved = state.view.look_up(raw) or state.view.look_up_directory(raw)
    if resolved is not None and state.view.resolve_links(resolved.path) is None:
        # a link further down dangles: that one says so, unless all of them turn in a circle
        reason = state.view.explain_failure(raw)
        if reason == LINK_LOOP:
            yield _make_unmet(
                state, subject, NeedKind.LINK, to_root_path(raw), f"{evidence}: {reason}"
            )
            return
    if resolved is None:
        yield _make_unmet(state, subject, NeedKind.LINK, to_root_path(raw), evidence)
        return
    yield resolved.make_found_path(subject.path, NeedKind.LINK, evidence, raw)


def follow_elf(subject: RuleInput, state: ResolveState) -> Iterator[RuleResult]:
    """A program needs all that its process loads; libraries are loaded by programs."""
    if isinstance(subject.facts, Elf) and is_program(subject.facts):
        yield from state.loader.load_process(subject.path, subject.facts).results


def follow_script(subject: RuleInput, state: ResolveState) -> Iterator[RuleResult]:
    """A script that can be started needs its interpreter. Source: execve(2)."""
    if not isinstance(subject.facts, Script) or not subject.entry.mode & 0o111:
        return
    raw = subject.facts.interpreter
    evidence = f"#! {raw} {subject.facts.argument}".rstrip()
    resolved = state.view.look_up(raw) if raw.startswith("/") else None
    if resolved is None or state.view.resolve_links(resolved.path) is None:
        yield _make_unmet(state, subject, NeedKind.SHEBANG, raw, evidence)
    elif _is_too_deep(subject.facts, state):
        reason = f"{evidence}: more than {MAX_INTERPRETERS} interpreters are scripts themselves"
        yield _make_unmet(state, subject, NeedKind.SHEBANG, raw, reason)
    else:
        yield resolved.make_found_path(subject.path, NeedKind.SHEBANG, evidence, raw)
    if raw.rpartition("/")[2] == "env":
        yield from _follow_env(subject, state, find_env_program(subject.facts.argument), evidence)


def follow_module(subject: RuleInput, state: ResolveState) -> Iterator[RuleResult]:
    """A kernel module needs its dependencies, softdeps, weakdeps, firmware and what its code asks for.

    Source: modprobe(8).
    """
    if not isinstance(subject.facts, Module):
        return
    facts, module_path = subject.facts, subject.path
    lib = RootPath("/lib")
    if state.view.get_entry(lib) is None and not state.view.is_directory(lib):
        yield _make_unmet(state, subject, NeedKind.LINK, lib, "modprobe reads /lib/modules")
    else:
        yield Need(lib, module_path, NeedKind.LINK, "modprobe reads /lib/modules")
    for name in facts.depends:
        yield from follow_dependency(state, name, module_path)
    for field, names in (("pre", facts.soft_pre), ("post", facts.soft_post)):
        for name in names:
            yield from follow_softdep(state, name, module_path, f"softdep {field}: {name}")
    for name in facts.weak:
        # the kernel itself may ask for it when the module finds its device: so it must be there.
        # Source: modprobe.d(5), weakdep
        yield from follow_softdep(state, name, module_path, f"weakdep {name}")
    for alias, reason in list_requests(facts, state.find_kernel(module_path).options):
        yield from follow_request(state, alias, module_path, reason)
    for name in facts.firmware:
        yield from follow_firmware(
            state, name, module_path, f"firmware={name}", state.find_kernel(module_path).package
        )


def require_readable(subject: RuleInput, state: ResolveState) -> Iterator[RuleResult]:
    """A program or module must be readable; as mere data any bytes will do."""
    if isinstance(subject.facts, Malformed) and (
        subject.entry.mode & 0o111 or subject.path.endswith(MODULE_SUFFIXES)
    ):
        yield _make_unmet(state, subject, NeedKind.DATA, subject.path, subject.facts.reason)


def follow_strings(subject: RuleInput, state: ResolveState) -> Iterator[RuleResult]:
    """What the text of a file names, where the manifest follows it: files, and whole directories."""
    for text in state.strings.get(subject.path, ()):
        for path in find_named_files(text, state.view):
            if path != subject.path:
                yield Need(path, subject.path, NeedKind.STRING, f'string "{text}"')


RULES: tuple[RuleFunction, ...] = (
    follow_parent,
    follow_link,
    follow_elf,
    follow_script,
    follow_module,
    find_file_needs,
    follow_strings,
    require_readable,
)


def follow_dependency(state: ResolveState, name: str, needed_by: RootPath) -> Iterator[RuleResult]:
    """A module named in `depends`."""
    kernel = state.find_kernel(needed_by)
    matches = kernel.find(name)
    for path in matches.paths:
        yield Need(path, needed_by, NeedKind.MODULE, f"depends={name}")
    for builtin in matches.builtin:
        state.note_builtin(builtin, needed_by)
    if not matches and name not in state.known_builtin:
        searched = (kernel.directory,)
        yield UnmetNeed(
            NeedKind.MODULE, name, needed_by, kernel.package, f"depends={name}", looked=searched
        )


def follow_softdep(
    state: ResolveState, name: str, needed_by: RootPath, evidence: str
) -> Iterator[RuleResult]:
    """A module or alias that modprobe loads too where there is one."""
    kernel = state.find_kernel(needed_by)
    matches = kernel.find(name)
    for path in matches.paths:
        yield Need(path, needed_by, NeedKind.SOFTDEP, evidence)
    for builtin in matches.builtin:
        state.note_builtin(builtin, needed_by)
    if not matches and name not in state.known_builtin:
        yield from _skip_absent(state, NeedKind.SOFTDEP, name, needed_by, evidence)


def list_requests(module: Module, options: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """List aliases that a module asks the kernel for, each with its evidence."""
    for alias in module.requests:
        yield alias, f"requests={alias}"
    for option, form in CONFIGURED_REQUESTS.get(module.name, ()):
        if option in options:
            yield form.format(options[option]), f"CONFIG_{option}={options[option]}"


def follow_request(
    state: ResolveState, alias: str, needed_by: str, evidence: str
) -> Iterator[RuleResult]:
    """A module that the kernel loads by itself when another one asks for `alias`.

    What is built in is enough. Of several modules those that run on every processor are taken: the
    others do the same faster, on some. Source: crypto/api.c; MODULE_DEVICE_TABLE(x86cpu, …).
    """
    kernel = state.find_kernel(needed_by)
    matches = kernel.find(alias)
    if matches.builtin or alias in state.known_builtin:
        state.note_builtin(alias, needed_by)
        return
    portable = [path for path in matches.paths if not kernel.is_for_processor(path)]
    for path in portable or matches.paths:
        yield Need(path, needed_by, NeedKind.REQUEST, evidence)
    if not matches:
        yield from _skip_absent(state, NeedKind.REQUEST, alias, needed_by, evidence)


def _skip_absent(
    state: ResolveState, kind: NeedKind, name: str, needed_by: str, evidence: str
) -> Iterator[UnmetNeed]:
    """Note a module that works without `name`; it is a need where the image has to have it."""
    if not state.require_softdeps:
        state.note_skipped(name, needed_by)
    elif name not in state.known_skipped:
        looked = (state.find_kernel(needed_by).directory,)
        yield UnmetNeed(kind, name, needed_by, "", evidence, looked=looked)


def find_env_program(argument: str) -> str:
    """The program that `env ARGUMENT` starts; "" for none. Source: env(1), -S."""
    if not argument.startswith(("-S", "--split-string", "-vS")):
        # without -S all that follows is one name, as the kernel passes it
        return "" if argument.startswith("-") else argument
    command = argument.removeprefix("--split-string").removeprefix("-vS").removeprefix("-S")
    try:
        argv = shlex.split(command.lstrip("="))
    except ValueError:
        return command.strip()
    takes_value = False
    for word in argv:
        if takes_value:
            takes_value = False
        elif word in ("-u", "-C", "--unset", "--chdir"):
            takes_value = True
        elif not word.startswith("-") and "=" not in word:
            return word
    return ""


def find_named_files(text: str, view: PackageView) -> tuple[RootPath, ...]:
    """The files and links that a path in a text means, sorted; () where nothing is there.

    A directory means what is in it, where one package alone has that directory: /usr/lib does not.
    Links that lead nowhere are left out, since nothing has asked for them.
    """
    top = RootPath(f"/{to_root_path(text).split('/')[1]}")
    if top in RUNTIME_DIRECTORIES or to_root_path(text).startswith(DOCUMENTATION_DIRECTORIES):
        return ()
    resolved = view.look_up(text)
    real = view.resolve_links(resolved.path) if resolved is not None else None
    if resolved is None or real is None:
        directory = view.look_up_directory(text)
        real = directory.path if directory is not None else None
    if real is None:
        return ()
    if not view.is_directory(real):
        return (resolved.path,) if resolved is not None else ()
    if SHARED_DIRECTORIES.fullmatch(real) or len(view.find_owners_below(real)) != 1:
        return ()
    paths = (path for path in view.find_files_below(real) if view.resolve_links(path) is not None)
    return tuple(path for path in paths if not path.startswith(DOCUMENTATION_DIRECTORIES))


def _is_too_deep(facts: FileFacts | None, state: ResolveState) -> bool:
    """Tell whether the kernel gives up on a script: its interpreter is one, and so on."""
    for _ in range(MAX_INTERPRETERS + 1):
        if not isinstance(facts, Script):
            return False
        resolved = state.view.look_up(facts.interpreter)
        real = state.view.resolve_links(resolved.path) if resolved is not None else None
        facts = state.view.get_facts(real) if real is not None else None
    return True


def _follow_env(
    subject: RuleInput, state: ResolveState, name: str, evidence: str
) -> Iterator[RuleResult]:
    if not name:
        return
    candidates = [name] if name.startswith("/") else [f"{at}/{name}" for at in PROGRAM_DIRECTORIES]
    for raw in candidates:
        resolved = state.view.look_up(raw)
        if resolved is not None and state.view.resolve_links(resolved.path) is not None:
            yield resolved.make_found_path(subject.path, NeedKind.EXEC, evidence, raw)
            return
    searched = PROGRAM_DIRECTORIES if len(candidates) > 1 else ()
    package = state.view.get_owner(subject.path)
    yield UnmetNeed(NeedKind.EXEC, name, subject.path, package, evidence, looked=searched)


def _make_unmet(
    state: ResolveState, subject: RuleInput, kind: NeedKind, name: str, evidence: str
) -> UnmetNeed:
    return UnmetNeed(kind, name, subject.path, state.view.get_owner(subject.path), evidence)
