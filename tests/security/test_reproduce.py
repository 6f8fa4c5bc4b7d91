"""What a difference between two builds means, told from the files."""

import re
import shutil
import struct
from pathlib import Path

import pytest

from minbuild.formats.magic import CPIO_NEWC
from minbuild.image.publish import open_outputs
from minbuild.pipeline.reproducibility import find_first_difference, run_diffoscope
from tests.fuzz.seeds import seeds


def make_outputs(directory: Path, **files: bytes) -> Path:
    """An output directory with these files, `_` for a dot in their names."""
    with open_outputs(directory) as outputs:
        for name, data in files.items():
            outputs.path(name.replace("_", ".")).write_bytes(data)
        outputs.publish()
    return directory


def uki(**sections: bytes) -> bytes:
    """The least PE file with these sections."""
    table, body = b"", b""
    start = 64 + 24 + 40 * len(sections)
    for name, data in sections.items():
        table += struct.pack("<8sIIII16x", f".{name}".encode(), len(data), 0, len(data), start)
        body += data
        start += len(data)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64)
    return head + struct.pack("<4s2xH12xH2x", b"PE\0\0", len(sections), 0) + table + body


def test_equal_builds_differ_nowhere(tmp_path: Path) -> None:
    one = make_outputs(tmp_path / "1", host_efi=b"same")
    assert find_first_difference(one, make_outputs(tmp_path / "2", host_efi=b"same")) is None


def test_a_file_that_one_build_lacks_is_the_difference(tmp_path: Path) -> None:
    one = make_outputs(tmp_path / "1", a_efi=b"x", b_efi=b"y")
    result = find_first_difference(one, make_outputs(tmp_path / "2", a_efi=b"x"))
    assert result is not None
    assert (result.file, result.offset) == ("b.efi", -1)


@pytest.mark.parametrize(("name", "other"), [("linux", b"kernel 2"), ("cmdline", b"quiet")])
def test_a_section_of_the_uki_is_named(tmp_path: Path, name: str, other: bytes) -> None:
    parts = {"linux": b"kernel 1", "cmdline": b"loud!", "initrd": seeds("cpio")[0]}
    one = make_outputs(tmp_path / "1", host_efi=uki(**parts))
    result = find_first_difference(
        one, make_outputs(tmp_path / "2", host_efi=uki(**parts | {name: other}))
    )
    assert result is not None
    assert result.meaning == f"section .{name}"


def test_a_file_of_the_initramfs_is_named(tmp_path: Path) -> None:
    first = seeds("cpio")[0]
    assert CPIO_NEWC in first
    second = first.replace(b"hello", b"hallo")
    one = make_outputs(tmp_path / "1", host_efi=uki(initrd=first))
    result = find_first_difference(one, make_outputs(tmp_path / "2", host_efi=uki(initrd=second)))
    assert result is not None
    assert result.meaning == "section .initrd: /usr/a in the initramfs"


def test_a_line_of_a_document_is_shown_from_both(tmp_path: Path) -> None:
    one = make_outputs(tmp_path / "1", footprint_json=b'{\n "a": 1,\n "b": 2\n}\n')
    other = make_outputs(tmp_path / "2", footprint_json=b'{\n "a": 1,\n "b": 3\n}\n')
    result = find_first_difference(one, other)
    assert result is not None
    assert result.meaning == 'line 3: "b": 2 / "b": 3'


@pytest.mark.parametrize(
    ("at", "meaning"),
    [(600, "the partition table"), (3 << 20, "a partition"), (-100, "the second partition table")],
)
def test_a_place_on_the_disk_is_named(tmp_path: Path, at: int, meaning: str) -> None:
    disk = bytearray(5 << 20)
    one = make_outputs(tmp_path / "1", host_raw=bytes(disk))
    disk[at] = 1
    result = find_first_difference(one, make_outputs(tmp_path / "2", host_raw=bytes(disk)))
    assert result is not None
    assert meaning in result.meaning
    assert result.offset == at % len(disk)


DIFFOSCOPE = """#!/bin/sh
echo 'W: comparing of something is disabled' >&2
while [ "$1" != --text ]; do shift; done
diff -u "$3" "$4" >"$2"
"""


@pytest.mark.parametrize("which", ["the real one", "a program that warns as it does"])
def test_the_words_of_diffoscope_are_shown_and_not_its_warnings(tmp_path: Path, which: str) -> None:
    tool = shutil.which("diffoscope") if which == "the real one" else str(tmp_path / "diffoscope")
    if tool is None:
        pytest.skip("diffoscope is not here")
    if which != "the real one":
        Path(tool).write_text(DIFFOSCOPE)
        Path(tool).chmod(0o755)
    one, other = tmp_path / "a.json", tmp_path / "b.json"
    one.write_text('{\n "a": 1\n}\n')
    other.write_text('{\n "a": 2\n}\n')
    output = run_diffoscope(tool, one, other)
    assert re.search(r'(?m)^.*- +"a": 1$', output)
    assert re.search(r'(?m)^.*\+ +"a": 2$', output)
    assert "disabled" not in output
    assert run_diffoscope("/nowhere/diffoscope", one, other).startswith("cannot start")
