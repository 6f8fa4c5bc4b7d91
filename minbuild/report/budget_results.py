"""Results of a check as text, Markdown, JSON, JUnit, SARIF and annotations."""

from collections.abc import Sequence
from urllib.parse import quote

from minbuild import __version__
from minbuild.escape import (
    dump_json,
    escape_annotation,
    escape_annotation_field,
    escape_markup,
    quote_attribute,
)
from minbuild.escape import escape_sarif as message
from minbuild.footprint.budget_check import has_passed, summarize_results
from minbuild.footprint.budget_result import BudgetResult, RuleState
from minbuild.footprint.comparison import FootprintDiff
from minbuild.report import diff as difference
from minbuild.report import layout
from minbuild.report.layout import escape_line, layout_rows, wrap_line


def render_results_junit(results: Sequence[BudgetResult]) -> str:
    """One test case for each rule."""
    failed = sum(result.state is RuleState.FAILED for result in results)
    skipped = sum(result.state in {RuleState.SKIPPED, RuleState.WAIVED} for result in results)
    head = f'tests="{len(results)}" failures="{failed}" skipped="{skipped}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {head}>",
             f'<testsuite name="minbuild" {head} errors="0">']  # fmt: skip
    for result in results:
        location = (
            f" file={quote_attribute(result.where.file)} line={quote_attribute(str(result.where.line))}"
            if result.where
            else ""
        )
        case = f'<testcase classname="minbuild" name={quote_attribute(result.rule)}{location}'
        if result.state is RuleState.FAILED:
            lines.append(
                f"{case}><failure message={quote_attribute(result.message)}>{escape_markup(result.fix)}</failure></testcase>"
            )
        elif result.state is RuleState.PASSED:
            lines.append(f"{case}/>")
        else:
            lines.append(
                f"{case}><skipped message={quote_attribute(f'{result.state}: {result.message}')}/></testcase>"
            )
    return "\n".join([*lines, "</testsuite>", "</testsuites>"]) + "\n"


SARIF_LEVELS = {RuleState.FAILED: "error", RuleState.WAIVED: "note", RuleState.SKIPPED: "note"}


def render_results_sarif(results: Sequence[BudgetResult]) -> str:
    """One rule for each rule, one result for each that did not pass; keys sorted."""
    rules = sorted({one.rule for one in results})
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "minbuild",
                        "version": __version__,
                        "rules": [{"id": rule} for rule in rules],
                    }
                },
                "results": [
                    _result_to_sarif(one, rules.index(one.rule))
                    for one in results
                    if one.state is not RuleState.PASSED
                ],
            }
        ],
    }
    return dump_json(document, sort=True)


def _result_to_sarif(result: BudgetResult, index: int) -> dict[str, object]:
    fix = f". {result.fix[0].upper()}{result.fix[1:]}" if result.fix else ""
    document: dict[str, object] = {
        "ruleId": result.rule,
        "ruleIndex": index,
        "level": SARIF_LEVELS[result.state],
        "message": {"text": message(f"{result.rule}: {result.message}{fix}.")},
    }
    if result.where is not None:
        document["locations"] = [
            {
                "physicalLocation": {
                    "artifactLocation": {
                        "uri": quote(result.where.file, safe="/", errors="surrogateescape")
                    },
                    "region": {"startLine": result.where.line, "startColumn": result.where.column},
                }
            }
        ]
    return document


SCHEMA = "minbuild.check/1"


def render_results(results: Sequence[BudgetResult], notes: Sequence[str], width: int = 0) -> str:
    """One row for each rule, the fix below those that failed, and the verdict last."""
    cells = [
        [result.state, escape_line(result.rule), escape_line(result.message)] for result in results
    ]
    lines = [part for note in notes for part in wrap_line(note, width)]
    for result, row in zip(results, layout_rows(cells, frozenset({0, 1, 2}), width), strict=True):
        lines += row
        if result.state is RuleState.FAILED:
            lines += [f"        where: {escape_line(str(result.where))}"] if result.where else []
            lines += (
                wrap_line(f"        fix:   {escape_line(result.fix)}", width) if result.fix else []
            )
    return "\n".join([*lines, summarize_results(results)]) + "\n"


def summarize_in_line(results: Sequence[BudgetResult]) -> str:
    """The verdict and the rules that failed, in a line."""
    failed = [one.rule for one in results if one.state is RuleState.FAILED]
    return summarize_results(results) + (f" ({escape_line(', '.join(failed))})" if failed else "")


def render_results_json(results: Sequence[BudgetResult], notes: Sequence[str]) -> str:
    """The results as a JSON object; keys sorted."""
    document = {
        "schema": SCHEMA,
        "passed": has_passed(results),
        "verdict": summarize_results(results),
        "notes": list(notes),
        "rules": [
            {
                "rule": one.rule,
                "state": str(one.state),
                "said": one.message,
                "fix": one.fix,
                "where": str(one.where) if one.where else "",
            }
            for one in results
        ],
    }
    return dump_json(document, sort=True)


def render_results_markdown(
    results: Sequence[BudgetResult], notes: Sequence[str], diff: FootprintDiff | None
) -> str:
    """A comment for a pull request: verdict first, what failed in sight, the rest folded."""
    lines = [f"### minbuild {layout.escape_markdown(summarize_results(results))}", ""]
    failed = [one for one in results if one.state is RuleState.FAILED]
    head = ["rule", "what is, of what may be", "fix"]
    if failed:
        lines += [
            *layout.render_rows(head, [_render_result_cells(one) for one in failed[:20]]),
            "",
        ]
        if len(failed) > 20:
            lines += [f"… and {len(failed) - 20} more failed rules", ""]
    lines += [layout.escape_markdown(note) for note in notes]
    parts = list(difference.list_tables(diff)) if diff is not None else []
    if diff is not None:
        lines += [f"{layout.escape_markdown(difference.summarize_diff(diff))}", "",
                  *difference.list_summary_lines(diff)]  # fmt: skip
    rule_rows = [[str(one.state), *_render_result_cells(one)] for one in results]
    lines += layout.fit_tables([*parts, ("Rules", ["", *head], rule_rows, 0)])
    return layout.render_page(lines)


def _render_result_cells(result: BudgetResult) -> list[str]:
    fix = result.fix if result.state is RuleState.FAILED else ""
    return [
        layout.format_code(result.rule),
        layout.escape_markdown(result.message),
        layout.escape_markdown(fix),
    ]


def render_annotations(results: Sequence[BudgetResult]) -> str:
    """Lines that GitHub Actions turns into annotations. Source: "Workflow commands"."""
    lines = []
    for result in results:
        if result.state is RuleState.FAILED:
            location = (
                f" file={escape_annotation_field(result.where.file)},line={result.where.line},col={result.where.column}"
                if result.where
                else ""
            )
            text = f"{result.rule}: {result.message}. {result.fix}"
            lines.append(f"::error{location}::{escape_annotation(text)}")
    return "".join(f"{line}\n" for line in lines)
