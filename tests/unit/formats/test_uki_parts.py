"""An EFI file cut into parts: together they are the file."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import MinbuildError
from minbuild.formats.uki_parts import MAX_PARTS, split_uki
from minbuild.formats.xen_image import join_xen_image
from tests.oracle.cpios import archive, file
from tests.support.published import make_image, pack
from tests.support.uki import uki
from tests.support.xen import linux, xen_efi


def name_parts(image: bytes) -> list[str]:
    return [part.name for part in split_uki(image, "host.efi")]


def join(image: bytes) -> bytes:
    return b"".join(part.data for part in split_uki(image, "host.efi"))


def test_a_uki_is_cut_at_its_sections_and_segments() -> None:
    image = make_image()
    assert name_parts(image) == ["headers", "stub", "text", "linux", "initrd", "initrd", "initrd", "end"]  # fmt: skip
    assert join(image) == image


def test_another_text_changes_headers_and_one_segment() -> None:
    parts = [{part.data for part in split_uki(make_image(text), "x")} for text in (b"a", b"b" * 5)]
    changed = [part.name for part in split_uki(make_image(b"b" * 5), "x") if part.data not in parts[0]]  # fmt: skip
    assert sorted(changed) in (["end", "headers", "initrd"], ["headers", "initrd"])


def test_another_kernel_leaves_the_initramfs_as_it_is() -> None:
    before = {part.data for part in split_uki(make_image(), "x")}
    after = split_uki(make_image(kernel=b"L" * 6000), "x")
    assert [part.name for part in after if part.data not in before] == ["linux"]


def test_an_initramfs_that_cannot_be_read_stays_in_one_piece() -> None:
    image = uki({".linux": b"K" * 600, ".initrd": b"neither cpio nor packed" * 50})
    assert name_parts(image).count("initrd") == 1
    damaged = bytearray(pack(b"070701"))
    damaged[20] ^= 0xFF
    assert join(uki({".linux": b"K", ".initrd": bytes(damaged)})) is not None


def test_a_signature_behind_the_sections_is_a_part() -> None:
    image = make_image() + b"signature"
    assert split_uki(image, "x")[-1].name == "end"
    assert join(image) == image


def test_the_image_of_xen_is_cut_too() -> None:
    ramdisk = archive([file(b"init", b"x" * 99)])
    image = join_xen_image(xen_efi(), b"[global]\n", linux("6.1"), ramdisk, "xen.efi")
    assert join(image) == image
    assert {"headers", "stub", "text", "linux", "initrd"} <= {*name_parts(image)}


def test_an_image_of_too_many_segments_is_refused() -> None:
    many = pack(archive([file(b"a", b"b")])) * MAX_PARTS
    with pytest.raises(MinbuildError, match="parts"):
        split_uki(uki({".linux": b"K", ".initrd": many}), "x")


@given(st.data())
def test_damaged_images_are_the_sum_of_their_parts_or_refused(data: st.DataObject) -> None:
    image = bytearray(make_image())
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, len(image) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(image[: data.draw(st.integers(0, len(image)))])
    for damaged in (bytes(image), cut):
        with contextlib.suppress(MinbuildError):
            assert join(damaged) == damaged


def test_a_section_that_starts_in_the_headers_does_not_lose_bytes() -> None:
    image = bytearray(make_image())
    (head,) = struct.unpack_from("<I", image, 0x3C)
    (optional,) = struct.unpack_from("<H", image, head + 20)
    struct.pack_into("<I", image, head + 24 + optional + 20, 0)
    with contextlib.suppress(MinbuildError):
        assert join(bytes(image)) == bytes(image)
