"""How a diff is shown."""

import json
from dataclasses import replace

from minbuild.footprint.change_groups import list_groups
from minbuild.footprint.comparison import compare_footprints
from minbuild.footprint.model import FileRow, Footprint
from minbuild.paths import RootPath
from minbuild.report.diff import (
    count_changes,
    render_diff,
    render_diff_json,
    render_diff_markdown,
)
from minbuild.resolve.model import Need, NeedKind
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny


def kernel(release: str, digit: str) -> Footprint:
    """The small host with a kernel of three modules."""
    package = f"linux-image-{release}-cloud-amd64"
    modules = [
        FileRow(
            RootPath(f"/usr/lib/modules/{release}-cloud-amd64/{name}.ko.xz"), "file", 0o644, 0, 0,
            100 + int(digit), digit * 64, "", package, "kernel/kvm", "kernel", 90,
        )
        for name in ("kvm", "tun", "bridge")
    ]  # fmt: skip
    base = change_footprint(modules, versions={package: release})
    return replace(base, kernel=release)


def test_a_kernel_update_is_one_row() -> None:
    diff = compare_footprints(kernel("6.12.107", "1"), kernel("6.12.117", "2"))
    ((title, rows),) = list_groups(diff)
    assert title == "updated"
    assert [(group.name, group.bytes, group.cause) for group in rows] == [
        ("linux-image-6.12.117-cloud-amd64: 3 files (3 grown)", 3, "version")
    ]
    assert "grow/shrink: 3/0" in count_changes(diff)
    assert "linux-image-#" in render_diff(diff)


def test_the_need_that_is_new_is_marked_in_the_chain() -> None:
    tool = RootPath("/usr/bin/tool")
    new = replace(find_row("/usr/bin/vm"), path=tool, size=7, sha256="7" * 64)
    need = Need(tool, "/usr/bin/vm", NeedKind.EXEC, "runs tool")
    diff = compare_footprints(tiny(), change_footprint([new], needs=[need]))
    lines = render_diff(diff).splitlines()
    assert "         └─ /usr/bin/tool  [exec: runs tool]   <- new" in lines
    (one,) = json.loads(render_diff_json(diff))["differences"]
    assert one["new_edge"] == {
        "from": "/usr/bin/vm", "to": "/usr/bin/tool", "kind": "exec", "evidence": "runs tool",
    }  # fmt: skip


def test_names_cannot_break_a_markdown_table() -> None:
    evil = RootPath("/usr/bin/a|b`</details>@everyone")
    new = replace(find_row("/usr/bin/vm"), path=evil, size=7, sha256="7" * 64)
    text = render_diff_markdown(compare_footprints(tiny(), change_footprint([new])))
    line = next(line for line in text.splitlines() if "everyone" in line)
    assert line.count(" | ") == 2
    assert r"`/usr/bin/a\x7cb\x60</details>@everyone`" in line


def test_the_same_diff_gives_the_same_bytes() -> None:
    pair = kernel("6.12.107", "1"), kernel("6.12.117", "2")
    assert render_diff(compare_footprints(*pair)) == render_diff(compare_footprints(*pair))
    assert render_diff_json(compare_footprints(*pair)) == render_diff_json(
        compare_footprints(*pair)
    )
