"""Commands of shell scripts that the image has not: a warning each, no lack of the closed world."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbuild.facts.shell import Shell
from minbuild.facts.shellinner import SHELLS
from minbuild.facts.types import Kind, Script
from minbuild.paths import RootPath
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.knowledge import PROGRAM_DIRECTORIES, RUNTIME
from minbuild.resolve.rules import env_program
from minbuild.resolve.types import Caution, Missing, NeedKind
from minbuild.resolve.waivers import Waivers


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POSIX = _words(
    ". : [ alias bg break cd command continue echo eval exec exit export false fc fg getopts hash "
    "jobs kill local printf pwd read readonly return set shift test times trap true type ulimit "
    "umask unalias unset wait"
)
"""Source: POSIX.1-2024, 2.15 and 1.7; dash(1), Builtins."""
ASH = _words("[[ chdir help history let source")
"""What BusyBox's ash and dash have beside. Source: BusyBox shell/ash.c, builtintab; dash(1)."""
BASH = _words(
    "[[ bind builtin caller compgen complete compopt coproc declare dirs disown enable help history "
    "let logout mapfile popd pushd readarray select shopt source suspend time typeset"
)
"""Source: bash(1), SHELL BUILTIN COMMANDS."""


def is_shell(facts: object) -> bool:
    """Tell whether a script's first line names a shell, itself or by env or BusyBox."""
    return bool(_shell(facts))


def _shell(facts: object) -> str:
    if not isinstance(facts, Script):
        return ""
    name = facts.interpreter.rpartition("/")[2]
    if name == "env":
        name = env_program(facts.argument).rpartition("/")[2]
    elif name == "busybox":
        name = facts.argument.partition(" ")[0]
    return name if name in SHELLS else ""


@dataclass(frozen=True, slots=True)
class Heard:
    """A file of shell commands: a script, or one that scripts read."""

    shell: Shell
    bash: bool = False


def cautions(
    heard: Mapping[RootPath, Heard], catalog: Catalog, waivers: Waivers
) -> tuple[Caution, ...]:
    """Name every command that a script runs and that is neither its own nor in the image; sorted.

    `heard`: all scripts, and all files that they read, by real path.
    """
    reads = {path: tuple(sources(one.shell, catalog)) for path, one in heard.items()}
    readers: dict[RootPath, list[RootPath]] = {}
    for path, others in reads.items():
        for other in others:
            readers.setdefault(other, []).append(path)
    found = []
    for path, one in heard.items():
        if one.shell.unread:
            found.append(Caution(path, 1, "it cannot be read as a shell script"))
        known = _functions([path, *readers.get(path, ())], heard, reads)
        for use in one.shell.uses:
            name = use.name
            if name in known or _there(name, one, heard, catalog):
                continue
            known.add(name)  # once for each file: its first line
            evidence = f"line {use.line}"
            lack = Missing(NeedKind.EXEC, name, path, "", evidence, looked=PROGRAM_DIRECTORIES)
            if not waivers.allows(lack):
                found.append(Caution(path, use.line, f'command "{name}" is not in the image'))
    return tuple(sorted(dict.fromkeys(found)))


def _there(name: str, one: Heard, heard: Mapping[RootPath, Heard], catalog: Catalog) -> bool:
    shell = one.shell
    if name in POSIX or name in ASH or (one.bash and name in BASH) or name in shell.guarded:
        return True
    if name.startswith("/"):
        top = f"/{name.split('/')[1]}"
        return top in RUNTIME or _program(name, catalog)
    if "/" in name or shell.open_path or shell.open_sources:
        return True  # from where it is run, or from what only the running script knows
    return any(_program(f"{at}/{name}", catalog) for at in (*PROGRAM_DIRECTORIES, *shell.path))


def _program(raw: str, catalog: Catalog) -> bool:
    reached = catalog.reach(raw)
    real = catalog.real(reached.path) if reached is not None else None
    entry = catalog.entry(real) if real is not None else None
    return entry is not None and entry.kind is not Kind.DIRECTORY


def _functions(
    starts: Sequence[RootPath],
    heard: Mapping[RootPath, Heard],
    reads: Mapping[RootPath, Sequence[RootPath]],
) -> set[str]:
    """Functions of files and of all that they read."""
    seen = set(starts)
    todo = list(starts)
    while todo:
        for other in reads.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return {name for each in seen if each in heard for name in heard[each].shell.functions}


def sources(shell: Shell, catalog: Catalog) -> Iterator[RootPath]:
    """Real paths of the files of the image that a script reads."""
    for raw in shell.sources:
        reached = catalog.reach(raw)
        real = catalog.real(reached.path) if reached is not None else None
        if real is not None:
            yield real
