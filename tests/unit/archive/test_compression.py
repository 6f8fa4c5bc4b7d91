"""Compressed indices: every member, whole, and no more than may come."""

import bz2
import contextlib
import gzip
import lzma
import time
from collections.abc import Callable

import pytest

from minbuild.archive.index import parse_depends
from minbuild.archive.packages_file import PackageIndexFile, encode_index
from minbuild.errors import ArchiveError
from minbuild.formats import compression
from minbuild.formats.compression import INDEX_ENDINGS, decompress_index
from tests.unit.archive.conftest import PACKAGES, World

TEXT = b"Package: a\n\n" * 50
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
}


def packed(ending: str, *parts: bytes) -> bytes:
    return b"".join(PACK[ending](part) if ending else part for part in parts)


@pytest.mark.parametrize("parts", [(TEXT,), (TEXT, b"more\n"), (b"", TEXT, b"", b"x\n"), (b"",)])
@pytest.mark.parametrize("ending", INDEX_ENDINGS)
def test_every_member_is_read(ending: str, parts: tuple[bytes, ...]) -> None:
    data = packed(ending, *parts)
    whole = b"".join(parts)
    assert decompress_index(data, f"main/Packages{ending}", "it") == whole
    assert decompress_index(data, f"main/Packages{ending}", "it", size=len(whole)) == whole


@pytest.mark.parametrize("ending", PACK)
def test_zeros_may_follow(ending: str) -> None:
    assert decompress_index(packed(ending, TEXT) + bytes(8), f"P{ending}", "it") == TEXT
    assert decompress_index(packed(ending, TEXT) + bytes(4) + packed(ending, b"x"), f"P{ending}", "it") == TEXT + b"x"  # fmt: skip


@pytest.mark.parametrize("ending", PACK)
def test_what_is_cut_off_or_followed_by_something_else_is_an_error(ending: str) -> None:
    data = packed(ending, TEXT, TEXT)
    for cut in range(len(data)):
        if cut != len(data) // 2 or packed(ending, TEXT) * 2 != data:
            with pytest.raises(ArchiveError, match="it cannot be unpacked"):
                decompress_index(data[:cut], f"P{ending}", "it")
    with pytest.raises(ArchiveError, match="it cannot be unpacked"):
        decompress_index(data + b"junk", f"P{ending}", "it")


@pytest.mark.parametrize("ending", INDEX_ENDINGS)
@pytest.mark.parametrize("size", [0, len(TEXT) - 1, len(TEXT) + 1])
def test_another_size_than_the_release_says_is_an_error(ending: str, size: int) -> None:
    with pytest.raises(ArchiveError, match=f"it unpacks to .*{'more than ' if size < len(TEXT) else ''}"):  # fmt: skip
        decompress_index(packed(ending, TEXT), f"P{ending}", "it", size=size)


@pytest.mark.parametrize("ending", PACK)
def test_a_bomb_is_left_at_the_limit(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_INDEX_SIZE", 1 << 16)
    bomb = packed(ending, bytes(1 << 24))
    for size in (-1, 1 << 40):
        with pytest.raises(ArchiveError, match="more than 65536 bytes"):
            decompress_index(bomb, f"P{ending}", "it", size=size)
    with pytest.raises(ArchiveError, match="more than 10000 members"):
        decompress_index(packed(ending, b"") * 10_001, f"P{ending}", "it")


def test_an_index_of_two_members_has_the_packages_of_both(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, ending=".gz", members=2)
    index = world.open()
    assert all(
        index.find_package(name) for name in ("hello", "libhello1", "small-greeter", "hello-doc")
    )


HUGE: dict[str, tuple[bytes, str]] = {
    "names": (b"\n\n".join(b"Package: %x" % n for n in range(1_000_002)), "1000000 packages"),
    "lines": (b"\n" * 12_000_001, "12000000 lines"),
    "one line": (b"Package: a\nDepends: " + b"x" * 300_000, "262144 bytes"),
    "provides": (b"Package: a\nProvides: " + b"a (" * 100_000, "262144 bytes"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_an_index_beyond_any_archives_is_refused(kind: str) -> None:
    data, reason = HUGE[kind]
    with pytest.raises(ArchiveError, match=reason):
        encode_index(data)


@pytest.mark.parametrize("field", ["Provides", "Depends"])
@pytest.mark.parametrize("text", ["a (", "a [", "a <", "a|", "a,", "a:b ", "( ", "a (>= 1) "])
def test_fields_of_any_text_are_read_in_linear_time(field: str, text: str) -> None:
    """`a (a (a (` took the square of its length."""
    value = text * (200_000 // len(text))
    began = time.process_time()
    packed = encode_index(f"Package: a\nVersion: 1\n{field}: {value}\n".encode())
    kept = PackageIndexFile(memoryview(packed))
    with contextlib.suppress(ArchiveError):
        parse_depends(kept.find_stanzas("a")[0])
    kept.find_providers("a")
    assert time.process_time() - began < 5


def test_a_field_provides_is_read_in_every_form() -> None:
    text = (
        b"Package: one\nProvides: greeter (= 1.0),\n far-greeter,\n\tlast:any (= 2)\nSize: 1\n\n"
        b"Package: two\nMaintainer: J\xf6rg\nProvides: greeter, not-a-greeter-at-all\n\n"
        b"Package: greeter-docs\nDescription: Provides: greeter\n"
    )
    index = PackageIndexFile(memoryview(encode_index(text)))
    assert index.find_providers("greeter") == ["one", "two"]
    assert index.find_providers("far-greeter") == index.find_providers("last") == ["one"]
    assert index.find_providers("a-greeter") == index.find_providers("") == []
    assert index.find_stanzas("two")[0].startswith("Package: two\nMaintainer: J")


def test_a_name_without_a_lines_end_is_a_name() -> None:
    assert PackageIndexFile(memoryview(encode_index(b"Package: a"))).find_names("") == ["a"]


@pytest.mark.parametrize("name", ["a\x1b[2J", "a b (", "-a", "a" * 300])
def test_a_dependency_that_is_none_is_refused_and_printed_nowhere(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArchiveError, match="malformed entry of a ") as caught:
        parse_depends(f"Package: a\nDepends: {name}\n")
    assert "\x1b" not in caught.value.what
    assert capfd.readouterr() == ("", "")
