"""Results of a check for people: a line for each rule, and a verdict."""

from collections.abc import Sequence

from minbuild.escape import annotation, annotation_field, dump
from minbuild.footprint.diff import Diff
from minbuild.footprint.gate import Result, State, passed, verdict
from minbuild.report import diff as difference
from minbuild.report import markdown
from minbuild.report.fit import blocks, prose
from minbuild.report.units import printable

SCHEMA = "minbuild.check/1"


def as_text(results: Sequence[Result], notes: Sequence[str], width: int = 0) -> str:
    """One row for each rule, the fix below those that failed, and the verdict last."""
    cells = [[one.state, printable(one.rule), printable(one.said)] for one in results]
    lines = [part for note in notes for part in prose(note, width)]
    for one, row in zip(results, blocks(cells, frozenset({0, 1, 2}), width), strict=True):
        lines += row
        if one.state is State.FAILED:
            lines += [f"        where: {printable(str(one.where))}"] if one.where else []
            lines += prose(f"        fix:   {printable(one.fix)}", width) if one.fix else []
    return "\n".join([*lines, verdict(results)]) + "\n"


def line(results: Sequence[Result]) -> str:
    """The verdict and the rules that failed, in a line."""
    failed = [one.rule for one in results if one.state is State.FAILED]
    return verdict(results) + (f" ({printable(', '.join(failed))})" if failed else "")


def as_json(results: Sequence[Result], notes: Sequence[str]) -> str:
    """The results as a JSON object; keys sorted."""
    document = {
        "schema": SCHEMA,
        "passed": passed(results),
        "verdict": verdict(results),
        "notes": list(notes),
        "rules": [
            {
                "rule": one.rule,
                "state": str(one.state),
                "said": one.said,
                "fix": one.fix,
                "where": str(one.where) if one.where else "",
            }
            for one in results
        ],
    }
    return dump(document, sort=True)


def as_markdown(results: Sequence[Result], notes: Sequence[str], diff: Diff | None) -> str:
    """A comment for a pull request: verdict first, what failed in sight, the rest folded."""
    lines = [f"### minbuild {markdown.cell(verdict(results))}", ""]
    failed = [one for one in results if one.state is State.FAILED]
    head = ["rule", "what is, of what may be", "fix"]
    if failed:
        lines += [*markdown.rows(head, [_cells(one) for one in failed[:20]]), ""]
        if len(failed) > 20:
            lines += [f"… and {len(failed) - 20} more failed rules", ""]
    lines += [markdown.cell(note) for note in notes]
    parts = list(difference.parts(diff)) if diff is not None else []
    if diff is not None:
        lines += [f"{markdown.cell(difference.headline(diff))}", "",
                  f"`{difference.counting(diff)}`", ""]  # fmt: skip
    every = [[str(one.state), *_cells(one)] for one in results]
    lines += markdown.fitting([*parts, ("Rules", ["", *head], every, 0)])
    return markdown.page(lines)


def _cells(one: Result) -> list[str]:
    fix = one.fix if one.state is State.FAILED else ""
    return [markdown.code(one.rule), markdown.cell(one.said), markdown.cell(fix)]


def annotations(results: Sequence[Result]) -> str:
    """Lines that GitHub Actions turns into annotations. Source: "Workflow commands"."""
    lines = []
    for one in results:
        if one.state is State.FAILED:
            place = (
                f" file={annotation_field(one.where.file)},line={one.where.line},col={one.where.column}"
                if one.where
                else ""
            )
            text = f"{one.rule}: {one.said}. {one.fix}"
            lines.append(f"::error{place}::{annotation(text)}")
    return "".join(f"{line}\n" for line in lines)
