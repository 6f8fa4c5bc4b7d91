"""What a root needs and has not, for people and programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from minbuild.escape import dump
from minbuild.report.units import printable
from minbuild.resolve.check import STARTS, is_weak
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


@dataclass(frozen=True, slots=True)
class Examined:
    """A root that was checked."""

    name: str
    arch: str
    """That of most of its programs."""
    paths: int
    dangling: tuple[Missing, ...]
    """Sorted."""
    cautions: tuple[Caution, ...] = ()
    """Commands of its scripts that it has not; sorted."""


def as_text(found: Examined, *, strict: bool = False) -> str:
    """What is looked at, the way to what it lacks and the evidence, a line each; the verdict.

    Before them a line for each warning, which is no part of the verdict. Weak findings come last,
    and say so; `strict`: none is weak.
    """
    strong, weak = parted(found, strict=strict)
    lines = [
        f"warning  {printable(f'{one.path}:{one.line}: {one.what}')}" for one in found.cautions
    ]
    lines += [_line(one) for one in strong]
    lines += [f"weak {_line(one)}" for one in weak]
    lines.append(
        f"{printable(found.name)}: {found.paths:,} paths, {found.arch}: {_verdict(strong, weak)}"
    )
    return "".join(f"{line}\n" for line in lines)


def parted(found: Examined, *, strict: bool = False) -> tuple[list[Missing], list[Missing]]:
    """Part what keeps something from starting from what is weak; sorted."""
    ordered = sorted(found.dangling, key=lambda one: STARTS.index(one.chain[0]))
    weak = [] if strict else [one for one in ordered if is_weak(one)]
    return [one for one in ordered if strict or not is_weak(one)], weak


def _line(one: Missing) -> str:
    way = " → ".join(map(printable, (*one.chain[1:], one.wanted)))
    return f"{one.chain[0]}  {way}  [{one.kind}: {printable(one.evidence)}]"


def _verdict(strong: Sequence[Missing], weak: Sequence[Missing]) -> str:
    said = "needs nothing outside of it"
    if strong:
        said = f"{len(strong)} needs dangle: {_counted(strong)}"
    elif weak:
        said = "what it starts needs nothing outside of it"
    return f"{said}; {len(weak)} weak: {_counted(weak)} (--strict counts them)" if weak else said


def _counted(found: Sequence[Missing]) -> str:
    counts = Counter(one.chain[0] for one in found)
    return ", ".join(f"{counts[start]} of {_MEANS[start]}" for start in STARTS if counts[start])


def as_json(found: Examined, *, strict: bool = False) -> str:
    """The same as a JSON object."""
    rows = [
        {**asdict(one), "kind": str(one.kind), "weak": not strict and is_weak(one)}
        for one in found.dangling
    ]
    warnings = [asdict(one) for one in found.cautions]
    document = {"schema": SCHEMA, "root": found.name, "arch": found.arch, "paths": found.paths,
                "dangling": rows, "warnings": warnings}  # fmt: skip
    return dump(document)
