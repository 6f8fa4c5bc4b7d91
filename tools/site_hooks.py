"""What MkDocs asks while it builds the site: pages from the top of the tree, links, blocks, decisions.

Source: MkDocs, user guide, "Hooks"; developer guide, "Events".
"""

import logging
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))  # MkDocs loads this file by its path

from tools.doc_blocks import find_named_problems, find_problems, parse_blocks  # noqa: E402

PAGES_OF_TOP = {
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "tests/README.md": "project/tests.md",
    "tests/cases/README.md": "project/cases.md",
}
"""Pages outside of docs/ → where the site has them."""
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_TABLE_ROW = re.compile(r"(?m)^\|.*$")
_SPAN = re.compile(r"`[^`\n]+`")
_LOG = logging.getLogger("mkdocs.hooks.minbuild")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions, each of which is a page, at the end of the last section."""
    decisions = sorted((TOP / "docs" / "decisions").glob("*.md"))
    assert config.nav
    config.nav.append(
        {"Decisions": [path.relative_to(TOP / "docs").as_posix() for path in decisions]}
    )
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for source, target in PAGES_OF_TOP.items():
        files.append(File.generated(config, target, content=(TOP / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has their targets, and look at the blocks."""
    uri = page.file.src_uri
    origins = {target: source for source, target in PAGES_OF_TOP.items()}
    source = origins.get(uri, f"docs/{uri}")
    named = (
        []
        if source == "CHANGELOG.md" or "decisions/" in source
        else find_named_problems(markdown, source)
    )
    for problem in [*find_problems([*parse_blocks(markdown, source)]), *named]:
        _LOG.warning(problem)
    parts = _CODE.split(markdown)
    parts[::2] = [
        _LINK.sub(lambda found: _lead(found[1], source, uri), part) for part in parts[::2]
    ]
    return _TABLE_ROW.sub(lambda row: _SPAN.sub(_unescape, row[0]), "".join(parts))


def _unescape(span: re.Match[str]) -> str:
    """A code span of a table: GitHub wants its pipes escaped, Python-Markdown shows the escape."""
    return span[0].replace("\\|", "|")


def _lead(target: str, source: str, uri: str) -> str:
    """The target of a link of the page `source` as the site has it, relative to the page `uri`."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path in PAGES_OF_TOP:
        there = PAGES_OF_TOP[path]
    elif path.startswith("docs/"):
        there = path.removeprefix("docs/")
    else:
        _LOG.warning("%s: the site has no page for the link %s", source, target)
        return target
    return posixpath.relpath(there, posixpath.dirname(uri) or ".")
