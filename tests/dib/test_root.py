"""The element minbuild-root in real runs of disk-image-create."""

import tarfile
from pathlib import Path

import pytest

from tests.dib.builder import Builder
from tests.e2e.small_host import Small, minbuild
from tests.support.measured_inputs import STORE, measure_input
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.oracle


def settings(small: Small) -> dict[str, str]:
    """The environment in which the element builds the small host."""
    return {
        "DIB_MINBUILD_MANIFEST": str(small.write()),
        "MINBUILD_MIRROR": small.mirror,
        "MINBUILD_STORE": str(small.directory / "store"),
    }


def names(archive: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(archive) as tar:
        return {member.name.removeprefix("."): member for member in tar}


@pytest.mark.mirror
def test_a_manifest_becomes_a_tar_and_a_file_system(builder: Builder, small: Small) -> None:
    builder.element(
        "greeting",
        post_root__50_greeting="echo hello > $TMP_MOUNT_PATH/etc/greeting",
    )
    ended = builder.run("-o", "host", "-t", "tar,raw", "minbuild-root", "greeting",
                        env=settings(small))  # fmt: skip
    assert ended.code == 0, ended.out
    result = names(builder.directory / "host.tar")
    assert result["/usr/bin/hello"].mode == 0o755
    assert result["/boot/vmlinuz-6.1-cloud-amd64"].isreg()
    assert result["/lib64"].linkname == "usr/lib64"
    assert "/etc/greeting" in result
    argv: list[str | Path] = ["-R", "ls -p /usr/bin", builder.directory / "host.raw"]
    assert b"/hello/" in toolbox().run("debugfs", argv, purpose="listing")
    disk, tar = (measure_input(str(builder.directory / f"host.{form}")) for form in ("raw", "tar"))
    for one, form in ((disk, "raw"), (tar, "tar")):
        assert one.totals.packed == (builder.directory / f"host.{form}").stat().st_size
        assert sum(row.packed for row in one.packages) == one.totals.packed
    assert {one.path: one.sha256 for one in disk.files if one.type == "file"} == {
        one.path: one.sha256 for one in tar.files if one.type == "file"
    }
    assert builder.list_leftovers() == []


def test_a_root_without_a_source_says_what_to_set(builder: Builder) -> None:
    ended = builder.run("-o", "host", "-t", "tar", "minbuild-root")
    assert ended.code != 0
    assert "DIB_MINBUILD_MANIFEST" in ended.out
    assert builder.list_leftovers() == []


def test_an_export_is_the_same_twice(small: Small) -> None:
    small.write()
    for name in ("one.tar", "two.tar"):
        ended = minbuild(*small.argv("export", "small.yaml", "-o", name), cwd=small.directory)
        assert ended.code == 0, ended.err
    one, two = (small.directory / name for name in ("one.tar", "two.tar"))
    assert one.read_bytes() == two.read_bytes()
    assert names(one)["/usr/bin/hello"].size > 0


@pytest.mark.mirror
@pytest.mark.long
def test_a_phase_runs_inside_a_host_that_has_what_dib_calls_there(
    builder: Builder, tmp_path: Path
) -> None:
    """The manifest is the one that the docs show."""
    docs = Path(__file__).parents[2] / "docs" / "reference" / "diskimage-builder.md"
    text = docs.read_text(encoding="utf-8").partition("minbuild: 1\nname: inside\n")[2]
    manifest = tmp_path / "inside.yaml"
    manifest.write_text(f"minbuild: 1\nname: inside\n{text.partition('```')[0]}", encoding="utf-8")
    builder.element(
        "inner",
        install__50_inner="echo inside > /etc/inside",
        finalise__50_inner="test -e /etc/inside",
    )
    env = {"DIB_MINBUILD_MANIFEST": str(manifest), "MINBUILD_STORE": str(STORE)}
    ended = builder.run("-o", "host", "-t", "tar", "minbuild-root", "inner", env=env)
    assert ended.code == 0, ended.out
    assert names(builder.directory / "host.tar")["/etc/inside"].size == len("inside\n")
    assert builder.list_leftovers() == []
