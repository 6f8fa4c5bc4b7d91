"""What differs between two footprints, and why."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.footprint.comparison import ChangeCause, ChangeKind, compare_footprints
from minbuild.footprint.model import FileRow, FindingKind, Footprint, Surface, SurfaceFinding
from minbuild.footprint.rename_detection import match_paths, strip_version
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny

TOOL = RootPath("/usr/bin/tool")
LIBRARY = RootPath("/usr/lib/libtool.so.1")


def new_row(path: RootPath, size: int = 10, package: str = "tools") -> FileRow:
    return FileRow(
        path, "file", 0o755, 0, 0, size, f"{size:064x}", "", package, "boot/init", "boot", size // 2
    )


def test_a_footprint_does_not_differ_from_itself() -> None:
    assert not compare_footprints(tiny(), tiny())
    assert compare_footprints(tiny(), tiny()).differences == ()


def test_the_new_edge_is_the_first_of_the_chain_that_was_not_there() -> None:
    after = change_footprint(
        [new_row(TOOL), new_row(LIBRARY, 20)],
        needs=[
            Need(TOOL, "/usr/bin/vm", NeedKind.EXEC, "runs tool"),
            Need(LIBRARY, TOOL, NeedKind.NEEDED, "DT_NEEDED libtool.so.1"),
        ],
    )
    found = {
        one.path: one for one in compare_footprints(tiny(), after).select_changes(ChangeKind.ADDED)
    }
    assert [need.path for need in found[LIBRARY].chain] == ["/usr/bin/vm", TOOL, LIBRARY]
    edge = found[LIBRARY].new_need
    assert edge is not None
    assert (edge.needed_by, edge.path) == ("/usr/bin/vm", TOOL)
    assert found[LIBRARY].cause is ChangeCause.NEED


def test_a_line_of_the_manifest_is_the_cause_of_what_it_names() -> None:
    need = Need(TOOL, "boot/init", NeedKind.ROOT, "init.yaml:12:5")
    (found,) = compare_footprints(
        tiny(), change_footprint([new_row(TOOL)], needs=[need])
    ).select_changes(ChangeKind.ADDED)
    assert found.cause is ChangeCause.MANIFEST
    assert found.new_need == need


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (ChangeKind.GROWN, {"size": 800_000, "sha256": "1" * 64}),
        (ChangeKind.SHRUNK, {"size": 600_000, "sha256": "1" * 64}),
        (ChangeKind.CONTENT, {"sha256": "1" * 64}),
        (ChangeKind.MODE, {"mode": 0o4755}),
        (ChangeKind.OWNER, {"uid": 7}),
        (ChangeKind.TYPE, {"type": "link", "size": 0, "sha256": "", "target": "x"}),
    ],
)
def test_each_way_to_differ_has_its_name(change: ChangeKind, fields: dict[str, object]) -> None:
    after = change_footprint([replace(find_row("/usr/bin/busybox"), **fields)])  # type: ignore[arg-type]
    assert {one.change for one in compare_footprints(tiny(), after).differences} == {change}


def test_a_new_version_of_the_package_is_the_cause() -> None:
    after = change_footprint(
        [replace(find_row("/usr/bin/busybox"), size=800_000, sha256="1" * 64)],
        versions={"busybox": "1.38"},
    )
    (found,) = compare_footprints(tiny(), after).differences
    assert found.cause is ChangeCause.VERSION


def test_the_same_version_with_other_bytes_was_rebuilt() -> None:
    after = change_footprint([replace(find_row("/usr/bin/busybox"), sha256="1" * 64)])
    assert compare_footprints(tiny(), after).differences[0].cause is ChangeCause.REBUILD


def test_a_rendered_file_changes_with_its_template() -> None:
    after = change_footprint([replace(find_row("/etc/inittab"), size=120, sha256="1" * 64)])
    assert compare_footprints(tiny(), after).differences[0].cause is ChangeCause.TEMPLATE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/boot/vmlinuz-6.12.107+deb13-cloud-amd64", "/boot/vmlinuz-6.12.117+deb13-cloud-amd64"),
        ("linux-image-6.12.107+deb13-cloud-amd64", "linux-image-6.12.9-cloud-amd64"),
        ("/usr/lib/libglib-2.0.so.0.8400.4", "/usr/lib/libglib-2.0.so.0.8401.0"),
        ("/usr/lib/modules/6.1/a.ko", "/usr/lib/modules/6.12.1/a.ko"),
    ],
)
def test_versions_do_not_count_when_names_are_compared(one: str, other: str) -> None:
    assert strip_version(one) == strip_version(other)


def test_a_kernel_update_pairs_every_module() -> None:
    def modules(release: str, digit: str) -> dict[str, FileRow]:
        names = ("kvm", "tun", "bridge", "stp")
        rows = [
            replace(new_row(RootPath(f"/usr/lib/modules/{release}/{name}.ko")), sha256=digit * 64)
            for name in names
        ]
        return {one.path: one for one in rows}

    found = match_paths(
        modules("6.12.107+deb13-cloud-amd64", "1"), modules("6.12.117+deb13-cloud-amd64", "2")
    )
    assert found["/usr/lib/modules/6.12.107+deb13-cloud-amd64/kvm.ko"].endswith(
        "6.12.117+deb13-cloud-amd64/kvm.ko"
    )
    assert len(found) == 4


def test_a_directory_that_moved_is_paired_as_a_whole() -> None:
    def share(top: str, digit: str) -> dict[str, FileRow]:
        rows = [replace(new_row(RootPath(f"{top}/{name}")), sha256=digit * 64) for name in "abcd"]
        return {one.path: one for one in rows}

    found = match_paths(share("/usr/share/old", "1"), share("/usr/share/new", "2"))
    assert found == {f"/usr/share/old/{name}": f"/usr/share/new/{name}" for name in "abcd"}


def test_content_that_moved_is_a_renaming_and_not_new() -> None:
    moved = replace(find_row("/usr/bin/vm"), path=RootPath("/usr/bin/machines"))
    found = compare_footprints(tiny(), change_footprint([moved], without=["/usr/bin/vm"]))
    assert [(one.change, one.path) for one in found.differences] == [
        (ChangeKind.RENAMED, "/usr/bin/machines")
    ]


def test_what_was_not_evaluated_is_no_change_of_the_surface() -> None:
    shut = replace(tiny(), surface=Surface((), (FindingKind.LISTENER,)))
    port = SurfaceFinding(FindingKind.LISTENER, "22/tcp", "")
    setuid = SurfaceFinding(FindingKind.SETUID, "/usr/bin/su", "")
    opened = replace(tiny(), surface=Surface((setuid, port)))
    assert compare_footprints(shut, opened).findings_new == (setuid,)
    assert compare_footprints(opened, shut).findings_gone == (setuid,)


@st.composite
def footprints(draw: st.DrawFn) -> Footprint:
    """The small footprint with some rows of a few names, sizes and modes."""
    names = st.sampled_from([f"/usr/{d}{v}/f{n}" for d in "ab" for v in (1, 2) for n in range(3)])
    rows = [
        replace(
            new_row(RootPath(path), draw(st.integers(0, 3))),
            mode=draw(st.sampled_from([0o644, 0o755])),
        )
        for path in draw(st.sets(names))
    ]
    gone = draw(st.sets(st.sampled_from(["/usr/bin/vm", "/usr/bin/busybox", "/etc/inittab"])))
    return change_footprint(rows, without=sorted(gone))


TURNED = {
    ChangeKind.ADDED: ChangeKind.REMOVED,
    ChangeKind.REMOVED: ChangeKind.ADDED,
    ChangeKind.GROWN: ChangeKind.SHRUNK,
    ChangeKind.SHRUNK: ChangeKind.GROWN,
}


@given(before=footprints(), after=footprints())
def test_a_diff_turned_round_is_the_same_with_signs_turned(
    before: Footprint, after: Footprint
) -> None:
    there, back = compare_footprints(before, after), compare_footprints(after, before)
    forward = sorted(
        (TURNED.get(one.change, one.change), -one.bytes, str(one.after and one.after.path), str(one.before and one.before.path))
        for one in there.differences
    )  # fmt: skip
    backward = sorted(
        (one.change, one.bytes, str(one.before and one.before.path), str(one.after and one.after.path))
        for one in back.differences
    )  # fmt: skip
    assert forward == backward
    assert sum(one.bytes for one in there.differences) == after.totals.bytes - before.totals.bytes
    assert not compare_footprints(after, after)
