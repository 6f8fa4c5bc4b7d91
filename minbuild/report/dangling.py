"""What a root needs and has not, for people and programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from minbuild.report.units import printable
from minbuild.resolve.types import Missing

SCHEMA = "minbuild.check-tree/1"


def as_text(name: str, arch: str, paths: int, dangling: Sequence[Missing]) -> str:
    """One line for each need that dangles, then the verdict."""
    lines = [
        f"{one.kind}  {printable(one.by)} → {printable(one.wanted)}  [{printable(one.evidence)}]"
        for one in dangling
    ]
    verdict = f"{len(dangling)} needs dangle" if dangling else "needs nothing outside of it"
    return "\n".join([*lines, f"{printable(name)}: {paths:,} paths, {arch}: {verdict}"]) + "\n"


def as_json(name: str, arch: str, paths: int, dangling: Sequence[Missing]) -> str:
    """The same as a JSON object."""
    rows = [{**asdict(one), "kind": str(one.kind)} for one in dangling]
    document = {"schema": SCHEMA, "root": name, "arch": arch, "paths": paths, "dangling": rows}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
