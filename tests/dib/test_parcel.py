"""What goes into the builder machine and what comes out of it."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from minbuild.dib import builder_vm
from minbuild.dib.elements import Element
from tests.dib.folders import build_folder
from tests.e2e.small_host import Small

MEBI = 1 << 20


def write_result_disk(tmp_path: Path, **files: bytes) -> Path:
    """A disk as the builder leaves it: written by GNU tar, with zeros behind."""
    path = tmp_path / "out"
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("_", ".")).write_bytes(data)
    disk = tmp_path / "result.disk"
    argv: list[str | Path] = ["tar", "-c", "-S", "--format=gnu", "-f", disk, "-C", path, "."]
    subprocess.run(argv, check=True)
    os.truncate(disk, 64 * MEBI)
    return disk


def test_an_order_holds_the_host_and_the_elements(small: Small, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "post-root.d").mkdir(parents=True)
    (own / "post-root.d" / "50-x").write_text("true\n", "utf-8")
    (own / "post-root.d" / "50-x").chmod(0o755)
    (own / "gone").symlink_to("nowhere")
    elements = (Element("own", own, (), False), Element("bootloader", tmp_path, (), True))
    work = tmp_path / "packing"
    work.mkdir()
    path = builder_vm.write_job(
        ["disk", "a b"], {"DIB_X": "it's"}, elements, build_folder(small), work
    )
    with tarfile.open(path) as tar:
        held = {member.name: member for member in tar}
        run = tar.extractfile("order/run")
        assert run is not None
        assert run.read().decode() == "export DIB_X='it'\"'\"'s'\nexec disk 'a b'\n"
    assert held["order/elements/own/post-root.d/50-x"].mode & 0o111
    assert "order/elements/own/gone" not in held
    assert "order/elements/bootloader" not in held
    assert held["order/root.tar"].size > 0
    assert {"order/build/small.efi", "order/build/footprint.json"} <= held.keys()


def test_a_layout_in_a_file_is_taken_along_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "layout.yaml").write_text("- local_loop: {name: image0}\n", "utf-8")
    monkeypatch.setenv("DIB_BLOCK_DEVICE_CONFIG", (tmp_path / "layout.yaml").as_uri())
    monkeypatch.setenv("DIB_IMAGE_SIZE", "3")
    monkeypatch.setenv("DIB_MINBUILD", "/here/minbuild")
    monkeypatch.setenv("SECRET", "1")
    matches = builder_vm.merge_environment(
        {"DIB_IMAGE_SIZE": "1", "DIB_JOURNAL_SIZE": "4"}, layout=""
    )
    assert matches["DIB_BLOCK_DEVICE_CONFIG"] == "- local_loop: {name: image0}\n"
    assert (matches["DIB_IMAGE_SIZE"], matches["DIB_JOURNAL_SIZE"]) == ("3", "4")
    assert matches["DIB_MINBUILD"] == "/job/order/minbuild"
    assert "SECRET" not in matches
    assert builder_vm.merge_environment({}, layout="plain")["DIB_BLOCK_DEVICE_CONFIG"] == "plain"


def test_an_image_with_holes_comes_out_whole(tmp_path: Path) -> None:
    image = os.urandom(5000) + bytes(3 * MEBI) + b"end" + bytes(2 * MEBI)
    disk = write_result_disk(tmp_path, _code=b"0\n", host_raw=image, other=b"x")
    (tmp_path / "work").mkdir()
    assert builder_vm.read_result(disk, ["host.raw", "host.tar"], tmp_path / "work") == 0
    package = tmp_path / "work" / "host.raw"
    assert package.read_bytes() == image
    assert package.stat().st_blocks * 512 < len(image)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["host.raw"]


def test_dib_s_exit_code_comes_out(tmp_path: Path) -> None:
    assert builder_vm.read_result(write_result_disk(tmp_path, _code=b"3\n"), [], tmp_path) == 3


def test_a_machine_that_ended_early_left_no_result(tmp_path: Path) -> None:
    disk = tmp_path / "empty.disk"
    with disk.open("wb") as file:
        file.truncate(MEBI)
    assert builder_vm.read_result(disk, ["host.raw"], tmp_path) is None
    whole = write_result_disk(tmp_path, host_raw=os.urandom(MEBI), _code=b"0\n").read_bytes()
    disk.write_bytes(whole[: MEBI // 2])
    assert builder_vm.read_result(disk, ["host.raw"], tmp_path) is None
    disk.write_bytes(b"no tar at all" * 1000)
    assert builder_vm.read_result(disk, ["host.raw"], tmp_path) is None
