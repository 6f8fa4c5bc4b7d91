"""File systems and partition tables as others make them: by mke2fs, and by hand for odd ones."""

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.unit.toolbox.real import toolbox

ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
START = 1 << 20


def ext4(tree: Path, path: Path, size: str, *more: str) -> Path:
    """An ext4 file system of `size` (12M) with the files of a directory; `more` is for mke2fs."""
    argv: list[str | Path] = ["-q", "-F", "-t", "ext4", *more, "-d", tree, path, size]
    toolbox().run("mke2fs", argv, purpose="making a file system")
    return path


@dataclass(frozen=True)
class Part:
    """A partition of a disk that a test makes."""

    data: bytes
    kind: str = LINUX
    name: str = ""
    attributes: int = 0


def gpt(parts: Sequence[Part], sector: int = 512, *, numbers: Sequence[int] = ()) -> bytes:
    """A disk with a GPT in both copies; partitions lie in a row from 1 MiB, 1 MiB is left behind."""
    table = bytearray(128 * 128)
    body, at = bytearray(), START // sector
    for index, part in enumerate(parts):
        number = numbers[index] if numbers else index + 1
        data = part.data + bytes(-len(part.data) % sector)
        unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{index}")
        row = struct.pack(
            "<16s16sQQQ72s", uuid.UUID(part.kind).bytes_le, unique.bytes_le, at,
            at + len(data) // sector - 1, part.attributes, part.name.encode("utf-16-le"),
        )  # fmt: skip
        table[128 * (number - 1) : 128 * number] = row
        body += data
        at += len(data) // sector
    rows = len(table) // sector
    total = at + START // sector
    disk = bytearray(total * sector)
    disk[446:462] = struct.pack("<8BII", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, total - 1)
    disk[510:512] = b"\x55\xaa"
    disk[START : START + len(body)] = body
    for mine, other, entries in ((1, total - 1, 2), (total - 1, 1, total - 1 - rows)):
        head = struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, mine, other, 2 + rows,
            total - 2 - rows, uuid.uuid5(uuid.NAMESPACE_OID, "disk").bytes_le, entries, 128, 128,
            zlib.crc32(table),
        )  # fmt: skip
        head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
        disk[mine * sector : mine * sector + len(head)] = head
        disk[entries * sector : entries * sector + len(table)] = table
    return bytes(disk)


def dos(parts: Sequence[Part], *, kind: int = 0x83) -> bytes:
    """A disk with a DOS table of up to four primary partitions, in a row from 1 MiB."""
    head, body = bytearray(START), bytearray()
    head[510:512] = b"\x55\xaa"
    for number, part in enumerate(parts):
        start = (START + len(body)) // 512
        body += part.data + bytes(-len(part.data) % 512)
        row = struct.pack("<4xB3xII", kind, start, -(-len(part.data) // 512))
        head[446 + 16 * number : 462 + 16 * number] = row
    return bytes(head + body)


def convert_disk(disk: bytes, path: Path, *options: str) -> Path:
    """A disk as qemu-img writes it, in the format that the file's name ends with."""
    raw = path.with_suffix(".source")
    raw.write_bytes(disk)
    argv: list[str | Path] = [
        "convert",
        "-q",
        "-f",
        "raw",
        "-O",
        path.suffix[1:],
        *options,
        raw,
        path,
    ]
    toolbox().run("qemu-img", argv, purpose="making a disk image")
    return path
