"""Xen's unified image: written, read back, and what Xen would read beside it."""

import struct
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.formats.pe import read_sections, require_known_bytes
from minbuild.formats.uki import read_uki, read_uki_file
from minbuild.formats.xen_image import (
    find_config_problem,
    is_xen_image,
    join_xen_image,
    read_xen_image,
    render_config,
    strip_xen,
)
from tests.support.uki import uki
from tests.support.xen import linux, xen_efi

CONFIG = render_config("console=com1 dom0_mem=256M", "console=hvc0 quiet")


def joined(config: bytes = CONFIG, ucode: bytes = b"") -> bytes:
    """An image; with a section of microcode, which others write."""
    xen = strip_xen(xen_efi(more=ucode), "xen.efi")
    image = join_xen_image(xen, config, b"kernel" * 1000, b"ramdisk", "xen.efi")
    return image.replace(b".more\0\0\0", b".ucode\0\0", 1) if ucode else image


def test_what_only_a_debugger_reads_is_left_out() -> None:
    stripped = strip_xen(xen_efi(debug=b"DWARF" * 10_000), "xen.efi")
    assert b"DWARF" not in stripped
    assert b".debug_info" not in stripped
    names = [one.name for one in read_sections(stripped, "xen.efi")]
    assert names == [".text", ".data.re", ".bss", ".reloc"]
    require_known_bytes(stripped, read_sections(stripped, "xen.efi"), "xen.efi")


def test_stripping_is_done_once() -> None:
    stripped = strip_xen(xen_efi(), "xen.efi")
    assert strip_xen(stripped, "xen.efi") == stripped


def test_an_image_gives_back_what_it_was_made_from() -> None:
    image = read_xen_image(joined(ucode=b"microcode"), "xen.efi")
    assert image.xen == strip_xen(xen_efi(), "xen.efi")
    assert (image.kernel, image.ramdisk) == (b"kernel" * 1000, b"ramdisk")
    assert image.options == ("console=com1 dom0_mem=256M",)
    assert image.cmdlines == ("console=hvc0 quiet",)
    assert image.others == {".ucode": 9}


def test_equal_parts_give_equal_bytes() -> None:
    assert joined() == joined()


def test_the_sections_lie_behind_xens_own_in_memory() -> None:
    sections = {one.name: one for one in read_sections(joined(), "xen.efi")}
    assert sections[".config"].address == 0x303000
    assert all(
        one.address % 4096 == 0 for name, one in sections.items() if name in (".kernel", ".ramdisk")
    )


def test_a_signature_is_no_part_of_xen() -> None:
    """Written behind the image and named in its header, as sbsign does."""
    data = bytearray(joined() + b"signature")
    offset = struct.unpack_from("<I", data, 0x3C)[0] + 24 + 112 + 4 * 8
    struct.pack_into("<II", data, offset, len(data) - 9, 9)
    assert read_xen_image(bytes(data), "xen.efi").xen == strip_xen(xen_efi(), "xen.efi")


def test_a_uki_and_xens_image_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "xen.efi").write_bytes(joined())
    (tmp_path / "host.efi").write_bytes(uki({".linux": b"K", ".initrd": b"R"}))
    assert read_uki_file(tmp_path / "xen.efi").xen
    assert not read_uki_file(tmp_path / "host.efi").xen
    assert not is_xen_image([".linux", ".kernel"])


def test_both_command_lines_are_read_and_the_release_of_the_kernel() -> None:
    data = join_xen_image(
        strip_xen(xen_efi(), "x"), CONFIG, linux("6.12.118+deb13-amd64"), b"R", "x"
    )
    read = read_uki(data, "xen.efi")
    assert read.uname == "6.12.118+deb13-amd64"
    assert read.cmdlines == ("console=hvc0 quiet",)
    assert read.xen_cmdlines == ("console=com1 dom0_mem=256M",)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (b"[global]\ndefault=a\nchain=more.cfg\n[a]\nkernel=k x\n", "chain=more.cfg"),
        (b"[global]\ndefault=a\n[b]\nkernel=k x\n", "no default"),
        (b"[global]\ndefault=a\n[a]\noptions=x\n", "no default"),
        (b"[global]\ndefault=a\n[a]\nkernel=k x\nucode=amd.bin\n", "ucode=amd.bin"),
        (b"[global]\ndefault=a\nucode=amd.bin\n[a]\nkernel=k x\n", "ucode=amd.bin"),
        (b"[global]\ndefault=a\n[a]\nkernel=k x\nxsm=policy\n", "xsm=policy"),
        (b"", "no section .config"),
    ],
)
def test_what_xen_would_read_beside_the_image_is_refused(config: bytes, problem: str) -> None:
    with pytest.raises(ToolError, match=problem):
        read_xen_image(joined(config), "xen.efi")


def test_settings_are_read_as_xen_reads_them() -> None:
    """Control characters end a line, # begins a comment, the first of a name counts."""
    config = b"; note\n[global]\r\ndefault=a#b\n\t[a]\n  kernel=k  one two # three\nkernel=k four\noptions=  x\0[a]\noptions=y\n"
    image = read_xen_image(joined(config), "xen.efi")
    assert image.cmdlines == ("one two",)
    assert image.options == ("x",)


def test_every_system_that_may_be_chosen_is_told() -> None:
    config = CONFIG + b"[other]\nkernel=k debug\noptions=noreboot\n"
    image = read_xen_image(joined(config), "xen.efi")
    assert image.cmdlines == ("console=hvc0 quiet", "debug")
    assert image.options[1] == "noreboot"


def test_two_sections_of_one_name_are_refused() -> None:
    data = joined(ucode=b"microcode").replace(b".ucode\0\0", b".kernel\0", 1)
    with pytest.raises(ToolError, match=r"two sections \.kernel"):
        read_xen_image(data, "xen.efi")


def test_words_that_settings_cannot_hold() -> None:
    assert find_config_problem("console=com1") == ""
    assert "comment" in find_config_problem("note=#1")


def test_what_is_no_efi_program_is_refused() -> None:
    with pytest.raises(ToolError):
        strip_xen(b"\x7fELF", "xen")
    with pytest.raises(ToolError, match="64 bits"):
        strip_xen(uki({".text": b"x"})[:-8] + bytes(8), "xen")
