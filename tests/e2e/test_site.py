"""The site as its readers have it: opened from a directory, with a browser, a phone, or no script.

Source: WCAG 2.2, 1.1.1, 1.4.3, 1.4.10, 2.4.2, 3.1.1; HTML Living Standard.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.chromium import Page
from tests.support.site import build_site
from tools.doc_blocks import TOP

SHOWN = ("index.html", "tutorial/first-host.html", "reference/keys.html", "comparison.html")
"""Pages that the browser looks at: pictures, blocks, wide tables, long tables."""
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESKTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
CONTRAST = """(() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const light = (c) => { const f = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const ground = (node) => { const stack = [];
    for (let e = node; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3]) { stack.push(c); if (c[3] === 1) break; } }
    return stack.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  const bad = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) { const text = walker.currentNode.data.trim(), e = walker.currentNode.parentElement;
    if (!text || !e.getClientRects().length || e.closest('.headerlink, script, style, .md-clipboard') || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(e), size = parseFloat(style.fontSize), wanted = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700) ? 3 : 4.5;
    const back = ground(e), front = over(parse(style.color), back), a = light(front), b = light(back);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < wanted) bad[`${e.tagName}.${e.className} ${style.color} ${ratio.toFixed(2)}`] = text.slice(0, 30); }
  return bad; })()"""
"""The WCAG ratio of each text to what is behind it; those below 4.5 (3 for large text)."""


@dataclass
class Document(HTMLParser):
    """What the tests want of one page."""

    links: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    tags: Counter[str] = field(default_factory=Counter)
    attributes: dict[str, dict[str, str | None]] = field(default_factory=dict)
    unnamed_images: list[str] = field(default_factory=list)
    title: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] += 1
        self.attributes.setdefault(f"{tag} {values.get('name', '')}".strip(), values)
        self.anchors |= {values[name] or "" for name in ("id", "name") if name in values}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        for name in ("src", "href"):
            if tag in ("script", "img", "link", "iframe") and values.get(name):
                self.sources.append(values[name] or "")
        if tag == "img" and not values.get("alt"):
            self.unnamed_images.append(values.get("src") or "")
        if tag in ("title", "code", "pre", "script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += data
        elif self._inside[-1] == "title":
            self.title += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strict and without a network."""
    directory = tmp_path_factory.mktemp("site")
    result = build_site(directory)
    assert result.returncode == 0, result.stderr
    return directory


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[Path, Document]:
    """Every page, read."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        found[path] = Document()
        found[path].feed(path.read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser."""
    shown = Page(tmp_path_factory.mktemp("chromium"))
    yield shown
    shown.close()


@pytest.mark.xdist_group("site")
def test_every_link_leads_to_a_page_and_a_place_in_it(
    site: Path, documents: dict[Path, Document]
) -> None:
    dead = []
    for path, document in documents.items():
        for link in {*document.links, *document.sources}:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if not target.is_relative_to(site) or not target.exists():
                dead.append(f"{path.relative_to(site)}: {link}")
            elif (
                parts.fragment
                and target in documents
                and not is_there(parts.fragment, documents[target])
            ):
                dead.append(f"{path.relative_to(site)}: {link} has no such place")
    assert dead == []


def is_there(fragment: str, document: Document) -> bool:
    """Tell whether a page has an anchor; `__` begins those that the theme makes by script."""
    return unquote(fragment) in document.anchors or fragment.startswith("__")


@pytest.mark.parametrize("name", ["bug", "wish", "config"])
def test_issue_templates_are_what_github_takes(name: str) -> None:
    schema = "vendor.github-issue-config" if name == "config" else "vendor.github-issue-forms"
    form = TOP / ".github/ISSUE_TEMPLATE" / f"{name}.yml"
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(form)]
    result = subprocess.run(argv, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.xdist_group("site")
def test_nothing_is_loaded_from_others(site: Path, documents: dict[Path, Document]) -> None:
    for path, document in documents.items():
        foreign = [one for one in document.sources if urlsplit(one).netloc]
        assert foreign == [], path
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert "url(http" not in text, style
        assert "@import" not in text, style


@pytest.mark.xdist_group("site")
def test_every_page_names_itself_and_its_pictures(documents: dict[Path, Document]) -> None:
    titles = Counter(document.title.strip() for document in documents.values())
    assert [title for title, count in titles.items() if not title or count > 1] == []
    for path, document in documents.items():
        assert document.tags["h1"] == 1, path
        assert document.attributes["html"]["lang"] == "en", path
        assert document.attributes["meta viewport"]["content"], path
        assert document.attributes["meta description"]["content"], path
        assert document.unnamed_images == [], path


@pytest.mark.xdist_group("site")
def test_no_markdown_is_left_in_a_page(documents: dict[Path, Document]) -> None:
    for path, document in documents.items():
        for rest in ("```", "](", "|---", "**", "\\|"):
            at = document.text.find(rest)
            assert at < 0, f"{path.name}: {document.text[max(0, at - 60) : at + 60]!r}"


@pytest.mark.mirror
@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("name", SHOWN)
def test_a_page_can_be_read_in_every_colour_and_width(site: Path, page: Page, name: str) -> None:
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
        for screen in (DESKTOP, PHONE):
            page.call("Emulation.setDeviceMetricsOverride", **screen)
            page.open(site / name)
            page.wait("document.body.dataset.mdColorScheme !== undefined")
            wanted = "default" if scheme == "light" else "slate"
            page.wait(f"document.body.dataset.mdColorScheme === '{wanted}'")
            assert page.js("document.documentElement.scrollWidth <= innerWidth"), (
                f"{name} is too wide"
            )
            assert page.js(CONTRAST) == {}, f"{name}, {scheme}"
    assert page.errors == []


@pytest.mark.mirror
@pytest.mark.xdist_group("site")
def test_a_page_works_without_script(site: Path, page: Page) -> None:
    page.call("Emulation.setDeviceMetricsOverride", **PHONE)
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(site / "how-to/component.html")
        assert page.js("document.querySelector('article').innerText.includes('components/SECTION')")
        page.js("document.querySelector('label.md-header__button[for=__drawer]').click()")
        page.wait("document.querySelector('.md-nav--primary').getBoundingClientRect().left >= 0")
        assert page.js(
            "document.querySelectorAll('.md-nav--primary a[href$=\".html\"]').length > 20"
        )
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.mirror
@pytest.mark.xdist_group("site")
def test_the_search_finds_a_page_in_a_directory(site: Path, page: Page) -> None:
    page.call("Emulation.setDeviceMetricsOverride", **DESKTOP)
    page.open(site / "index.html")
    page.wait("document.readyState === 'complete'")
    page.js("document.querySelector('[data-md-component=search-query]').focus()")
    page.js("{const q = document.querySelector('[data-md-component=search-query]'); q.value = 'air gap';"
            "q.dispatchEvent(new Event('input', {bubbles: true})); q.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));}")  # fmt: skip
    page.wait(
        "[...document.querySelectorAll('.md-search-result__link')].some(a => a.href.includes('how-to/offline.html'))"
    )
