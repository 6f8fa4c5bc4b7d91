"""Causes of a diff: what brought, took away or changed its files."""

from dataclasses import replace

from minbuild.footprint.change_causes import list_causes
from minbuild.footprint.comparison import compare_footprints
from minbuild.footprint.model import FileRow, Footprint
from minbuild.paths import RootPath
from minbuild.report.diff import render_diff_markdown, summarize_causes
from minbuild.report.html import render_html
from minbuild.resolve.model import Need, NeedKind
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny

CURL, LIBCURL, LINK = (
    RootPath("/usr/bin/curl"),
    RootPath("/usr/lib/libcurl.so.4.8"),
    RootPath("/usr/lib/libcurl.so.4"),
)
SSH = RootPath("/usr/sbin/dropbear")


def make_row(path: RootPath, size: int, kind: str = "file") -> FileRow:
    return replace(find_row("/usr/bin/vm"), path=path, type=kind, size=size, sha256=path[-1] * 64)


def grown() -> Footprint:
    """The small host with curl, which the manifest keeps, and the new component services/ssh."""
    rows = [
        make_row(CURL, 300_000),
        make_row(LIBCURL, 19_600_000),
        make_row(LINK, 0, "symlink"),
        make_row(SSH, 1_500_000),
    ]
    needs = [
        Need(CURL, "services/manifest", NeedKind.ROOT, "host.yaml:8:3"),
        Need(LINK, CURL, NeedKind.NEEDED, "DT_NEEDED libcurl.so.4"),
        Need(LIBCURL, LINK, NeedKind.LINK, "-> libcurl.so.4.8"),
        Need(SSH, "services/ssh", NeedKind.ROOT, "ssh.yaml:8:3"),
    ]
    return change_footprint(rows, needs=needs)


def test_each_new_path_counts_for_what_brought_it() -> None:
    diff = compare_footprints(tiny(), grown())
    assert summarize_causes(diff) == "by cause: curl +19.9 MB, ssh +1.5 MB"
    curl, ssh = list_causes(diff)
    assert (curl.files, ssh.files) == (2, 1)
    assert curl.reason == "services/manifest -> /usr/bin/curl (root: host.yaml:8:3)"
    assert {one.path for one in curl.changes} == {CURL, LIBCURL, LINK}


def test_what_goes_has_the_same_causes_with_signs_turned() -> None:
    diff = compare_footprints(grown(), tiny())
    assert summarize_causes(diff) == "by cause: curl -19.9 MB, ssh -1.5 MB"
    assert [one.reason[:17] for one in list_causes(diff)] == [
        "services/manifest",
        "services/ssh -> /",
    ]


def test_causes_sum_to_the_change_and_nothing_has_none() -> None:
    for pair in ((tiny(), grown()), (grown(), tiny()), (tiny(), tiny())):
        diff = compare_footprints(*pair)
        causes = list_causes(diff)
        assert sum(one.bytes for one in causes) == sum(one.bytes for one in diff.differences)
        assert sum(len(one.changes) for one in causes) == len(diff.differences)
    assert summarize_causes(compare_footprints(tiny(), tiny())) == ""


def test_a_need_of_a_file_that_was_there_names_the_file() -> None:
    need = Need(CURL, "/usr/bin/vm", NeedKind.EXEC, "runs curl")
    diff = compare_footprints(tiny(), change_footprint([make_row(CURL, 7)], needs=[need]))
    assert summarize_causes(diff) == "by cause: vm (its needs) +7 B"


def test_many_causes_are_summed() -> None:
    paths = [RootPath(f"/usr/bin/tool{number}") for number in range(9)]
    needs = [Need(one, "services/manifest", NeedKind.ROOT, "host.yaml:1:1") for one in paths]
    after = change_footprint([make_row(one, 100) for one in paths], needs=needs)
    line = summarize_causes(compare_footprints(tiny(), after))
    assert line.endswith("tool5 +100 B, 3 others +300 B")


def test_a_comment_begins_with_the_causes_and_lists_no_link() -> None:
    page = render_diff_markdown(compare_footprints(tiny(), grown()))
    head, _, tables = page.partition("<details>")
    assert "by cause: curl" in head.replace("\\", "")
    assert "libcurl.so.4.8" in tables
    assert "libcurl.so.4`" not in tables
    assert "New, without 1 links and directories (3)" in tables.replace("\\", "")


def test_the_page_of_a_comparison_begins_with_what_changed() -> None:
    page = render_html(grown(), tiny())
    assert page.index('id="changes"') < page.index('id="app"')
    section = page[page.index('id="changes"') : page.index('id="app"')]
    for text in ("curl", "+19.9 MB", "New: 3 files and 1 links", str(LIBCURL)):
        assert text in section
    assert "Nothing differs" in render_html(tiny(), tiny())
    assert 'id="changes"' not in render_html(grown())
