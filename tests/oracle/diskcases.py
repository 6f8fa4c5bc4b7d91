"""Disks from a generator with a fixed seed: partition tables by sfdisk, file systems by mke2fs."""

import os
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.unit.toolbox.real import toolbox

SEED = 20260731
MIB = 1 << 20
GPT_TYPES = (
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
    "21686148-6449-6E6F-744E-656564454649", "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
)  # fmt: skip
DOS_TYPES = ("83", "82", "c", "ef", "7", "8e", "fd", "a5")
NAMES = ("", "root", "data 1", "größe", "数据", "a" * 36, "it's", "back/slash")
DAMAGE = ("", "", "", "first head", "first rows", "second head", "second rows", "both heads")


@dataclass(frozen=True)
class Table:
    """A disk with a partition table; `place` is its image."""

    name: str
    place: Path
    sector: int


def tables(directory: Path, count: int, seed: int = SEED) -> Iterator[Table]:
    """Disks as sfdisk partitions them, some damaged after that."""
    source = random.Random(seed)
    for number in range(count):
        gpt = source.random() < 0.6
        sector = source.choice((512, 512, 4096)) if gpt else 512
        path = directory / f"table-{number}.raw"
        script = _gpt(source, sector) if gpt else _dos(source)
        with path.open("wb") as file:
            file.truncate(64 * MIB)
        argv: list[str | Path] = [
            "-q",
            "--no-reread",
            "--no-tell-kernel",
            "--sector-size",
            str(sector),
            path,
        ]
        toolbox().run("sfdisk", argv, purpose="making a table", stdin=script.encode())
        damage = source.choice(DAMAGE) if gpt else ""
        _damage(path, sector, damage, source)
        yield Table(f"{number}: {'gpt' if gpt else 'dos'} {sector} {damage}", path, sector)


def _gpt(source: random.Random, sector: int) -> str:
    lines = ["label: gpt"]
    if source.random() < 0.2:
        lines.append(f"table-length: {source.choice((4, 32, 256))}")
        limit = 4
    else:
        limit = 128
    at = MIB // sector
    numbers = sorted(source.sample(range(1, limit + 1), source.randint(0, min(6, limit))))
    source.shuffle(numbers)
    for number in numbers:
        size = source.randint(1, 8) * MIB // sector
        name = source.choice(NAMES)
        attributes = ', attrs="GUID:63"' if source.random() < 0.2 else ""
        lines.append(
            f"disk{number} : start={at}, size={size}, type={source.choice(GPT_TYPES)}"
            + (f', name="{name}"' if name else "") + attributes
        )  # fmt: skip
        at += size + source.choice((0, MIB // sector))
    return "\n".join(lines) + "\n"


def _dos(source: random.Random) -> str:
    lines, at = ["label: dos", f"label-id: {source.getrandbits(32):#010x}"], 2048
    extended = source.random() < 0.6
    for number in sorted(source.sample((1, 2, 3), source.randint(0, 3))):
        size = source.randint(1, 6) * 2048
        lines.append(f"disk{number} : start={at}, size={size}, type={source.choice(DOS_TYPES)}")
        at += size
    if extended:
        kind = source.choice(("5", "f", "85"))
        lines.append(f"disk4 : start={at}, size={128 * 1024 - at}, type={kind}")
        for number in range(5, 5 + source.randint(0, 7)):
            at += 2048
            size = source.randint(1, 3) * 2048
            lines.append(f"disk{number} : start={at}, size={size}, type={source.choice(DOS_TYPES)}")
            at += size
    return "\n".join(lines) + "\n"


def _damage(path: Path, sector: int, damage: str, source: random.Random) -> None:
    with path.open("r+b") as file:
        last = path.stat().st_size - sector
        file.seek(last + 72)
        (rows,) = struct.unpack("<Q", file.read(8))
        places = {"first head": [sector], "first rows": [2 * sector], "second head": [last],
                  "second rows": [rows * sector], "both heads": [sector, last]}  # fmt: skip
        for at in places.get(damage, []):
            # a byte that the checksum covers
            file.seek(at + source.randint(24, 87))
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1 << source.randint(0, 7)]))


@dataclass(frozen=True)
class System:
    """A file system that mke2fs made of a tree."""

    name: str
    options: Sequence[str]
    size: str = "24M"


SYSTEMS = (
    System("ext2 1k", ("-t", "ext2", "-b", "1024")),
    System("ext2 4k, small inodes", ("-t", "ext2", "-b", "4096", "-I", "128")),
    System("ext2 without types", ("-t", "ext2", "-O", "^filetype,^dir_index")),
    System("ext2 of revision 0", ("-t", "ext2", "-E", "revision=0", "-b", "1024")),
    System("ext3", ("-t", "ext3")),
    System("ext3 2k", ("-t", "ext3", "-b", "2048")),
    System("ext4", ("-t", "ext4")),
    System("ext4 1k", ("-t", "ext4", "-b", "1024")),
    System("ext4 2k, large inodes", ("-t", "ext4", "-b", "2048", "-I", "1024")),
    System("ext4 64k", ("-t", "ext4", "-b", "65536", "-O", "^has_journal"), "64M"),
    System("ext4 of 32 bits", ("-t", "ext4", "-O", "^64bit,^metadata_csum")),
    System("ext4 without extents", ("-t", "ext4", "-O", "^extent,^64bit,^has_journal")),
    System("ext4 with meta groups", ("-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "1024")),
    System("ext4 with meta groups, 4k", ("-t", "ext4", "-O", "meta_bg,^resize_inode,^flex_bg", "-g", "512")),
    System("ext4 with small groups", ("-t", "ext4", "-b", "1024", "-g", "512", "-O", "^flex_bg")),
    System("ext4 with clusters", ("-t", "ext4", "-O", "bigalloc", "-C", "16384")),
    System("ext4 with clusters of 1k blocks", ("-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "8192")),
    System("ext4 with data in inodes", ("-t", "ext4", "-O", "inline_data", "-I", "256")),
    System("ext4 with data in large inodes", ("-t", "ext4", "-O", "inline_data", "-I", "512", "-b", "1024")),
    System("ext4 with attributes in inodes", ("-t", "ext4", "-O", "ea_inode")),
    System("ext4 with two backups", ("-t", "ext4", "-O", "sparse_super2", "-b", "1024", "-g", "1024")),
    System("ext4 with folded names", ("-t", "ext4", "-O", "casefold,large_dir", "-E", "encoding=utf8")),
    System("ext4 with all backups", ("-t", "ext4", "-O", "^sparse_super,^resize_inode", "-b", "1024", "-g", "2048")),
    System("ext4 without a journal", ("-t", "ext4", "-O", "^has_journal,uninit_bg,^metadata_csum")),
)  # fmt: skip


def tree(top: Path, seed: int = SEED) -> Path:
    """Files of many sizes, holes, links, hard links, odd names, a directory of 700 names."""
    source = random.Random(seed)
    top.mkdir()
    sizes = [0, 1, 59, 60, 61, 100, 155, 160, 1023, 1024, 4096, 5000, 70_000, 300_000]
    for number, size in enumerate(sizes):
        (top / f"file{number}").write_bytes(source.randbytes(size))
    with (top / "holes").open("wb") as file:
        for at in (0, 20_000, 400_000, 68_000_000):
            file.seek(at)
            file.write(source.randbytes(3000))
        file.truncate(68_100_000)
    many = top / "many"
    many.mkdir()
    for number in range(700):
        (many / f"{number:03}{'n' * source.randint(0, 60)}").write_bytes(b"")
    deep = top
    for number in range(12):
        deep /= f"d{number}"
        deep.mkdir()
        (deep / "x").write_text(str(number))
    for length in (1, 59, 60, 61, 120, 900):
        (top / f"link{length}").symlink_to("t" * length)
    for name in (
        b"new\nline",
        b"cr\r",
        b"\xff\xfe",
        b"debugfs: x",
        b'"q"',
        b"s p a",
        b"\\",
        b"z" * 255,
    ):
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(name)
    os.link(top / "file3", top / "many/again")
    os.link(top / "file12", deep / "again")
    (top / "file5").chmod(0o4755)
    (top / "d0").chmod(0o1777)
    return top
