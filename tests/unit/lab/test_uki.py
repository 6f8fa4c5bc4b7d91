"""UKIs, whole and damaged."""

import contextlib
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import ToolError
from minbuild.lab.uki import sections, split


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
    assert split(tmp_path / "host.efi") == (b"kernel", b"initramfs", "console=ttyS0")


def test_a_uki_without_a_kernel_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "host.efi").write_bytes(pe({".initrd": b"x"}))
    with pytest.raises(ToolError, match=re.escape("no section .linux")):
        split(tmp_path / "host.efi")


@pytest.mark.parametrize("length", range(0, len(UKI), 7))
def test_a_uki_cut_short_is_an_error(length: int) -> None:
    with pytest.raises(ToolError):
        sections(UKI[:length], "host.efi")


@given(st.integers(0, len(UKI) * 8 - 1))
def test_a_flipped_bit_gives_sections_or_an_error(bit: int) -> None:
    data = bytearray(UKI)
    data[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(ToolError):
        sections(bytes(data), "host.efi")
