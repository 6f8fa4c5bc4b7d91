import ast
from pathlib import Path

import pytest

import minbuild
from minbuild.formats.magic import (
    DISKS,
    HEAD_SIZE,
    MAGIC_NUMBERS,
    PARTITION_CONTENTS,
    Format,
    detect_format,
    has_magic,
)


@pytest.mark.parametrize(("offset", "magic", "kind"), MAGIC_NUMBERS)
def test_a_format_is_known_by_its_magic_number(offset: int, magic: bytes, kind: Format) -> None:
    data = bytes(7 + offset) + magic + bytes(4)
    assert detect_format(data, frozenset(Format), 7) is kind
    assert has_magic(data, kind, 7)
    assert not has_magic(data[:-5], kind, 7)


def test_every_format_has_a_magic_number() -> None:
    assert {kind for _, _, kind in MAGIC_NUMBERS} == set(Format)


def test_the_first_of_several_formats_counts() -> None:
    """An NTFS volume also has the word FAT where a FAT volume may have it."""
    head = bytearray(HEAD_SIZE)
    head[3:11], head[54:57], head[510:512] = b"NTFS    ", b"FAT", b"\x55\xaa"
    assert detect_format(bytes(head), PARTITION_CONTENTS) is Format.NTFS
    assert detect_format(bytes(head), DISKS) is Format.NTFS
    assert detect_format(bytes(head), ()) is None


def test_no_other_module_has_a_magic_number() -> None:
    top = Path(minbuild.__file__).parent
    known = {magic for _, magic, _ in MAGIC_NUMBERS}
    for path in top.rglob("*.py"):
        if path == top / "formats/magic.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                assert node.value not in known, (
                    f"{path.relative_to(top)}:{node.lineno}: use formats/magic.py for {node.value!r}"
                )
