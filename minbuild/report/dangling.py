"""What a root needs and has not, for people and programs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from minbuild.report.units import printable
from minbuild.resolve.check import STARTS
from minbuild.resolve.types import Missing

SCHEMA = "minbuild.check-tree/1"
_MEANS = {
    "program": "programs",
    "script": "scripts",
    "library": "libraries that no program here loads",
    "module": "kernel modules",
    "link": "links",
    "file": "other files",
}


def as_text(name: str, arch: str, paths: int, dangling: Sequence[Missing]) -> str:
    """What is looked at, the way to what it lacks and the evidence, a line each; the verdict."""
    ordered = sorted(dangling, key=lambda one: STARTS.index(one.chain[0]))
    lines = [
        f"{one.chain[0]}  {' → '.join(map(printable, (*one.chain[1:], one.wanted)))}"
        f"  [{one.kind}: {printable(one.evidence)}]"
        for one in ordered
    ]
    return (
        "\n".join([*lines, f"{printable(name)}: {paths:,} paths, {arch}: {_verdict(dangling)}"])
        + "\n"
    )


def _verdict(dangling: Sequence[Missing]) -> str:
    if not dangling:
        return "needs nothing outside of it"
    counts = Counter(one.chain[0] for one in dangling)
    parts = [f"{counts[start]} of {_MEANS[start]}" for start in STARTS if counts[start]]
    return f"{len(dangling)} needs dangle: {', '.join(parts)}"


def as_json(name: str, arch: str, paths: int, dangling: Sequence[Missing]) -> str:
    """The same as a JSON object."""
    rows = [{**asdict(one), "kind": str(one.kind)} for one in dangling]
    document = {"schema": SCHEMA, "root": name, "arch": arch, "paths": paths, "dangling": rows}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
