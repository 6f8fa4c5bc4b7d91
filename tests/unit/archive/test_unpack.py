"""Compressed indices: every member, whole, and no more than may come."""

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest

from minbuild.archive import unpack as module
from minbuild.archive.unpack import ENDINGS, unpack
from minbuild.errors import ArchiveError
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
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_member_is_read(ending: str, parts: tuple[bytes, ...]) -> None:
    data = packed(ending, *parts)
    whole = b"".join(parts)
    assert unpack(data, f"main/Packages{ending}", "it") == whole
    assert unpack(data, f"main/Packages{ending}", "it", size=len(whole)) == whole


@pytest.mark.parametrize("ending", PACK)
def test_zeros_may_follow(ending: str) -> None:
    assert unpack(packed(ending, TEXT) + bytes(8), f"P{ending}", "it") == TEXT
    assert unpack(packed(ending, TEXT) + bytes(4) + packed(ending, b"x"), f"P{ending}", "it") == TEXT + b"x"  # fmt: skip


@pytest.mark.parametrize("ending", PACK)
def test_what_is_cut_off_or_followed_by_something_else_is_an_error(ending: str) -> None:
    data = packed(ending, TEXT, TEXT)
    for cut in range(len(data)):
        if cut != len(data) // 2 or packed(ending, TEXT) * 2 != data:
            with pytest.raises(ArchiveError, match="it cannot be unpacked"):
                unpack(data[:cut], f"P{ending}", "it")
    with pytest.raises(ArchiveError, match="it cannot be unpacked"):
        unpack(data + b"junk", f"P{ending}", "it")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("size", [0, len(TEXT) - 1, len(TEXT) + 1])
def test_another_size_than_the_release_says_is_an_error(ending: str, size: int) -> None:
    with pytest.raises(ArchiveError, match=f"it unpacks to .*{'more than ' if size < len(TEXT) else ''}"):  # fmt: skip
        unpack(packed(ending, TEXT), f"P{ending}", "it", size=size)


@pytest.mark.parametrize("ending", PACK)
def test_a_bomb_is_left_at_the_limit(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1 << 16)
    bomb = packed(ending, bytes(1 << 24))
    for size in (-1, 1 << 40):
        with pytest.raises(ArchiveError, match="more than 65536 bytes"):
            unpack(bomb, f"P{ending}", "it", size=size)
    with pytest.raises(ArchiveError, match="more than 10000 members"):
        unpack(packed(ending, b"") * 10_001, f"P{ending}", "it")


def test_an_index_of_two_members_has_the_packages_of_both(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, ending=".gz", members=2)
    index = world.open()
    assert all(index.package(name) for name in ("hello", "libhello1", "small-greeter", "hello-doc"))
