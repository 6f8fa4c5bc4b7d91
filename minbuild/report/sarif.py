"""Results of a check as SARIF, which code hosts show beside the lines that they are about.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
"""

from collections.abc import Sequence
from urllib.parse import quote

from minbuild import __version__
from minbuild.escape import dump
from minbuild.escape import sarif as message
from minbuild.footprint.gate import Result, State

LEVEL = {State.FAILED: "error", State.WAIVED: "note", State.SKIPPED: "note"}


def sarif(results: Sequence[Result]) -> str:
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
                    _result(one, rules.index(one.rule))
                    for one in results
                    if one.state is not State.PASSED
                ],
            }
        ],
    }
    return dump(document, sort=True)


def _result(one: Result, index: int) -> dict[str, object]:
    fix = f". {one.fix[0].upper()}{one.fix[1:]}" if one.fix else ""
    found: dict[str, object] = {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": LEVEL[one.state],
        "message": {"text": message(f"{one.rule}: {one.said}{fix}.")},
    }
    if one.where is not None:
        found["locations"] = [
            {
                "physicalLocation": {
                    "artifactLocation": {
                        "uri": quote(one.where.file, safe="/", errors="surrogateescape")
                    },
                    "region": {"startLine": one.where.line, "startColumn": one.where.column},
                }
            }
        ]
    return found
