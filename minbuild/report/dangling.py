"""What a root needs and has not, for people and programs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from minbuild.report.units import printable
from minbuild.resolve.check import STARTS
from minbuild.resolve.types import Caution, Missing

SCHEMA = "minbuild.check-tree/1"
_MEANS = {
    "program": "programs",
    "script": "scripts",
    "library": "libraries that no program here loads",
    "module": "kernel modules",
    "link": "links",
    "file": "other files",
}


def as_text(
    name: str, arch: str, paths: int, dangling: Sequence[Missing], cautions: Sequence[Caution] = ()
) -> str:
    """What is looked at, the way to what it lacks and the evidence, a line each; the verdict.

    Before them a line for each warning, which is no part of the verdict.
    """
    ordered = sorted(dangling, key=lambda one: STARTS.index(one.chain[0]))
    lines = [f"warning  {printable(f'{one.path}:{one.line}: {one.what}')}" for one in cautions]
    lines += [
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


def as_json(
    name: str, arch: str, paths: int, dangling: Sequence[Missing], cautions: Sequence[Caution] = ()
) -> str:
    """The same as a JSON object."""
    rows = [{**asdict(one), "kind": str(one.kind)} for one in dangling]
    warnings = [asdict(one) for one in cautions]
    document = {"schema": SCHEMA, "root": name, "arch": arch, "paths": paths, "dangling": rows,
                "warnings": warnings}  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
