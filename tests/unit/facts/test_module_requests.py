"""What the code of a module asks the kernel for."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.facts.detect import read_facts
from minbuild.facts.model import Malformed, Module
from minbuild.facts.module_requests import MAX_TEXT, SHT_RELA
from tests.support import elf

PATH = "/usr/lib/modules/6.1/a.ko"
INFO = (("name", "a"),)


def list_requests(*calls: tuple[str, str], imports: tuple[str, ...] = ()) -> tuple[str, ...]:
    names = tuple(dict.fromkeys((*imports, *(function for function, _ in calls))))
    found = read_facts(PATH, elf.module(INFO, imports=names, calls=calls))
    assert isinstance(found, Module)
    return found.requests


@pytest.mark.parametrize(
    ("function", "text", "requests"),
    [
        ("__request_module", "nfnetlink_log", ("nfnetlink_log",)),
        ("__request_module", "dm-%s", ()),
        ("__request_module", "a message for people", ()),
        ("load_nls", "utf8", ("nls_utf8",)),
        ("load_nls", "cp%d", ()),
        ("crypto_alloc_shash", "crc32c", ("crypto-crc32c",)),
        ("crypto_alloc_skcipher", "hmac(sha256)", ("crypto-hmac", "crypto-sha256")),
        ("crypto_has_alg", "md5", ()),
        ("strcmp", "crc32c", ()),
    ],
)
def test_the_string_before_a_call_is_asked_for(
    function: str, text: str, requests: tuple[str, ...]
) -> None:
    assert list_requests((function, text)) == requests


def test_each_call_has_its_own_string() -> None:
    calls = (("printk", "sha1"), ("crypto_alloc_shash", "md5"), ("__request_module", "tls"))
    assert list_requests(*calls) == ("crypto-md5", "tls")


def test_a_driver_of_a_controller_asks_for_the_driver_of_its_disks() -> None:
    assert list_requests(imports=("scsi_host_alloc",)) == ("scsi:t-0x00",)
    assert list_requests(imports=("usb_register_driver",)) == ()


def _name_other_section(data: bytes, number: int) -> bytes:
    """The module with sh_link of its relocations set to `number`. Source: elf(5), Elf64_Shdr."""
    changed = bytearray(data)
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    for header in range(start, start + size * count, size):
        if struct.unpack_from("<I", data, header + 4) == (SHT_RELA,):
            struct.pack_into("<I", changed, header + 40, number)
    return bytes(changed)


CALLING = elf.module(INFO, imports=("load_nls",), calls=(("load_nls", "utf8"),))


@pytest.mark.parametrize("number", [100, 0xFFFFFFFF])
def test_relocations_of_a_section_that_is_not_there_are_damage(number: int) -> None:
    damaged = _name_other_section(CALLING, number)
    assert read_facts(PATH, damaged) == Malformed(
        f"its relocations name a section that it does not have ({number})"
    )


def test_strings_that_are_longer_than_any_name_do_not_add_up() -> None:
    """A relocation of 24 bytes may name all of .rodata again, from its next byte on."""
    calls = [("load_nls", "x" * 60000), *(("load_nls", f"{'y' * 100}{n}") for n in range(3000))]
    found = read_facts(PATH, elf.module(INFO, imports=("load_nls",), calls=calls))
    assert isinstance(found, Module)
    assert max(map(len, found.requests)) == len("nls_") + MAX_TEXT


@given(at=st.integers(0, 6000), to=st.integers(0, 255), cut=st.integers(0, 6000))
def test_damaged_relocations_are_no_traceback(at: int, to: int, cut: int) -> None:
    calls = (("load_nls", "utf8"), ("__request_module", "tls"))
    imports = ("load_nls", "__request_module")
    data = bytearray(elf.module(INFO, imports=imports, calls=calls))
    data[at % len(data)] = to
    read_facts(PATH, bytes(data[: max(4, len(data) - cut)]))
