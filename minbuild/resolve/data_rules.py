"""Data rules: needs of a selected file, and of a value that a manifest asks for by name."""

import re
from collections.abc import Iterator, Mapping

from minbuild.facts.model import PackageFiles, TextLines
from minbuild.manifest.model import Priority
from minbuild.manifest.rule_files import Rule
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve.model import (
    Need,
    NeedKind,
    OptionalFile,
    ResolvedPath,
    Root,
    RuleResult,
    UnmetNeed,
    shorten_location,
)
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.resolve_state import ResolveState, RuleInput

Placeholders = Mapping[str, str]
NO_FILES = PackageFiles("", {}, lambda _: None, lambda _: None)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def find_file_needs(subject: RuleInput, state: ResolveState) -> Iterator[RuleResult]:
    """Apply the rules that match a file by its path, its lines or the libraries it needs."""
    for rule, soname in state.rule_index.match_file(subject.path, subject.facts):
        directory, _, name = subject.path.rpartition("/")
        placeholders = {"name": name, "directory": directory, "triplet": state.triplet}
        if soname:
            yield from _find_first_available(
                rule, subject.path, placeholders, f"DT_NEEDED {soname}", state
            )
        elif rule.line or rule.each:
            for names, evidence in _match_lines(rule, subject):
                yield from _find_first_available(
                    rule, subject.path, {**placeholders, **names}, evidence, state
                )
        else:
            yield from _find_first_available(rule, subject.path, placeholders, "", state)


def find_value_needs(root: Root, state: ResolveState) -> Iterator[RuleResult]:
    """Apply the rules of what a manifest asks for: `data: {TOPIC: [VALUE]}`."""
    topic, _, value = root.text.partition("/")
    names = {"value": value, "initial": value[:1], "triplet": state.triplet}
    rules = tuple(state.rule_index.match_value(topic, value))
    for rule, captured in rules:
        yield from _find_first_available(
            rule, root.component, {**names, **captured}, root.evidence, state
        )
    if not rules:
        searched = state.rule_index.topics
        evidence = root.evidence
        yield UnmetNeed(NeedKind.DATA, root.text, root.component, "", evidence, looked=searched)


def _match_lines(rule: Rule, subject: RuleInput) -> Iterator[tuple[Placeholders, str]]:
    """Placeholders from the lines of a file, each with the line as evidence."""
    lines = subject.facts.lines if isinstance(subject.facts, TextLines) else ()
    for number, line in enumerate(lines, 1):
        match = re.search(rule.line, line)
        if match is None:
            continue
        evidence = f'line {number} "{" ".join(line.split())}"'
        names = {name: text for name, text in match.groupdict().items() if text is not None}
        if not rule.each:
            yield names, evidence
            continue
        for part in re.finditer(rule.each, names.get("rest", line)):
            captured = {name: text for name, text in part.groupdict().items() if text is not None}
            if captured:
                yield names | captured, evidence


def _find_first_available(
    rule: Rule, needed_by: str, names: Placeholders, evidence: str, state: ResolveState
) -> Iterator[RuleResult]:
    """Find the first of a rule's files that exists, or report that none does."""
    if not all(name in names for text in rule.needs for name in _PLACEHOLDER.findall(text)):
        return
    full_evidence = "; ".join(part for part in (evidence, shorten_location(rule.where)) if part)
    candidates = [_fill_escaped(text, names) for text in rule.needs]
    if rule.priority is not Priority.REQUIRED:
        if needed_by.startswith("/"):
            path, priority = RootPath(needed_by), str(rule.priority)
            state.optional_files.add(
                OptionalFile(path, candidates[0], priority, full_evidence, rule.because)
            )
        return
    package = _fill_plain(rule.package, names)
    owner = state.view.get_owner(RootPath(needed_by)) if needed_by.startswith("/") else package
    package = package or owner
    only_owner = owner if rule.own else None
    for candidate in candidates:
        is_glob = re.search(r"[*?\[]", candidate) is not None
        if is_glob:
            paths = _match_glob(candidate, state.view, only_owner)
            for path in paths:
                yield Need(path, needed_by, NeedKind.DATA, full_evidence)
            if paths:
                return
            continue
        resolved = _look_up(candidate, state.view)
        if resolved is not None:
            yield resolved.make_found_path(needed_by, NeedKind.DATA, full_evidence, candidate)
            return
    searched = (package,) if package in state.view.by_name else ()
    yield UnmetNeed(
        NeedKind.DATA, candidates[0], needed_by, package, full_evidence, looked=searched
    )


def _match_glob(glob: str, view: PackageView, owner: str | None) -> tuple[RootPath, ...]:
    """Files and links that match, of one package or of all; in a root with /bin of its own there, too."""
    package = None if owner is None else view.by_name.get(owner, NO_FILES)
    paths = tuple(view.find_paths(str(to_root_path(glob)), package))
    if paths or view.is_image or not glob.startswith("/usr"):
        return paths
    return tuple(view.find_paths(glob.removeprefix("/usr"), package))


def _look_up(path: str, view: PackageView) -> ResolvedPath | None:
    """Look up a path whose links lead somewhere; in a root with /bin of its own there, too."""
    resolved = view.look_up(path)
    if resolved is None and not view.is_image:
        resolved = view.look_up(path.removeprefix("/usr"))
    dangles = resolved is not None and view.resolve_links(resolved.path) is None
    return None if dangles else resolved


def _fill_escaped(text: str, names: Placeholders) -> str:
    """A path with its names filled in; what they hold is no glob."""
    return _PLACEHOLDER.sub(lambda name: re.sub(r"([*?\[])", r"[\1]", names[name[1]]), text)


def _fill_plain(text: str, names: Placeholders) -> str:
    return _PLACEHOLDER.sub(lambda name: names.get(name[1], ""), text)
