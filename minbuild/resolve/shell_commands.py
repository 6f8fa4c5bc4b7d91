"""Commands of shell scripts that are not in the image: warnings, not unmet needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbuild.facts.model import Script
from minbuild.facts.shell.script import ShellScript
from minbuild.facts.shell.syntax import SHELLS
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.resolve.builtin_tables import PROGRAM_DIRECTORIES, RUNTIME_DIRECTORIES
from minbuild.resolve.file_rules import find_env_program
from minbuild.resolve.model import NeedKind, ScriptWarning, UnmetNeed
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers


def _split_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POSIX_BUILTINS = _split_words(
    ". : [ alias bg break cd command continue echo eval exec exit export false fc fg getopts hash "
    "jobs kill local printf pwd read readonly return set shift test times trap true type ulimit "
    "umask unalias unset wait"
)
"""Source: POSIX.1-2024, 2.15 and 1.7; dash(1), Builtins."""
ASH_BUILTINS = _split_words("[[ chdir help history let source")
"""Builtins that BusyBox's ash and dash have in addition. Source: BusyBox shell/ash.c, builtintab; dash(1)."""
BASH_BUILTINS = _split_words(
    "[[ bind builtin caller compgen complete compopt coproc declare dirs disown enable help history "
    "let logout mapfile popd pushd readarray select shopt source suspend time typeset"
)
"""Source: bash(1), SHELL BUILTIN COMMANDS."""


def is_shell(facts: object) -> bool:
    """Tell whether a script's first line names a shell, itself or by env or BusyBox."""
    return bool(_find_shell(facts))


def _find_shell(facts: object) -> str:
    if not isinstance(facts, Script):
        return ""
    name = facts.interpreter.rpartition("/")[2]
    if name == "env":
        name = find_env_program(facts.argument).rpartition("/")[2]
    elif name == "busybox":
        name = facts.argument.partition(" ")[0]
    return name if name in SHELLS else ""


@dataclass(frozen=True, slots=True)
class ParsedScript:
    """A file of shell commands: a script, or one that scripts read."""

    shell: ShellScript
    is_bash: bool = False


def find_missing_commands(
    scripts: Mapping[RootPath, ParsedScript], view: PackageView, waivers: Waivers
) -> tuple[ScriptWarning, ...]:
    """Name every command that a script runs and that is neither its own nor in the image; sorted.

    `scripts`: all scripts, and all files that they read, by real path.
    """
    sourced = {
        path: tuple(find_sourced_files(script.shell, view)) for path, script in scripts.items()
    }
    readers: dict[RootPath, list[RootPath]] = {}
    for path, sourced_paths in sourced.items():
        for sourced_path in sourced_paths:
            readers.setdefault(sourced_path, []).append(path)
    warnings = []
    for path, script in scripts.items():
        if script.shell.unread:
            warnings.append(ScriptWarning(path, 1, "it cannot be read as a shell script"))
        known_names = _collect_functions([path, *readers.get(path, ())], scripts, sourced)
        for use in script.shell.uses:
            name = use.name
            if name in known_names or _is_available(name, script, scripts, view):
                continue
            known_names.add(name)  # once for each file: its first line
            evidence = f"line {use.line}"
            unmet = UnmetNeed(NeedKind.EXEC, name, path, "", evidence, looked=PROGRAM_DIRECTORIES)
            if not waivers.allows(unmet):
                warnings.append(
                    ScriptWarning(path, use.line, f'command "{name}" is not in the image')
                )
    return tuple(sorted(dict.fromkeys(warnings)))


def _is_available(
    name: str, script: ParsedScript, scripts: Mapping[RootPath, ParsedScript], view: PackageView
) -> bool:
    shell = script.shell
    if (
        name in POSIX_BUILTINS
        or name in ASH_BUILTINS
        or (script.is_bash and name in BASH_BUILTINS)
        or name in shell.guarded
    ):
        return True
    if name.startswith("/"):
        top = f"/{name.split('/')[1]}"
        return top in RUNTIME_DIRECTORIES or _is_program(name, view)
    if "/" in name or shell.open_path or shell.open_sources:
        return True  # from where it is run, or from what only the running script knows
    return any(_is_program(f"{at}/{name}", view) for at in (*PROGRAM_DIRECTORIES, *shell.path))


def _is_program(raw: str, view: PackageView) -> bool:
    resolved = view.look_up(raw)
    real = view.resolve_links(resolved.path) if resolved is not None else None
    entry = view.get_entry(real) if real is not None else None
    return entry is not None and entry.kind is not FileType.DIRECTORY


def _collect_functions(
    starts: Sequence[RootPath],
    scripts: Mapping[RootPath, ParsedScript],
    sourced: Mapping[RootPath, Sequence[RootPath]],
) -> set[str]:
    """Functions of files and of all that they read."""
    seen = set(starts)
    queue = list(starts)
    while queue:
        for sourced_path in sourced.get(queue.pop(), ()):
            if sourced_path not in seen:
                seen.add(sourced_path)
                queue.append(sourced_path)
    return {name for each in seen if each in scripts for name in scripts[each].shell.functions}


def find_sourced_files(shell: ShellScript, view: PackageView) -> Iterator[RootPath]:
    """Real paths of the files of the image that a script reads."""
    for raw in shell.sources:
        resolved = view.look_up(raw)
        real = view.resolve_links(resolved.path) if resolved is not None else None
        if real is not None:
            yield real
