"""A machine's devices are listed once each, from any copy of a sysfs."""

from pathlib import Path

import pytest

from minbuild.build.hardware import gather, write
from minbuild.errors import ToolError


def device(top: Path, name: str, alias: str) -> None:
    place = top / "devices" / name
    place.mkdir(parents=True)
    (place / "modalias").write_text(alias)


def test_aliases_are_sorted_and_stand_once(tmp_path: Path) -> None:
    device(tmp_path, "pci0000:00/0000:00:03.0", "pci:v00001AF4d00001000sv*\n")
    device(tmp_path, "pci0000:00/0000:00:03.0/virtio0", "virtio:d00000001v00001AF4\n")
    device(tmp_path, "pci0000:00/0000:00:04.0/virtio1", "virtio:d00000001v00001AF4\n")
    device(tmp_path, "platform/empty", "\n")
    assert gather(tmp_path).splitlines()[1:] == [
        "pci:v00001AF4d00001000sv*",
        "virtio:d00000001v00001AF4",
    ]


def test_a_sysfs_without_devices_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no device here"):
        gather(tmp_path)


def test_a_list_is_written_whole(tmp_path: Path) -> None:
    write("# x\na\n", tmp_path / "list")
    assert (tmp_path / "list").read_text() == "# x\na\n"
    assert len(list(tmp_path.iterdir())) == 1
