"""What rule files tell: the needs of a chosen file, and of what a manifest asks for by name."""

import re
from collections.abc import Iterator, Mapping

from minbuild.facts.types import Files, Text
from minbuild.manifest.rule import Rule
from minbuild.manifest.types import Priority
from minbuild.paths import RootPath, rootpath
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.place import place
from minbuild.resolve.types import Missing, Need, NeedKind, Possible, Root
from minbuild.resolve.world import Outcome, Subject, World

Names = Mapping[str, str]
NOTHING = Files("", {}, lambda _: None, lambda _: None)
_NAME = re.compile(r"\{([^{}]*)\}")


def known(subject: Subject, world: World) -> Iterator[Outcome]:
    """What rules say of a chosen file: by its path, by its lines, by the libraries it needs."""
    for rule, soname in world.book.of_file(subject.path, subject.facts):
        directory, _, name = subject.path.rpartition("/")
        usual = {"name": name, "directory": directory, "triplet": world.triplet}
        if soname:
            yield from _wanted(rule, subject.path, usual, f"DT_NEEDED {soname}", world)
        elif rule.line or rule.each:
            for names, evidence in _lines(rule, subject):
                yield from _wanted(rule, subject.path, {**usual, **names}, evidence, world)
        else:
            yield from _wanted(rule, subject.path, usual, "", world)


def asked(root: Root, world: World) -> Iterator[Outcome]:
    """What a manifest asks for: `data: {TOPIC: [VALUE]}`."""
    topic, _, value = root.text.partition("/")
    names = {"value": value, "initial": value[:1], "triplet": world.triplet}
    rules = tuple(world.book.of_value(topic, value))
    for rule, more in rules:
        yield from _wanted(rule, root.component, {**names, **more}, root.evidence, world)
    if not rules:
        looked = world.book.topics
        evidence = root.evidence
        yield Missing(NeedKind.DATA, root.text, root.component, "", evidence, looked=looked)


def _lines(rule: Rule, subject: Subject) -> Iterator[tuple[Names, str]]:
    """Names that the lines of a file give, each with the line as evidence."""
    lines = subject.facts.lines if isinstance(subject.facts, Text) else ()
    for number, line in enumerate(lines, 1):
        found = re.search(rule.line, line)
        if found is None:
            continue
        evidence = f'line {number} "{" ".join(line.split())}"'
        names = {name: text for name, text in found.groupdict().items() if text is not None}
        if not rule.each:
            yield names, evidence
            continue
        for each in re.finditer(rule.each, names.get("rest", line)):
            more = {name: text for name, text in each.groupdict().items() if text is not None}
            if more:
                yield names | more, evidence


def _wanted(rule: Rule, by: str, names: Names, evidence: str, world: World) -> Iterator[Outcome]:
    """The first of a rule's files that is there, or that none is."""
    if not all(name in names for text in rule.needs for name in _NAME.findall(text)):
        return
    shown = "; ".join(part for part in (evidence, place(rule.where)) if part)
    wants = [_filled(text, names) for text in rule.needs]
    if rule.priority is not Priority.REQUIRED:
        if by.startswith("/"):
            path, priority = RootPath(by), str(rule.priority)
            world.possible.add(Possible(path, wants[0], priority, shown, rule.because))
        return
    package = _plain(rule.package, names)
    own = world.catalog.owner(RootPath(by)) if by.startswith("/") else package
    package = package or own
    only = own if rule.own else None
    for want in wants:
        found = _found(want, by, shown, world.catalog, only)
        if found:
            yield from found
            return
    looked = (package,) if package in world.catalog.by_name else ()
    yield Missing(NeedKind.DATA, wants[0], by, package, shown, looked=looked)


def _found(want: str, by: str, evidence: str, catalog: Catalog, owner: str | None) -> list[Need]:
    split = want.removeprefix("/usr")  # where a root that is not merged may have it
    if re.search(r"[*?\[]", want):
        files = None if owner is None else catalog.by_name.get(owner, NOTHING)
        paths = catalog.matching(str(rootpath(want)), files)
        found = [Need(path, by, NeedKind.DATA, evidence) for path in paths]
        if found or split == want or catalog.generated:
            return found
        return [Need(path, by, NeedKind.DATA, evidence) for path in catalog.matching(split, files)]
    reached = catalog.reach(want)
    if reached is None and not catalog.generated:
        reached = catalog.reach(split)
    if reached is None or catalog.real(reached.path) is None:
        return []
    return catalog.edges(reached, want, by, NeedKind.DATA, evidence)


def _filled(text: str, names: Names) -> str:
    """A path with its names filled in; what they hold is no glob."""
    return _NAME.sub(lambda name: re.sub(r"([*?\[])", r"[\1]", names[name[1]]), text)


def _plain(text: str, names: Names) -> str:
    return _NAME.sub(lambda name: names.get(name[1], ""), text)
