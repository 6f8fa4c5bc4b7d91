"""UKIs, whole and damaged."""

import contextlib
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import ToolError
from minbuild.formats.uki import read_uki, read_uki_file, read_uki_sections
from tests.support.uki import uki, with_layout


def pe(parts: dict[str, bytes]) -> bytes:
    """A PE file of these sections and nothing else."""
    head = b"MZ" + bytes(58) + struct.pack("<I", 64)
    head += struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(parts), 0, 0, 0, 0, 0)
    start = len(head) + 40 * len(parts)
    table, body = b"", b""
    for name, data in parts.items():
        stored = data + bytes(-len(data) % 512)
        row = struct.pack("<8sIIII", name.encode(), len(data), 0, len(stored), start + len(body))
        table += row + bytes(16)
        body += stored
    return head + table + body


UKI = pe({".linux": b"kernel", ".initrd": b"initramfs", ".cmdline": b"console=ttyS0\0"})


def test_a_uki_is_split_at_true_sizes(tmp_path: Path) -> None:
    (tmp_path / "host.efi").write_bytes(UKI)
    found = read_uki_file(tmp_path / "host.efi")
    assert (found.linux, found.initrd) == (b"kernel", b"initramfs")
    assert found.cmdlines == ("console=ttyS0",)


def test_a_uki_without_a_kernel_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "host.efi").write_bytes(pe({".initrd": b"x"}))
    with pytest.raises(ToolError, match=re.escape("no section .linux")):
        read_uki_file(tmp_path / "host.efi")


@pytest.mark.parametrize("length", range(0, len(UKI), 7))
def test_a_uki_cut_short_is_an_error(length: int) -> None:
    with pytest.raises(ToolError):
        read_uki_sections(UKI[:length], "host.efi")


@given(st.integers(0, len(UKI) * 8 - 1))
def test_a_flipped_bit_gives_sections_or_an_error(bit: int) -> None:
    data = bytearray(UKI)
    data[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(ToolError):
        read_uki_sections(bytes(data), "host.efi")


LINUX, CLEAN, EVIL = (".linux", b"kernel"), (".initrd", b"clean"), (".initrd", b"evil")


def test_of_two_sections_of_a_name_the_stub_takes_the_first() -> None:
    found = read_uki(uki([LINUX, EVIL, CLEAN, (".cmdline", b"a"), (".cmdline", b"b")]), "x.efi")
    assert (found.initrd, found.cmdlines) == (b"evil", ("a",))


def test_a_name_ends_at_its_zero_byte() -> None:
    data = uki([(".init1", b"evil"), CLEAN, LINUX]).replace(b".init1\0\0", b".initrd\0")
    assert read_uki(data, "x.efi").initrd == b"evil"
    junk = uki([(".init1", b"evil"), CLEAN, LINUX]).replace(b".init1\0\0", b".linux\0X")
    assert read_uki(junk, "x.efi").linux == b"evil"


def test_microcode_is_unpacked_before_the_initramfs() -> None:
    found = read_uki(uki([LINUX, CLEAN, (".ucode", b"early")]), "x.efi")
    assert found.initrd == b"early\0\0\0clean"


def test_profiles_that_differ_in_their_command_lines_are_read_as_one_host() -> None:
    parts = [LINUX, CLEAN, (".cmdline", b"quiet"), (".profile", b"ID=a"), (".profile", b"ID=b")]
    found = read_uki(uki([*parts, (".cmdline", b"debug")]), "x.efi")
    assert found.cmdlines == ("quiet", "debug")


@pytest.mark.parametrize("name", [".linux", ".initrd", ".ucode", ".dtb"])
def test_profiles_that_differ_in_what_runs_are_refused(name: str) -> None:
    parts = [LINUX, CLEAN, (".profile", b"ID=a"), (".profile", b"ID=b"), (name, b"other")]
    with pytest.raises(ToolError, match=f"differ in {re.escape(name)}"):
        read_uki(uki(parts), "x.efi")


def test_the_default_profile_s_own_sections_come_first() -> None:
    parts = [LINUX, CLEAN, (".profile", b"ID=a"), EVIL]
    assert read_uki(uki(parts), "x.efi").initrd == b"evil"


def test_device_trees_are_named_and_firmware_is_refused() -> None:
    found = read_uki(uki([LINUX, CLEAN, (".dtbauto", b"one"), (".dtbauto", b"three")]), "x.efi")
    assert found.device_sections == {".dtbauto": 8}
    with pytest.raises(ToolError, match=re.escape(".efifw")):
        read_uki(uki([LINUX, CLEAN, (".efifw", b"x")]), "x.efi")


@pytest.mark.parametrize("where", ["behind", "between"])
def test_bytes_that_belong_to_nothing_are_refused(where: str) -> None:
    data = bytearray(uki([LINUX, CLEAN]))
    if where == "behind":
        data += b"hidden"
    else:
        data[-1] = 1  # behind the end of .initrd, before its block ends
    with pytest.raises(ToolError, match="are of no section, header or signature"):
        read_uki(bytes(data), "x.efi")


def test_a_signature_may_stand_behind_the_sections() -> None:
    data = with_layout(uki([LINUX, CLEAN]), signature=b"signed!!")
    assert read_uki(data, "x.efi").initrd == b"clean"
    with pytest.raises(ToolError, match="are of no section"):
        read_uki(data + b"more", "x.efi")


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ((0x1000, 0x1000), "lie on each other in memory"),
        ((0x1000, 0x0), "lie on each other in memory"),
        ((0x1000, 0x7FFFF000), "outside of the memory"),
    ],
)
def test_a_layout_in_which_memory_is_not_the_file_is_refused(
    addresses: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ToolError, match=message):
        read_uki(with_layout(uki([LINUX, CLEAN]), addresses=addresses), "x.efi")


def test_sections_that_share_bytes_are_refused() -> None:
    data = bytearray(uki([LINUX, CLEAN]))
    table = data.index(b".initrd\0")
    data[table + 20 : table + 24] = data[table - 40 + 20 : table - 40 + 24]
    with pytest.raises(ToolError, match="lie on each other in the file"):
        read_uki_sections(bytes(data), "x.efi")


def test_a_section_that_says_to_be_longer_than_it_is_is_refused() -> None:
    data = bytearray(uki([LINUX, CLEAN]))
    table = data.index(b".initrd\0")
    data[table + 8 : table + 12] = struct.pack("<I", 4096)
    with pytest.raises(ToolError, match="longer than it is"):
        read_uki(bytes(data), "x.efi")
