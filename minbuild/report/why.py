"""The chains of needs that lead to a path, for people and programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from minbuild.escape import dot, dump
from minbuild.footprint.types import STRING_PRIORITY, UNOWNED, FileRow, Footprint, Waived
from minbuild.paths import RootPath, rootpath
from minbuild.report.fit import entry, prose
from minbuild.report.similar import similar
from minbuild.report.units import printable, size
from minbuild.resolve import pattern
from minbuild.resolve.types import Need, NeedKind, Possible
from minbuild.resolve.why import Chain, chains

MOST = 64
"""Chains that are listed at the most."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Why a path is in an image, or that it is not."""

    image: str
    path: RootPath
    row: FileRow | None
    """None: the path is not in the image."""
    chains: tuple[Chain, ...]
    """Shortest first."""
    near: tuple[RootPath, ...] = ()
    """Paths of the image with a similar name, when the path is not in it."""
    waived: tuple[Waived, ...] = ()
    """Lines of the manifest that leave the path out."""
    elsewhere: tuple[str, ...] = ()
    """Where else the path could come from, in words."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Path → its package and version."""
    possible: tuple[str, ...] = ()
    """Libraries not in the image that the path may open by name at run time."""
    named: tuple[Possible, ...] = ()
    """Paths that a text names: those of this path's text, or by whom an absent path is named."""
    called: str = ""
    """The name or glob that was asked for in place of an absent path."""


def answers(footprint: Footprint, word: str, *, every: bool = False) -> tuple[Answer, ...]:
    """An answer for each path that a word stands for: a path, a name, or a glob of either.

    Links to other namesakes are left out where a file is there.
    """
    paths = [str(row.path) for row in footprint.files if row.type != "directory"]
    if word in paths or str(rootpath(word)) in paths:
        return (explain(footprint, word, every=every),)
    if "/" in word:
        glob = str(rootpath(word))
        hits = [path for path in paths if pattern.matches(glob, path)]
    else:
        hits = [path for path in paths if pattern.matches(word, path.rpartition("/")[2])]
    if not hits:
        return (explain(footprint, word, every=every),)
    return tuple(explain(footprint, path, every=every) for path in hits)


def explain(footprint: Footprint, word: str, *, every: bool = False) -> Answer:
    """Find the shortest chain to a path, or every one of them (64 at the most).

    A word without a slash stands for the only path that ends with it.
    """
    rows = {row.path: row for row in footprint.files}
    namesakes = [path for path in rows if path.endswith(f"/{word}")] if "/" not in word else []
    exact = [path for path in rows if path == word]  # /bin/su, where /bin is a directory
    path = namesakes[0] if len(namesakes) == 1 else exact[0] if exact else rootpath(word)
    row = rows.get(path)
    if row is None:
        called = "" if "/" in word else word
        near = similar(path, (one.path for one in footprint.files if one.type != "directory"))
        waived = tuple(one for one in footprint.waivers if _means(one.path, path))
        by = tuple(one for one in _strings(footprint) if f"{path}/".startswith(f"{one.wanted}/"))
        return Answer(footprint.name, path, None, (), near, waived, named=by, called=called)
    found = chains(footprint.edges, path, limit=MOST if every else 1)
    versions = {one.name: f"{one.name} {one.version}".rstrip() for one in footprint.packages}
    owners = {
        str(each.path): versions.get(each.package, each.package) if each.package else ""
        for each in footprint.files
    }
    possible = footprint.possible.get(path, ())
    named = tuple(one for one in _strings(footprint) if one.by == path)
    return Answer(footprint.name, path, row, found, owners=owners, possible=possible, named=named)


def _strings(footprint: Footprint) -> list[Possible]:
    return [one for one in footprint.listed if one.priority == STRING_PRIORITY]


def as_text(answer: Answer, *, precise: bool = False, width: int = 0) -> str:
    """Print an answer: the path, its owner, and each chain from the component down.

    `precise`: where the evidence of each need stands, in which file of which package. In a terminal of `width` columns long paths are shortened.
    """
    row = answer.row
    if row is None:
        return _absent(answer, width)
    nobody = "in no package" if row.component == UNOWNED else "made by minbuild"
    owner = row.package or nobody
    note = printable(f"{row.type}, {size(row.size)}, {owner}, {row.component}")
    owners = answer.owners if precise else None
    lines = entry("", printable(row.path), note, width)
    lines += [_chain(chain, owners, width) for chain in answer.chains]
    if answer.possible:
        names = printable(", ".join(answer.possible))
        lines += prose(
            f"  it may open, without a note of it, what is not in the image: {names}", width
        )
    if answer.named:
        names = printable(", ".join(one.wanted for one in answer.named))
        lines += prose(f"  its text names what is not in the image: {names}", width)
    return "\n".join(lines) + "\n"


def _absent(answer: Answer, width: int) -> str:
    why = "the manifest leaves it out" if answer.waived else "no need leads to it"
    lines = [f"{answer.path} is not in {answer.image}: {why}"]
    if answer.called:
        what = "has a name like" if pattern.is_pattern(answer.called) else "is called"
        lines = [f"no file of {answer.image} {what} {answer.called}: {why}"]
    lines += [
        f"  {one.kind}: {one.path} ({one.where}), because: {one.because}" for one in answer.waived
    ]
    lines += [
        f"  named by {one.by} ({one.evidence}); paths: {{{one.by}: follow}} takes it along"
        for one in answer.named
    ]
    lines += [f"  {text}" for text in answer.elsewhere]
    lines += [f"  similar: {path}" for path in answer.near]
    return "".join(f"{part}\n" for line in lines for part in prose(printable(line), width))


def as_json(*given: Answer) -> str:
    """Print an answer as a JSON object: image, path, present, chains of edges, similar, …

    Several answers are a list of such objects.
    """
    documents = [_document(answer) for answer in given]
    return dump(documents[0] if len(documents) == 1 else documents)


def _document(answer: Answer) -> dict[str, object]:
    return {
        "image": answer.image,
        "path": answer.path,
        "present": answer.row is not None,
        "chains": [[_edge(need, answer.owners) for need in chain] for chain in answer.chains],
        "similar": list(answer.near),
        "waived": [asdict(one) for one in answer.waived],
        "elsewhere": list(answer.elsewhere),
        "possible_dlopens": list(answer.possible),
        "named": [asdict(one) for one in answer.named],
    }


def as_dot(*given: Answer) -> str:
    """The chains as one Graphviz graph, from components down; an edge says what proves it."""
    needs = sorted({need for answer in given for chain in answer.chains for need in chain})
    names = sorted(
        {name for need in needs for name in (need.by, need.path)}
        | {answer.path for answer in given}
    )
    lines = ["digraph why {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {dot(name)}{'' if name.startswith('/') else ' [shape=oval]'};" for name in names]
    lines += [
        f"  {dot(need.by)} -> {dot(need.path)} [label={dot(f'{need.kind}: {need.evidence}')}];"
        for need in needs
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _chain(chain: Chain, owners: Mapping[str, str] | None, width: int) -> str:
    lines = [f"  {printable(chain[0].by)}"]
    for depth, need in enumerate(chain, 1):
        margin = f"  {'   ' * (depth - 1)}"
        note = f"[{need.kind}: {printable(need.evidence)}]"
        lines += entry(f"{margin}└─ ", printable(need.path), note, width)
        if owners is not None:
            lines += prose(f"{margin}      seen in {printable(stands(need, owners))}", width)
    return "\n".join(lines)


PLACES: Mapping[NeedKind, str] = {
    NeedKind.ROOT: "the manifest",
    NeedKind.PARENT: "the path",
    NeedKind.LINK: "the link",
    NeedKind.INTERP: "the program header PT_INTERP",
    NeedKind.NEEDED: "the dynamic section",
    NeedKind.SHEBANG: "line 1",
    NeedKind.EXEC: "line 1",
    NeedKind.MODULE: "the field `depends` of .modinfo",
    NeedKind.SOFTDEP: "the field `softdep` of .modinfo",
    NeedKind.STRING: "the text",
    NeedKind.FIRMWARE: "the field `firmware` of .modinfo",
    NeedKind.DLOPEN: "the dynamic symbols",
    NeedKind.KCONFIG: "the manifest",
    NeedKind.DATA: "a rule",
    NeedKind.GENERATED: "a rule",
}
"""Where the evidence of a need stands in the file that has it; of a component's, in its own line."""


def stands(need: Need, owners: Mapping[str, str]) -> str:
    """Where the evidence of a need can be read."""
    if not need.by.startswith("/"):
        return need.evidence
    where = PLACES[need.kind]
    if need.kind is NeedKind.DLOPEN and need.evidence.startswith(".note.dlopen"):
        where = "the section .note.dlopen"
    elif need.kind is NeedKind.DLOPEN and need.evidence.startswith("DT_"):
        where = PLACES[NeedKind.NEEDED]
    return f"{where} of {need.by} ({owners.get(need.by) or 'made by minbuild'})"


def _edge(need: Need, owners: Mapping[str, str]) -> dict[str, str]:
    return {
        "to": need.path, "from": need.by, "kind": str(need.kind), "evidence": need.evidence,
        "stands": stands(need, owners),
    }  # fmt: skip


def _means(text: str, path: RootPath) -> bool:
    """Tell whether a waiver's path, glob or name stands for a path."""
    if "/" in text:
        return pattern.matches(str(rootpath(text)), path)
    return pattern.matches(text, path.rpartition("/")[2])
