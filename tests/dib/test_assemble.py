"""diskimage-builder run by a build: what it makes, what it refuses, what it leaves."""

import tarfile
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.dib.disk_image_create import (
    DibJob,
    choose_location,
    find_error_lines,
    make_dib_images,
)
from minbuild.dib.elements import expand_elements, fingerprint_elements, refuse_chroot_phases
from minbuild.dib.local_requirements import list_missing_requirements, list_mounts
from minbuild.errors import ToolError
from minbuild.manifest.image_settings import DibFormat, DibLayout, DibLocation, DibSettings
from minbuild.manifest.input_files import Trust
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Location
from minbuild.progress import SilentProgress
from tests.dib.builder import Builder
from tests.dib.elements import element
from tests.dib.folders import build_folder
from tests.e2e.small_host import Small, minbuild

WHERE = Location("small.yaml", 8, 5)


def test_a_build_folder_gives_the_same_files_as_its_manifest(small: Small) -> None:
    folder = build_folder(small)
    ended = minbuild("export", str(folder), "-o", "folder.tar", cwd=small.directory)
    assert ended.code == 0, ended.err
    ours = (small.directory / "folder.tar").read_bytes()
    assert ours == (small.directory / "small.tar").read_bytes()


def test_a_folder_of_two_builds_is_refused(small: Small) -> None:
    folder = build_folder(small)
    text = (folder / "footprint.json").read_text(encoding="utf-8")
    digest = text.split('"sha256":')[1].split('"')[1]
    (folder / "footprint.json").write_text(text.replace(digest, "0" * 64), encoding="utf-8")
    ended = minbuild("export", str(folder), "-o", "folder.tar", cwd=small.directory)
    assert ended.code == 2
    assert not (small.directory / "folder.tar").exists()


def test_a_manifest_asks_for_dib_among_its_formats(small: Small) -> None:
    path = small.write(
        "image: {formats: [raw, {dib: {elements: [one], layout: gpt, formats: [tar]}}]}\n"
    )
    image = read_manifest(path, settings={}, components=(), trust=Trust(allows_code=True)).image
    assert [str(each) for each in image.formats] == ["raw", "uki"]
    (settings,) = image.dib
    assert (settings.elements, settings.layout, settings.formats) == (
        ("one",), DibLayout.GPT, (DibFormat.TAR,),
    )  # fmt: skip


def test_a_misspelt_key_of_dib_is_named(small: Small) -> None:
    small.write("image: {formats: [{dib: {element: [one]}}]}\n")
    ended = minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory)
    assert ended.code == 3
    assert "did you mean elements" in ended.err


def test_dependencies_are_those_of_dib_itself(elements: Path) -> None:
    element(elements, "one", post_root__50_test="true")
    (elements / "one" / "element-deps").write_text("two\n", encoding="utf-8")
    element(elements, "two", cleanup__50_test="true")
    result = expand_elements(["minbuild-root", "one"], f"{elements}:{data_directory('elements')}")
    assert [each.name for each in result] == ["minbuild-root", "one", "two"]


def test_an_element_that_is_not_there_is_named(elements: Path) -> None:
    with pytest.raises(ToolError) as caught:
        expand_elements(["minbuild-root", "nowhere"], f"{elements}:{data_directory('elements')}")
    assert "nowhere" in caught.value.what
    assert "ELEMENTS_PATH" in caught.value.fix


def test_an_element_that_needs_a_shell_inside_is_refused(elements: Path) -> None:
    element(elements, "packages", install__50_test="apt-get install something")
    result = expand_elements(
        ["minbuild-root", "packages"], f"{elements}:{data_directory('elements')}"
    )
    with pytest.raises(ToolError) as caught:
        refuse_chroot_phases(result, ["/usr/bin/busybox"])
    assert "packages runs install.d inside the root, and there is no bash" in caught.value.what
    assert "minbuild-trim" in caught.value.fix
    refuse_chroot_phases(result, ["/usr/bin/bash"])


def test_the_partitioned_layout_needs_more_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert set(list_missing_requirements(DibLayout.PLAIN, [])) <= set(
        list_missing_requirements(DibLayout.GPT, [])
    )


def test_dib_that_shall_run_here_says_what_this_machine_lacks(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = build_folder(small)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError) as caught:
        run(DibSettings(WHERE, layout=DibLayout.GPT, formats=(DibFormat.SQUASHFS,)), folder,
            tmp_path / "assembling")  # fmt: skip
    assert "this machine lacks" in caught.value.what
    assert "--dib-in vm" in caught.value.fix


def test_squashfs_comes_first_because_dib_looks_only_there(tmp_path: Path) -> None:
    settings = DibSettings(WHERE, formats=(DibFormat.QCOW2, DibFormat.TAR, DibFormat.SQUASHFS))
    order = DibJob(settings, "host-dib", tmp_path, tmp_path / "log", 1, [])
    assert order.make_argv("/out")[:5] == ("-n", "-o", "/out/host-dib", "-t", "squashfs,qcow2,tar")
    assert order.image_names == ("host-dib.qcow2", "host-dib.tar", "host-dib.squash")


def test_a_change_of_an_element_is_seen(elements: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    element(elements, "one", post_root__50_test="true")
    before = fingerprint_elements(["one"])
    assert fingerprint_elements(["one"]) == before
    (elements / "one" / "post-root.d" / "50-test").write_text("#!/bin/bash\nfalse\n", "utf-8")
    after = fingerprint_elements(["one"])
    assert after != before
    monkeypatch.setenv("DIB_ONE", "1")
    assert fingerprint_elements(["one"]) != after


def test_the_lines_to_blame_are_those_before_the_clean_up() -> None:
    log = [
        "Copying hooks for one",
        "/tmp/hooks/post-root.d/50-one: line 3: frobnicate: command not found",
        "Unmount /tmp/x/mnt/proc",
        "INFO diskimage_builder.block_device.utils [-] Calling [sudo losetup -d /dev/loop0]",
    ]
    assert find_error_lines(log) == log[1]


def run(settings: DibSettings, folder: Path, work: Path) -> tuple[Path, ...]:
    work.mkdir()
    order = DibJob(
        settings, "small-dib", folder, folder / "small-dib.log", 1 << 20, ["/usr/bin/hello"]
    )
    choose_location(order, DibLocation.HERE, SilentProgress())
    return make_dib_images(order, work, progress=SilentProgress(), builder=None)


@pytest.mark.oracle
def test_dib_makes_images_of_a_build(
    builder: Builder, small: Small, elements: Path, tmp_path: Path
) -> None:
    element(elements, "greeting", post_root__50_test="echo hello > $TMP_MOUNT_PATH/etc/greeting")
    settings = DibSettings(WHERE, ("greeting",), formats=(DibFormat.TAR, DibFormat.RAW))
    folder = build_folder(small)
    tar, raw = run(settings, folder, tmp_path / "assembling")
    with tarfile.open(tar) as archive:
        names = archive.getnames()
    assert "./etc/greeting" in names
    assert "./usr/bin/hello" in names
    assert [name for name in names if name.startswith("./dev/")] == []
    assert raw.stat().st_size > 0
    assert "greeting" in (folder / "small-dib.log").read_text(encoding="utf-8")
    assert list_mounts(tmp_path) == ()
    del builder


@pytest.mark.oracle
@pytest.mark.parametrize("phase", ["root", "pre_finalise"])
def test_an_element_that_fails_is_shown_and_nothing_is_left(
    builder: Builder, small: Small, elements: Path, tmp_path: Path, phase: str
) -> None:
    element(
        elements,
        "broken",
        **{f"{phase}__50_test": "echo 'cannot frobnicate: no widget' >&2; exit 3"},
    )
    with pytest.raises(ToolError) as caught:
        run(DibSettings(WHERE, ("broken",), formats=(DibFormat.TAR,)), build_folder(small),
            tmp_path / "assembling")  # fmt: skip
    assert "cannot frobnicate: no widget" in caught.value.what
    assert "small-dib.log" in caught.value.where
    assert list_mounts(tmp_path) == ()
    assert Builder(tmp_path).list_leftovers() == []
    del builder


@pytest.mark.oracle
def test_an_image_that_is_too_small_is_an_error(
    builder: Builder,
    small: Small,
    elements: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    element(
        elements, "big", post_root__50_test="head -c 20M /dev/urandom > $TMP_MOUNT_PATH/etc/big"
    )
    folder = build_folder(small)
    monkeypatch.setenv("DIB_IMAGE_SIZE", "0.004")
    monkeypatch.setenv("DIB_JOURNAL_SIZE", "1")
    with pytest.raises(ToolError) as caught:
        run(DibSettings(WHERE, ("big",), formats=(DibFormat.RAW,)), folder, tmp_path / "assembling")
    assert "No space left" in caught.value.what
    assert Builder(tmp_path).list_leftovers() == []
    del builder
