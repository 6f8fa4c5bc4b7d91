"""What a host would be without something, for people and programs."""

from collections.abc import Mapping, Sequence

from minbuild.errors import UsageError
from minbuild.escape import dump
from minbuild.facts.types import Kind
from minbuild.footprint.types import Footprint
from minbuild.paths import rootpath
from minbuild.report.closure import weighed
from minbuild.report.units import printable, size
from minbuild.resolve import pattern, removal
from minbuild.resolve.removal import Removal
from minbuild.resolve.types import NeedKind

SCHEMA = "minbuild.removal/1"
MOST = 20
"""Lines of one kind that are printed."""

Needs = Mapping[str, Sequence[str]]
Losses = Mapping[str, str]
"""Component → what a host without it has not."""


def named(footprint: Footprint, words: Sequence[str]) -> tuple[str, ...]:
    """The paths and components that words stand for: a path or its glob, a component, a package.

    Raises: UsageError for a word that is nothing in the image.
    """
    found: dict[str, None] = {}
    for word in words:
        hits = _named(footprint, word)
        if not hits:
            raise UsageError(
                f"{word} is no path, component or package of {footprint.name}",
                fix="minbuild tree lists paths and components, report --by package packages",
            )
        found |= dict.fromkeys(hits)
    return tuple(found)


def without(footprint: Footprint, words: Sequence[str], needs: Needs) -> Removal:
    """Take what words stand for out of a footprint. Raises: UsageError for an unknown word."""
    return removal.remove(weighed(footprint), footprint.edges, named(footprint, words), needs)


def as_text(footprint: Footprint, words: Sequence[str], gone: Removal) -> str:
    """Say what would go, what would break, and what it would save."""
    lines = [
        f"without {', '.join(map(printable, words))}",
        "",
        f"would go: {_saves(footprint, gone)}",
    ]
    rows = {str(row.path): row for row in footprint.files}
    weighty = sorted((p for p in gone.gone if rows[p].type != Kind.DIRECTORY),
                     key=lambda path: (-rows[path].size, path))  # fmt: skip
    lines += _few([f"  {size(rows[path].size):>8}  {printable(path)}" for path in weighty])
    broken = [
        f"  {printable(need.by)} needs {printable(need.path)}  [{need.kind}: {printable(need.evidence)}]"
        for need in gone.broken
    ]
    broken += [f"  {name} needs it" for name in gone.wanted_by]
    broken += [f"  hurts {', '.join(gone.hurt)}"] if gone.hurt else []
    lines += ["", "would break:" if broken else "would break: nothing", *_few(broken)]
    return "\n".join(lines) + "\n"


def as_json(footprint: Footprint, words: Sequence[str], gone: Removal) -> str:
    """The same as a JSON object."""
    return dump(_document(footprint, words, gone))


def suggestions(footprint: Footprint, needs: Needs, most: int) -> tuple[tuple[str, Removal], ...]:
    """The removals that would save most, ranked."""
    return removal.suggest(weighed(footprint), footprint.edges, needs, most)


def suggestions_as_text(
    footprint: Footprint,
    found: Sequence[tuple[str, Removal]],
    losses: Losses,
    opened: frozenset[str] | None = None,
) -> str:
    """One entry for each removal: what it saves, what it costs, and how it is written.

    `opened`: what traced boots opened; None when none was traced.
    """
    lines = []
    for number, (name, gone) in enumerate(found, 1):
        lines.append(f"{number:>3}  {printable(name)}: {_saves(footprint, gone)}")
        lines.append(f"     costs: {'; '.join(_costs(name, gone, losses))}")
        lines.append(f"     how:   {_how(name, footprint)}")
        if opened is not None and not opened & frozenset(gone.gone):
            lines.append("     trace: nothing of it was opened in the last traced boot")
    return "\n".join(lines) + "\n"


def suggestions_as_json(
    footprint: Footprint,
    found: Sequence[tuple[str, Removal]],
    losses: Losses,
    opened: frozenset[str] | None = None,
) -> str:
    """The same as a JSON object."""
    rows = [
        {
            **_document(footprint, [name], gone),
            "costs": _costs(name, gone, losses),
            "how": _how(name, footprint),
            "opened": None if opened is None else sorted(opened & frozenset(gone.gone)),
        }
        for name, gone in found
    ]
    document = {"schema": "minbuild.suggest/1", "image": footprint.name, "removals": rows}
    return dump(document)


def _named(footprint: Footprint, word: str) -> tuple[str, ...]:
    if word.startswith("/"):
        glob = str(rootpath(word))
        return tuple(str(row.path) for row in footprint.files if pattern.matches(glob, row.path))
    if any(need.by == word for need in footprint.edges):
        return (word,)
    return tuple(
        str(row.path)
        for row in footprint.files
        if row.package == word and row.type != Kind.DIRECTORY
    )


def _saves(footprint: Footprint, gone: Removal) -> str:
    files, packed = _amounts(footprint, gone)
    return f"{files} files, {size(gone.size)}, about {size(packed)} packed"


def _amounts(footprint: Footprint, gone: Removal) -> tuple[int, int]:
    out = frozenset(gone.gone)
    rows = [row for row in footprint.files if row.path in out]
    return sum(row.type == Kind.FILE for row in rows), sum(row.packed for row in rows)


def _costs(name: str, gone: Removal, losses: Losses) -> list[str]:
    costs = [f"{other} needs it" for other in gone.wanted_by]
    if name in losses and not removal.is_own(name):
        costs.append(f"no {losses[name]}")
    by = list(dict.fromkeys(need.by for need in gone.broken if not removal.is_own(need.by)))
    if by:
        rest = f" and {len(by) - 4} more" if len(by) > 4 else ""
        costs.append(f"breaks {', '.join(map(printable, by[:4]))}{rest}")
        others = [component for component in gone.hurt if component not in by]
        if others:
            costs.append(f"hurts {', '.join(others)}")
    return costs or ["nothing else needs it"]


def _how(name: str, footprint: Footprint) -> str:
    """What to write in the manifest."""
    kept = [one.evidence for one in footprint.edges
            if one.path == name and removal.is_own(one.by) and one.kind is NeedKind.ROOT]  # fmt: skip
    if kept:
        return f"take {printable(name)} out of keep ({printable(kept[0])})"
    if name.startswith("/"):
        return f"drop: [{{path: {printable(name)}, because: …}}]"
    section, _, short = name.partition("/")
    if removal.is_own(name):
        return "take out all that the manifest itself keeps"
    return f"take {short} out of {section}: use, or {section}: {{use: {{remove: [{short}]}}}} where it is inherited"


def _document(footprint: Footprint, words: Sequence[str], gone: Removal) -> dict[str, object]:
    files, packed = _amounts(footprint, gone)
    return {
        "schema": SCHEMA,
        "image": footprint.name,
        "without": list(words),
        "files": files,
        "bytes": gone.size,
        "packed": packed,
        "gone": list(gone.gone),
        "broken": [
            {"to": need.path, "from": need.by, "kind": str(need.kind), "evidence": need.evidence}
            for need in gone.broken
        ],
        "wanted_by": list(gone.wanted_by),
        "hurt": list(gone.hurt),
    }


def _few(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST
    return [*lines[:MOST], f"  and {rest} more: --json lists all"] if rest > 0 else lines
