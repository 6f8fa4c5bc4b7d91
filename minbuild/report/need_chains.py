"""Chains of needs that lead to a path, as text, JSON and a Graphviz graph."""

from collections.abc import Mapping
from dataclasses import asdict

from minbuild.escape import dump_json, quote_dot
from minbuild.explain.why import Chain, Explanation, locate_evidence
from minbuild.footprint.model import UNOWNED
from minbuild.report.layout import escape_line, format_entry, format_size, wrap_line
from minbuild.resolve import path_glob
from minbuild.resolve.model import Need


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
    note = escape_line(f"{row.type}, {format_size(row.size)}, {owner}, {row.component}")
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


def render_explanations_json(*explanations: Explanation) -> str:
    """Print an answer as a JSON object: image, path, present, chains of edges, similar, …

    Several answers are a list of objects.
    """
    documents = [_explanation_to_json(answer) for answer in explanations]
    return dump_json(documents[0] if len(documents) == 1 else documents)


def _explanation_to_json(explanation: Explanation) -> dict[str, object]:
    return {
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
