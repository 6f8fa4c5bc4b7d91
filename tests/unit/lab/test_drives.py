"""Disk images: those that name another file are refused, others are opened by QEMU."""

import contextlib
import re
import struct
import subprocess
from pathlib import Path

import pytest

from minbuild.errors import UsageError
from minbuild.lab.accel import build_data_directory_args
from minbuild.lab.drives import build_disk_args, detect_drive_format
from tests.support.patience import PATIENCE
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror]

SECRET = b"only the user's " * 4096
WHOLE = {
    "qcow2": (), "qcow2 of version 2": ("compat=0.10",), "vmdk": (), "vhdx": (), "vdi": (), "raw": (),
    "vmdk for ESXi": ("subformat=streamOptimized",),
    "vmdk with hardware 4": ("hwversion=4",),
}  # fmt: skip


def create(directory: Path, name: str, *words: str) -> Path:
    toolbox(lab=True).run(
        "qemu-img",
        ["create", "-f", name.split(maxsplit=1)[0], *words],
        purpose="making an image",
        cwd=directory,
    )
    return next(directory / word for word in words if word.startswith("made"))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_an_image_that_is_whole_is_opened(name: str, secret: Path, tmp_path: Path) -> None:
    box, made = toolbox(lab=True), tmp_path / "made, it is"
    options = [word for one in WHOLE[name] for word in ("-o", one)]
    words: list[str | Path] = [
        "convert",
        "-f",
        "raw",
        "-O",
        name.split(maxsplit=1)[0],
        *options,
        secret,
        made,
    ]
    box.run("qemu-img", words, purpose="making an image")
    kind = detect_drive_format(made)
    assert kind == name.split(maxsplit=1)[0]
    argv = [*box.build_argv("qemu-system-x86_64"), "-M", "none", "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-monitor", "stdio", *build_data_directory_args(box)]
    drive = build_disk_args(made, kind, writable=False)[1].replace("if=virtio", "if=none,id=made")
    said = subprocess.run(
        [*argv, "-drive", drive],
        input=b'qemu-io made "read -P 0x6f 0 1"\nquit\n',
        env=box.build_environment(),
        capture_output=True,
        timeout=PATIENCE,
    )
    assert said.returncode == 0, said.stderr
    assert b"read 1/1 bytes at offset 0" in said.stdout.replace(b"\r", b"")


REFERENCES = {
    "qcow2 backed by raw": ("-b", "secret", "-F", "raw", "made"),
    "qcow2 of version 2 backed": ("-o", "compat=0.10", "-b", "secret", "-F", "raw", "made"),
    "qcow2 of data elsewhere": ("-o", "data_file=gone,data_file_raw=on", "made", "64K"),
    "vmdk flat": ("-o", "subformat=monolithicFlat", "made", "64K"),
    "vmdk in pieces": ("-o", "subformat=twoGbMaxExtentSparse", "made", "64K"),
    "vmdk for a server": ("-o", "subformat=twoGbMaxExtentFlat", "made", "64K"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_an_image_that_names_another_file_is_refused(
    name: str, secret: Path, tmp_path: Path
) -> None:
    made = create(tmp_path, name, *REFERENCES[name])
    with pytest.raises(UsageError, match="which the machine could then read"):
        build_disk_args(made, detect_drive_format(made), writable=False)


def test_a_vmdk_with_a_parent_is_refused(tmp_path: Path) -> None:
    create(tmp_path, "vmdk", "made.base", "1M")
    words = ["create", "-f", "vmdk", "-b", "made.base", "-F", "vmdk", "child"]
    toolbox(lab=True).run("qemu-img", words, purpose="making an image", cwd=tmp_path)
    with pytest.raises(UsageError, match=re.escape("has a backing file, 'made.base'")):
        build_disk_args(tmp_path / "child", "vmdk", writable=False)


def test_a_header_changed_by_hand_is_refused(tmp_path: Path) -> None:
    """The bits alone, each without what would go with it; and a VMDK whose description is all."""
    made = bytearray(create(tmp_path, "qcow2", "made", "1M").read_bytes())
    changes = {
        "offset": (8, struct.pack(">Q", 0x200)),
        "length": (16, struct.pack(">I", 9)),
        "feature": (72, struct.pack(">Q", 4)),
        "extension": (struct.unpack_from(">I", made, 100)[0], struct.pack(">II", 0x44415441, 8)),
    }
    for name, (at, what) in changes.items():
        changed = bytearray(made)
        changed[at : at + len(what)] = what
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(UsageError, match="could then read"):
            build_disk_args(tmp_path / name, "qcow2", writable=False)
    whole = bytearray(create(tmp_path, "vmdk", "made.vmdk", "1M").read_bytes())
    whole[12:20] = bytes(8)
    (tmp_path / "described").write_bytes(whole)
    with pytest.raises(UsageError, match="only describes"):
        build_disk_args(
            tmp_path / "described", detect_drive_format(tmp_path / "described"), writable=False
        )


def test_a_file_that_is_cut_short_is_no_crash(tmp_path: Path) -> None:
    for start in (b"QFI\xfb", b"KDMV"):
        (tmp_path / "short").write_bytes(start)
        with contextlib.suppress(UsageError):
            build_disk_args(
                tmp_path / "short", detect_drive_format(tmp_path / "short"), writable=False
            )
