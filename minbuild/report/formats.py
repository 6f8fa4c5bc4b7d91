"""The formats of a report: one function each."""

from collections.abc import Callable, Mapping

from minbuild.footprint import document
from minbuild.footprint.gate import judge_embedded
from minbuild.footprint.types import Footprint
from minbuild.report import html, junit, page, sarif, text

Render = Callable[[], str]


def report_formats(
    footprint: Footprint,
    baseline: Footprint | None,
    *,
    by: str,
    sort: str,
    top: int,
    width: int = 0,
) -> Mapping[str, Render]:
    """Each format's name and how it is rendered; text for a terminal of `width` columns."""
    return {
        "text": lambda: text.page(footprint, top=top, by=by, sort=sort, full=True, width=width),
        "md": lambda: page.as_markdown(footprint, by=by, sort=sort, top=top),
        "json": lambda: document.render(footprint),
        "csv": lambda: page.as_csv(footprint, by=by, sort=sort, top=top),
        "html": lambda: html.page(footprint, baseline),
        "junit": lambda: junit.junit(judge_embedded(footprint)),
        "sarif": lambda: sarif.sarif(judge_embedded(footprint)),
        "dot": lambda: page.as_dot(footprint),
    }
