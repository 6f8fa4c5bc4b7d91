"""Results of a check as JUnit XML, which every CI system shows as tests.

Source: the JUnit schema of testmoapp/junitxml; GitLab's "Unit test reports".
"""

from collections.abc import Sequence

from minbuild.escape import attribute, markup
from minbuild.footprint.gate import Result, State


def junit(results: Sequence[Result]) -> str:
    """One test case for each rule."""
    failed = sum(one.state is State.FAILED for one in results)
    skipped = sum(one.state in {State.SKIPPED, State.WAIVED} for one in results)
    head = f'tests="{len(results)}" failures="{failed}" skipped="{skipped}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {head}>",
             f'<testsuite name="minbuild" {head} errors="0">']  # fmt: skip
    for one in results:
        place = (
            f" file={attribute(one.where.file)} line={attribute(str(one.where.line))}"
            if one.where
            else ""
        )
        case = f'<testcase classname="minbuild" name={attribute(one.rule)}{place}'
        if one.state is State.FAILED:
            lines.append(
                f"{case}><failure message={attribute(one.said)}>{markup(one.fix)}</failure></testcase>"
            )
        elif one.state is State.PASSED:
            lines.append(f"{case}/>")
        else:
            lines.append(
                f"{case}><skipped message={attribute(f'{one.state}: {one.said}')}/></testcase>"
            )
    return "\n".join([*lines, "</testsuite>", "</testsuites>"]) + "\n"
