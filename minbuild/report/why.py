"""The chains of needs that lead to a path, for people and programs."""

import difflib
import json
from dataclasses import dataclass

from minbuild.footprint.types import FileRow, Footprint
from minbuild.paths import RootPath
from minbuild.report.units import printable, size
from minbuild.resolve.types import Need
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
    near: tuple[str, ...]
    """Paths of the image with a similar name, when the path is not in it."""


def explain(footprint: Footprint, path: RootPath, *, every: bool = False) -> Answer:
    """Find the shortest chain to a path, or every one of them (64 at the most)."""
    rows = {row.path: row for row in footprint.files}
    row = rows.get(path)
    if row is None:
        return Answer(footprint.name, path, None, (), _near(path, list(rows)))
    found = chains(footprint.edges, path, limit=MOST if every else 1)
    return Answer(footprint.name, path, row, found, ())


def as_text(answer: Answer) -> str:
    """Print an answer: the path, its owner, and each chain from the component down."""
    row = answer.row
    if row is None:
        lines = [f"{printable(answer.path)} is not in {answer.image}: no need leads to it"]
        lines += [f"  similar: {printable(path)}" for path in answer.near]
        return "\n".join(lines) + "\n"
    owner = row.package or "made by minbuild"
    head = f"{printable(row.path)}  {row.type}, {size(row.size)}, {owner}, {row.component}"
    return "\n".join([head, *(_chain(chain) for chain in answer.chains)]) + "\n"


def as_json(answer: Answer) -> str:
    """Print an answer as a JSON object: image, path, present, chains of edges, similar."""
    document = {
        "image": answer.image,
        "path": answer.path,
        "present": answer.row is not None,
        "chains": [[_edge(need) for need in chain] for chain in answer.chains],
        "similar": list(answer.near),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _chain(chain: Chain) -> str:
    lines = [f"  {printable(chain[0].by)}"]
    for depth, need in enumerate(chain, 1):
        lines.append(
            f"  {'   ' * (depth - 1)}└─ {printable(need.path)}  "
            f"[{need.kind}: {printable(need.evidence)}]"
        )
    return "\n".join(lines)


def _edge(need: Need) -> dict[str, str]:
    return {"to": need.path, "from": need.by, "kind": str(need.kind), "evidence": need.evidence}


def _near(path: RootPath, paths: list[RootPath]) -> tuple[str, ...]:
    name = path.rpartition("/")[2]
    same = [one for one in paths if one.rpartition("/")[2] == name]
    return tuple(same[:3] or difflib.get_close_matches(path, paths, 3, 0.75))
