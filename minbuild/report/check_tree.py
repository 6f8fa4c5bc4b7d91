"""Unmet needs of a root as text and JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from minbuild.escape import dump_json
from minbuild.report.layout import escape_line
from minbuild.resolve.closed_world import RootCheck, is_minor, split_by_severity
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
    document = {"schema": SCHEMA, "root": check.name, "arch": check.arch, "paths": check.paths,
                "dangling": rows, "warnings": warnings}  # fmt: skip
    return dump_json(document)
