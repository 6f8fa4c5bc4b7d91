"""What a root needs and has not, for people and programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from minbuild.escape import dump_json
from minbuild.report.layout import escape_line
from minbuild.resolve.closed_world import RootCheck, is_minor
from minbuild.resolve.model import ChainStart, UnmetNeed

SCHEMA = "minbuild.check-tree/1"
_START_NOUNS = {
    "program": "programs",
    "script": "scripts",
    "library": "libraries that no program here loads",
    "module": "kernel modules",
    "link": "links",
    "file": "other files",
}


def render_root_check(check: RootCheck, *, strict: bool = False) -> str:
    """What is looked at, the way to what it lacks and the evidence, a line each; the verdict.

    Before them a line for each warning, which is no part of the verdict. Weak findings come last,
    and say so; `strict`: none is weak.
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


def split_by_severity(
    check: RootCheck, *, strict: bool = False
) -> tuple[list[UnmetNeed], list[UnmetNeed]]:
    """Part what keeps something from starting from what is weak; sorted."""
    starts = [*ChainStart]
    ordered = sorted(check.dangling, key=lambda one: starts.index(ChainStart(one.chain[0])))
    weak = [] if strict else [one for one in ordered if is_minor(one)]
    return [one for one in ordered if strict or not is_minor(one)], weak


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
    """The same as a JSON object."""
    rows = [
        {**asdict(one), "kind": str(one.kind), "weak": not strict and is_minor(one)}
        for one in check.dangling
    ]
    warnings = [asdict(one) for one in check.warnings]
    document = {"schema": SCHEMA, "root": check.name, "arch": check.arch, "paths": check.paths,
                "dangling": rows, "warnings": warnings}  # fmt: skip
    return dump_json(document)
