"""The HTML page in a real browser: it shows, drills down, searches, sorts, and needs no network."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.footprint.measure import with_totals
from minbuild.footprint.model import FileRow, Footprint
from minbuild.paths import RootPath
from minbuild.report.html import render_html
from tests.support.chromium import Page
from tests.support.footprints import tiny

READY = "!document.getElementById('app').hidden"
LATER = replace(
    tiny(),
    files=tuple(
        replace(row, size=row.size + 5_000, sha256="f" * 64) if row.path == "/usr/bin/vm" else row
        for row in tiny().files
    ),
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Page]:
    opened = Page(tmp_path)
    yield opened
    opened.close()


def many(count: int) -> Footprint:
    """A footprint of so many files in 40 components."""
    rows = tuple(
        FileRow(
            RootPath(f"/usr/share/d{n % 97}/f{n}"), "file", 0o644, 0, 0, 1 + n * 37 % 9000,
            f"{n:064x}", "", f"package{n % 200}", f"services/c{n % 40}", "services", n % 3000,
        )
        for n in range(count)
    )  # fmt: skip
    return with_totals(replace(tiny(), files=rows, edges=()), {}, {})


def test_nothing_may_be_fetched_and_only_its_own_script_runs() -> None:
    text = render_html(tiny())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_a_reader_without_script_sees_the_largest_files() -> None:
    text = render_html(tiny())
    plain = text[text.index('<section id="plain">') : text.index("</section>", text.index("plain"))]
    assert "/boot/vmlinuz-6.1" in plain
    assert "4 largest files" in plain


def test_the_same_footprint_gives_the_same_bytes() -> None:
    assert render_html(tiny(), LATER) == render_html(tiny(), LATER)


def test_a_name_cannot_break_out_of_the_page() -> None:
    evil = "/usr/bin/</script><script>document.title='broken'</script>"
    rows = tuple(
        replace(row, path=RootPath(evil)) if row.path == "/usr/bin/vm" else row
        for row in tiny().files
    )
    text = render_html(replace(tiny(), files=rows, name="<img src=x onerror=alert(1)>"))
    assert "<script>document" not in text
    assert "<img" not in text


@pytest.mark.mirror
def test_the_page_works_in_a_browser(browser: Page, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.write_text(render_html(LATER, tiny()), encoding="utf-8")
    # a comparison opens on what changed: its causes first, and a map of the changes below
    browser.open(place)
    browser.wait(READY)
    browser.wait("location.hash.includes('size=change')")
    assert browser.js("document.getElementById('changes').getBoundingClientRect().top") < 200
    browser.open(place, "#size=bytes")
    browser.wait(READY)
    browser.js("document.getElementById('map').scrollIntoView()")
    box = browser.js(
        "(() => { const b = document.getElementById('map').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    left, top, width, _ = box
    # the kernel is the largest tile: it lies in the upper left corner
    browser.move(left + 20, top + 40)
    browser.wait("document.getElementById('what').textContent === '/boot/vmlinuz-6.1'")
    assert "kernel/kvm\n└─ /boot/vmlinuz-6.1  [root: host.yaml:2:1]" in browser.js(
        "document.getElementById('why').textContent"
    )
    # a click on a component's head drills down, and the address remembers it
    browser.click(left + width - 60, top + 8)
    browser.wait("location.hash.includes('at=%5B%22boot')")
    assert browser.js("document.querySelectorAll('#crumbs button').length") == 2
    browser.js("document.querySelector('#crumbs button').click()")
    browser.wait("!location.hash.includes('at=')")
    # search
    browser.js("document.body.focus()")
    browser.key("/")
    browser.wait("document.activeElement.id === 'search'")
    browser.call("Input.insertText", text="busybox")
    browser.wait("location.hash.includes('q=busybox')")
    # table
    browser.js("document.querySelector('[data-view=table]').click()")
    browser.wait("document.querySelectorAll('#rows tr').length === 1")
    # the change against the baseline
    browser.open(place, "#view=table&sort=change")
    browser.wait(READY)
    first = browser.js("document.querySelector('#rows tr').textContent")
    assert "/usr/bin/vm" in first
    assert "+5 kB" in first
    # sorting by a click
    browser.js("document.querySelector('th button[data-sort=path]').click()")
    browser.wait("document.querySelector('#rows tr').textContent.startsWith('/boot')")
    assert browser.errors == []


@pytest.mark.mirror
def test_keys_choose_and_open_tiles(browser: Page, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.write_text(render_html(tiny()), encoding="utf-8")
    browser.open(place, "#by=section")
    browser.wait(READY)
    browser.js("document.getElementById('map').focus()")
    browser.key("ArrowRight")
    browser.wait("document.getElementById('facts').children.length > 0")
    browser.key("Enter")
    browser.wait("location.hash.includes('at=') || location.hash.includes('file=')")
    browser.key("Backspace")
    browser.wait("!location.hash.includes('at=')")
    # each row of the table takes the focus, and says why its file is there
    browser.js("document.querySelector('[data-view=table]').click()")
    browser.js("document.querySelector('#rows button').focus()")
    browser.key("Tab")
    browser.wait("document.querySelector('#rows tr.on button') === document.activeElement")
    chosen = browser.js("document.activeElement.textContent")
    assert browser.js("document.getElementById('what').textContent") == chosen
    assert chosen in browser.js("document.getElementById('why').textContent")
    # and is the tile with the outline when its link is opened again
    browser.js("document.querySelector('[data-view=map]').click()")
    browser.wait(
        "document.getElementById('what').textContent === decodeURIComponent("
        "location.hash.match(/file=([^&]+)/)[1])"
    )
    assert browser.errors == []


@pytest.mark.mirror
def test_ten_thousand_files_are_drawn_in_one_go(browser: Page, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.write_text(render_html(many(10_000)), encoding="utf-8")
    browser.open(place)
    browser.wait(READY)
    browser.js("document.querySelector('[data-view=table]').click()")
    browser.wait("document.querySelectorAll('#rows tr').length === 500")
    assert "9500 others" in browser.js("document.getElementById('rest').textContent")
    assert browser.errors == []


def test_the_data_is_json_and_complete() -> None:
    text = render_html(tiny())
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert sum(row[4] for row in data["rows"]) == tiny().totals.bytes
