"""What one chosen file needs: each rule is a function in the list RULES."""

import shlex
from collections.abc import Callable, Iterator

from minbuild.facts.types import Damaged, Elf, FileFacts, Kind, Module, Script
from minbuild.paths import RootPath, rootpath
from minbuild.resolve.catalog import LOOP, Catalog, beside
from minbuild.resolve.firmware import BUILT_IN, Blobs
from minbuild.resolve.kernel import MODULE_FORMS
from minbuild.resolve.knowledge import PAPER, PROGRAM_DIRECTORIES, RUNTIME, SHARED
from minbuild.resolve.process import is_program
from minbuild.resolve.rulebook import known
from minbuild.resolve.types import Missing, Need, NeedKind
from minbuild.resolve.world import Outcome, Subject, World

MOST_INTERPRETERS = 5
"""Source: Linux fs/exec.c, exec_binprm: one more is ELOOP."""

Rule = Callable[[Subject, World], Iterator[Outcome]]


def parent(subject: Subject, _world: World) -> Iterator[Outcome]:
    """Everything lies in a directory, which lies in its own."""
    path = RootPath(subject.path.rpartition("/")[0])
    if path:
        yield Need(path, subject.path, NeedKind.PARENT, "directory")


def link(subject: Subject, world: World) -> Iterator[Outcome]:
    """A link needs what it points to. Source: symlink(7)."""
    if subject.entry.kind is not Kind.LINK:
        return
    raw = beside(subject.path, subject.entry.target)
    evidence = f"-> {subject.entry.target}"
    top = RootPath(f"/{rootpath(raw).split('/')[1]}")
    if top in RUNTIME:
        yield Need(top, subject.path, NeedKind.LINK, evidence)
        return
    reached = world.catalog.reach(raw) or world.catalog.reach_directory(raw)
    if reached is not None and world.catalog.real(reached.path) is None:
        # a link further down dangles: that one says so, unless all of them turn in a circle
        why = world.catalog.why_not(raw)
        if why == LOOP:
            yield _lack(world, subject, NeedKind.LINK, rootpath(raw), f"{evidence}: {why}")
            return
    if reached is None:
        yield _lack(world, subject, NeedKind.LINK, rootpath(raw), evidence)
        return
    yield from world.catalog.edges(reached, raw, subject.path, NeedKind.LINK, evidence)


def elf(subject: Subject, world: World) -> Iterator[Outcome]:
    """A program needs all that its process loads; libraries are loaded by programs."""
    if isinstance(subject.facts, Elf) and is_program(subject.facts):
        yield from world.loader.process(subject.path, subject.facts).outcomes


def script(subject: Subject, world: World) -> Iterator[Outcome]:
    """A script that can be started needs its interpreter. Source: execve(2)."""
    if not isinstance(subject.facts, Script) or not subject.entry.mode & 0o111:
        return
    raw = subject.facts.interpreter
    evidence = f"#! {raw} {subject.facts.argument}".rstrip()
    reached = world.catalog.reach(raw) if raw.startswith("/") else None
    if reached is None or world.catalog.real(reached.path) is None:
        yield _lack(world, subject, NeedKind.SHEBANG, raw, evidence)
    elif _too_deep(subject.facts, world):
        what = f"{evidence}: more than {MOST_INTERPRETERS} interpreters are scripts themselves"
        yield _lack(world, subject, NeedKind.SHEBANG, raw, what)
    else:
        yield from world.catalog.edges(reached, raw, subject.path, NeedKind.SHEBANG, evidence)
    if raw.rpartition("/")[2] == "env":
        yield from _env(subject, world, env_program(subject.facts.argument), evidence)


def module(subject: Subject, world: World) -> Iterator[Outcome]:
    """A kernel module needs its dependencies, softdeps, weakdeps and firmware. Source: modprobe(8)."""
    if not isinstance(subject.facts, Module):
        return
    facts, by = subject.facts, subject.path
    place = RootPath("/lib")
    if world.catalog.entry(place) is None and not world.catalog.is_directory(place):
        yield _lack(world, subject, NeedKind.LINK, place, "modprobe reads /lib/modules")
    else:
        yield Need(place, by, NeedKind.LINK, "modprobe reads /lib/modules")
    for name in facts.depends:
        yield from dependency(world, name, by)
    for field, names in (("pre", facts.soft_pre), ("post", facts.soft_post)):
        for name in names:
            yield from softdep(world, name, by, f"softdep {field}: {name}")
    for name in facts.weak:
        # the kernel itself may ask for it when the module finds its device: so it must be there.
        # Source: modprobe.d(5), weakdep
        yield from softdep(world, name, by, f"weakdep {name}")
    for name in facts.firmware:
        yield from firmware(world, name, by, f"firmware={name}", world.kernel_of(by).package)


def sound(subject: Subject, world: World) -> Iterator[Outcome]:
    """A program or module must be readable; as mere data any bytes will do."""
    if isinstance(subject.facts, Damaged) and (
        subject.entry.mode & 0o111 or subject.path.endswith(MODULE_FORMS)
    ):
        yield _lack(world, subject, NeedKind.DATA, subject.path, subject.facts.reason)


def named(subject: Subject, world: World) -> Iterator[Outcome]:
    """What the text of a file names, where the manifest follows it: files, and whole directories."""
    for text in world.strings.get(subject.path, ()):
        for path in named_files(text, world.catalog):
            if path != subject.path:
                yield Need(path, subject.path, NeedKind.STRING, f'string "{text}"')


RULES: tuple[Rule, ...] = (parent, link, elf, script, module, known, named, sound)


def dependency(world: World, name: str, by: RootPath) -> Iterator[Outcome]:
    """A module named in `depends`."""
    kernel = world.kernel_of(by)
    hits = kernel.find(name)
    for path in hits.paths:
        yield Need(path, by, NeedKind.MODULE, f"depends={name}")
    for builtin in hits.builtin:
        world.note_builtin(builtin, by)
    if not hits and name not in world.known_builtin:
        where = (kernel.directory,)
        yield Missing(NeedKind.MODULE, name, by, kernel.package, f"depends={name}", looked=where)


def softdep(world: World, name: str, by: RootPath, evidence: str) -> Iterator[Outcome]:
    """A module or alias that modprobe loads too where there is one."""
    kernel = world.kernel_of(by)
    hits = kernel.find(name)
    for path in hits.paths:
        yield Need(path, by, NeedKind.SOFTDEP, evidence)
    for builtin in hits.builtin:
        world.note_builtin(builtin, by)
    if hits or name in world.known_builtin:
        return
    if not world.strict:
        world.note_absent(name, by)
    elif name not in world.known_absent:
        yield Missing(NeedKind.SOFTDEP, name, by, "", evidence, looked=(kernel.directory,))


def firmware(world: World, name: str, by: str, evidence: str, package: str) -> Iterator[Outcome]:
    """A firmware file in any of the forms that the kernel reads; none that is built into it."""
    kernel = world.kernel_of(by)
    own = f"firmware {name}"
    if name in kernel.options.get(BUILT_IN, "").split():
        world.note_builtin(own, by)
    if own in world.builtin or own in world.known_builtin:
        return
    blobs = Blobs(world.catalog, kernel.version, kernel.options)
    found = tuple(blobs.serving(name))
    for raw, reached in found:
        yield from world.catalog.edges(reached, raw, by, NeedKind.FIRMWARE, evidence)
    if not found:
        looked = ("/usr/lib/firmware", *blobs.unreadable(name))
        yield Missing(NeedKind.FIRMWARE, name, by, package, evidence, looked=looked)


def env_program(argument: str) -> str:
    """The program that `env ARGUMENT` starts; "" for none. Source: env(1), -S."""
    if not argument.startswith(("-S", "--split-string", "-vS")):
        # without -S all that follows is one name, as the kernel passes it
        return "" if argument.startswith("-") else argument
    rest = argument.removeprefix("--split-string").removeprefix("-vS").removeprefix("-S")
    try:
        words = shlex.split(rest.lstrip("="))
    except ValueError:
        return rest.strip()
    takes_value = False
    for word in words:
        if takes_value:
            takes_value = False
        elif word in ("-u", "-C", "--unset", "--chdir"):
            takes_value = True
        elif not word.startswith("-") and "=" not in word:
            return word
    return ""


def named_files(text: str, catalog: Catalog) -> tuple[RootPath, ...]:
    """The files and links that a path in a text means, sorted; () where nothing is there.

    A directory means what is in it, where one package alone has that directory: /usr/lib does not.
    Links that lead nowhere are left out, since nothing has asked for them.
    """
    top = RootPath(f"/{rootpath(text).split('/')[1]}")
    if top in RUNTIME or rootpath(text).startswith(PAPER):
        return ()
    reached = catalog.reach(text)
    real = catalog.real(reached.path) if reached is not None else None
    if reached is None or real is None:
        directory = catalog.reach_directory(text)
        real = directory.path if directory is not None else None
    if real is None:
        return ()
    if not catalog.is_directory(real):
        return (reached.path,) if reached is not None else ()
    if SHARED.fullmatch(real) or len(catalog.owners_below(real)) != 1:
        return ()
    found = (path for path in catalog.below(real) if catalog.real(path) is not None)
    return tuple(path for path in found if not path.startswith(PAPER))


def _too_deep(facts: FileFacts | None, world: World) -> bool:
    """Tell whether the kernel gives up on a script: its interpreter is one, and so on."""
    for _ in range(MOST_INTERPRETERS + 1):
        if not isinstance(facts, Script):
            return False
        reached = world.catalog.reach(facts.interpreter)
        real = world.catalog.real(reached.path) if reached is not None else None
        facts = world.catalog.facts(real) if real is not None else None
    return True


def _env(subject: Subject, world: World, name: str, evidence: str) -> Iterator[Outcome]:
    if not name:
        return
    places = [name] if name.startswith("/") else [f"{at}/{name}" for at in PROGRAM_DIRECTORIES]
    for raw in places:
        reached = world.catalog.reach(raw)
        if reached is not None and world.catalog.real(reached.path) is not None:
            yield from world.catalog.edges(reached, raw, subject.path, NeedKind.EXEC, evidence)
            return
    looked = PROGRAM_DIRECTORIES if len(places) > 1 else ()
    package = world.catalog.owner(subject.path)
    yield Missing(NeedKind.EXEC, name, subject.path, package, evidence, looked=looked)


def _lack(world: World, subject: Subject, kind: NeedKind, wanted: str, evidence: str) -> Missing:
    return Missing(kind, wanted, subject.path, world.catalog.owner(subject.path), evidence)
