"""A machine's devices are listed once each, from any copy of a sysfs."""

from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.manifest.model import LocatedName, Location
from minbuild.pipeline.modaliases import explain_missing_drivers, list_modaliases


def device(top: Path, name: str, alias: str) -> None:
    place = top / "devices" / name
    place.mkdir(parents=True)
    (place / "modalias").write_text(alias)


def test_aliases_are_sorted_and_stand_once(tmp_path: Path) -> None:
    device(tmp_path, "pci0000:00/0000:00:03.0", "pci:v00001AF4d00001000sv*\n")
    device(tmp_path, "pci0000:00/0000:00:03.0/virtio0", "virtio:d00000001v00001AF4\n")
    device(tmp_path, "pci0000:00/0000:00:04.0/virtio1", "virtio:d00000001v00001AF4\n")
    device(tmp_path, "platform/empty", "\n")
    assert list_modaliases(tmp_path).splitlines()[1:] == [
        "pci:v00001AF4d00001000sv*",
        "virtio:d00000001v00001AF4",
    ]


def test_a_sysfs_without_devices_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no device here"):
        list_modaliases(tmp_path)


USB = "pci:v00008086d000010D3sv00008086sd0000A01Fbc0Csc03i30"
DISK = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"
BRIDGE = "pci:v00008086d000029C0sv00001AF4sd00001100bc06sc00i00"


def test_usb_controllers_without_a_driver_are_named_and_the_others_counted() -> None:
    names = [
        LocatedName(text, Location("hw.txt", line, 1))
        for line, text in enumerate((USB, DISK, BRIDGE), 1)
    ]
    told = list(explain_missing_drivers(names, {USB, BRIDGE}, "6.12-cloud-amd64"))
    assert told == [
        f"hw.txt:1:1: USB controller {USB} has no driver in the kernel 6.12-cloud-amd64",
        "hw.txt: 1 more of its 3 devices have no driver here",
    ]
    assert list(explain_missing_drivers(names, (), "6.12-cloud-amd64")) == []
