"""Needs of an image as text, JSON and a Graphviz graph: chains to a path, the closure as a tree,
unmet needs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from minbuild.escape import dump_json, quote_dot
from minbuild.explain.weights import WeighedClosure
from minbuild.explain.why import Chain, Explanation, locate_evidence
from minbuild.footprint.model import UNOWNED
from minbuild.report.layout import align_columns, escape_line, format_entry, format_size, wrap_line
from minbuild.resolve import path_glob
from minbuild.resolve.closed_world import RootCheck, is_minor, split_by_severity
from minbuild.resolve.model import ChainStart, Need, UnmetNeed


def render_explanation(explanation: Explanation, *, precise: bool = False, width: int = 0) -> str:
    """Print an answer: the path, its owner, and each chain from the component down.

    `precise`: also the file and package of the evidence of each need. In a terminal of `width`
    columns long paths are shortened.
    """
    row = explanation.row
    if row is None:
        return _render_absent(explanation, width)
    fallback_owner = "in no package" if row.component == UNOWNED else "made by minbuild"
    owner = row.package or fallback_owner
    note = escape_line(
        f"{row.type}, {format_size(row.size)}, {owner}, {_name_component(explanation)}"
    )
    owners = explanation.owners if precise else None
    lines = format_entry("", escape_line(row.path), note, width)
    lines += [_render_chain(chain, owners, width) for chain in explanation.chains]
    if explanation.possible_dlopens:
        names = escape_line(", ".join(explanation.possible_dlopens))
        lines += wrap_line(
            f"  it may open, without a note of it, what is not in the image: {names}", width
        )
    if explanation.named_paths:
        names = escape_line(", ".join(one.wanted for one in explanation.named_paths))
        lines += wrap_line(f"  its text names what is not in the image: {names}", width)
    return "\n".join(lines) + "\n"


def _name_component(explanation: Explanation) -> str:
    """The component that a file is counted for: the first of several whose chains lead to it."""
    row = explanation.row
    assert row is not None
    starts = {chain[0].needed_by for chain in explanation.chains if chain}
    if not starts or row.component in starts:
        return row.component
    return f"counted for {row.component}, which needs it, too (--all)"


def _render_absent(explanation: Explanation, width: int) -> str:
    reason = "the manifest leaves it out" if explanation.waivers else "no need leads to it"
    lines = [f"{explanation.path} is not in {explanation.image}: {reason}"]
    if explanation.requested_name:
        verb = "has a name like" if path_glob.is_glob(explanation.requested_name) else "is called"
        lines = [f"no file of {explanation.image} {verb} {explanation.requested_name}: {reason}"]
    lines += [
        f"  {one.kind}: {one.path} ({one.where}), because: {one.because}"
        for one in explanation.waivers
    ]
    lines += [
        f"  named by {one.by} ({one.evidence}); paths: {{{one.by}: follow}} takes it along"
        for one in explanation.named_paths
    ]
    lines += [f"  {text}" for text in explanation.other_sources]
    lines += [f"  similar: {path}" for path in explanation.similar_paths]
    return "".join(f"{part}\n" for line in lines for part in wrap_line(escape_line(line), width))


WHY_SCHEMA = "minbuild.why/1"
"""Of each answer."""


def render_explanations_json(*explanations: Explanation) -> str:
    """Print an answer as a JSON object: image, path, present, chains of edges, similar, …

    Several answers are a list of objects.
    """
    documents = [_explanation_to_json(answer) for answer in explanations]
    return dump_json(documents[0] if len(documents) == 1 else documents)


def _explanation_to_json(explanation: Explanation) -> dict[str, object]:
    return {
        "schema": WHY_SCHEMA,
        "image": explanation.image,
        "path": explanation.path,
        "present": explanation.row is not None,
        "chains": [
            [_need_to_json(need, explanation.owners) for need in chain]
            for chain in explanation.chains
        ],
        "similar": list(explanation.similar_paths),
        "waived": [asdict(one) for one in explanation.waivers],
        "elsewhere": list(explanation.other_sources),
        "possible_dlopens": list(explanation.possible_dlopens),
        "named": [asdict(one) for one in explanation.named_paths],
    }


def render_explanations_dot(*explanations: Explanation) -> str:
    """The chains as one Graphviz graph, from components down; an edge says what proves it."""
    needs = sorted({need for answer in explanations for chain in answer.chains for need in chain})
    names = sorted(
        {name for need in needs for name in (need.needed_by, need.path)}
        | {answer.path for answer in explanations}
    )
    lines = ["digraph why {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [
        f"  {quote_dot(name)}{'' if name.startswith('/') else ' [shape=oval]'};" for name in names
    ]
    lines += [
        f"  {quote_dot(need.needed_by)} -> {quote_dot(need.path)} [label={quote_dot(f'{need.kind}: {need.evidence}')}];"
        for need in needs
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _render_chain(chain: Chain, owners: Mapping[str, str] | None, width: int) -> str:
    lines = [f"  {escape_line(chain[0].needed_by)}"]
    for depth, need in enumerate(chain, 1):
        margin = f"  {'   ' * (depth - 1)}"
        note = f"[{need.kind}: {escape_line(need.evidence)}]"
        lines += format_entry(f"{margin}└─ ", escape_line(need.path), note, width)
        if owners is not None:
            lines += wrap_line(
                f"{margin}      seen in {escape_line(locate_evidence(need, owners))}", width
            )
    return "\n".join(lines)


def _need_to_json(need: Need, owners: Mapping[str, str]) -> dict[str, str]:
    """A need as a JSON object; `stands` is the old name of `location`."""
    location = locate_evidence(need, owners)
    return {
        "to": need.path,
        "from": need.needed_by,
        "kind": str(need.kind),
        "evidence": need.evidence,
        "location": location,
        "stands": location,
    }


TREE_SCHEMA = "minbuild.tree/1"
SEEN_ABOVE = " (above)"


def render_tree(closure: WeighedClosure, *, depth: int = 0, width: int = 0) -> str:
    """Print the tree; a path that was unfolded above is not unfolded again. `depth` 0: all.

    In a terminal of `width` columns long paths are shortened.
    """
    rows = [["own", "closure", "added", ""]]
    for line, name in _walk_tree(closure, depth):
        weight = closure.weights[name]
        rows.append(
            [format_size(weight.own), format_size(weight.closure), format_size(weight.added), line]
        )
    return "\n".join(align_columns(rows, frozenset({3}), width=width, shrinkable=3)) + "\n"


def render_tree_json(closure: WeighedClosure) -> str:
    """Print every path and component with its sizes and what it needs, as a JSON object."""
    nodes = [
        {"name": name, **asdict(weight), "needs": list(closure.children.get(name, ()))}
        for name, weight in closure.weights.items()
    ]
    document = {
        "schema": TREE_SCHEMA,
        "image": closure.image,
        "tops": list(closure.roots),
        "nodes": nodes,
    }
    return dump_json(document)


def _walk_tree(closure: WeighedClosure, depth: int) -> Iterator[tuple[str, str]]:
    """Each line of the tree and the path or component in it."""
    seen: set[str] = set()
    # last first; each with what its line begins with, and what those of its children do
    stack = [(name, "", "") for name in reversed(closure.roots)]
    while stack:
        name, mark, margin = stack.pop()
        children = closure.children.get(name, ())
        is_repeated = name in seen and bool(children)
        yield f"{mark}{escape_line(name)}{SEEN_ABOVE if is_repeated else ''}", name
        seen.add(name)
        level = len(margin) // 3 + 1
        if is_repeated or (depth and level >= depth):
            continue
        for child in reversed(children):
            is_last = child == children[-1]
            stack.append((child, margin + ("└─ " if is_last else "├─ "), margin + ("   " if is_last else "│  ")))  # fmt: skip


CHECK_TREE_SCHEMA = "minbuild.check-tree/1"
_START_NOUNS = {
    "program": "programs",
    "script": "scripts",
    "library": "libraries that no program here loads",
    "module": "kernel modules",
    "link": "links",
    "file": "other files",
}


def render_root_check(check: RootCheck, *, strict: bool = False) -> str:
    """One line for each warning, one for each unmet need with its chain and evidence, the verdict.

    Weak needs come last and are marked; `strict`: none is weak. Warnings do not change the verdict.
    """
    strong, weak = split_by_severity(check, strict=strict)
    lines = [
        f"warning  {escape_line(f'{one.path}:{one.line}: {one.what}')}" for one in check.warnings
    ]
    lines += [_format_missing(one) for one in strong]
    lines += [f"weak {_format_missing(one)}" for one in weak]
    lines.append(
        f"{escape_line(check.name)}: {check.paths:,} paths, {check.arch}: {_summarize(strong, weak)}"
    )
    return "".join(f"{line}\n" for line in lines)


def _format_missing(missing: UnmetNeed) -> str:
    chain = " → ".join(map(escape_line, (*missing.chain[1:], missing.wanted)))
    return f"{missing.chain[0]}  {chain}  [{missing.kind}: {escape_line(missing.evidence)}]"


def _summarize(strong: Sequence[UnmetNeed], weak: Sequence[UnmetNeed]) -> str:
    message = "needs nothing outside of it"
    if strong:
        message = f"{len(strong)} needs dangle: {_count_by_start(strong)}"
    elif weak:
        message = "what it starts needs nothing outside of it"
    return (
        f"{message}; {len(weak)} weak: {_count_by_start(weak)} (--strict counts them)"
        if weak
        else message
    )


def _count_by_start(missing: Sequence[UnmetNeed]) -> str:
    counts = Counter(one.chain[0] for one in missing)
    return ", ".join(
        f"{counts[start]} of {_START_NOUNS[start]}" for start in ChainStart if counts[start]
    )


def render_root_check_json(check: RootCheck, *, strict: bool = False) -> str:
    """The check as a JSON object."""
    rows = [
        {**asdict(one), "kind": str(one.kind), "weak": not strict and is_minor(one)}
        for one in check.dangling
    ]
    warnings = [asdict(one) for one in check.warnings]
    document = {"schema": CHECK_TREE_SCHEMA, "root": check.name, "arch": check.arch, "paths": check.paths,
                "dangling": rows, "warnings": warnings}  # fmt: skip
    return dump_json(document)
