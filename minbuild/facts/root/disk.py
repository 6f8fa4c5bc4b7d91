"""A root on a disk image: its ext2, ext3 or ext4 file system, read without mounting it.

Source: UEFI 2.10, 5.3 (GPT); ext4's kernel documentation, "Super Block"; debugfs(8).
"""

import re
import struct
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock

from minbuild.errors import ToolError
from minbuild.facts.elftable import Bytes
from minbuild.facts.root.tarball import damaged
from minbuild.facts.root.types import Found, Program, place
from minbuild.facts.sniff import linked
from minbuild.facts.types import Kind

SECTOR = 512
_KINDS = {0o10: Kind.FILE, 0o12: Kind.LINK, 0o04: Kind.DIRECTORY}
_MOST = 128
"""Entries of a partition table that are looked at."""
_DEEPEST = 64
_BATCH = 256
"""Files that are dumped at once."""
_CAPABILITY = re.compile(r"security\.capability \(\d+\) = ((?:[0-9a-f]{2}[ \n]*)+)")


class Disk:
    """Reads the largest ext file system of an image."""

    def __init__(self, path: Path, work: Path, debugfs: Program) -> None:
        self.path = path
        self._work = work
        self._debugfs = debugfs
        self._device = f"{path.absolute()}?offset={_offset(path)}"
        self._inodes: dict[str, int] = {}
        self._kept: dict[str, Path] = {}
        self._alone = Lock()
        """Held while debugfs writes to the work directory: readers may be several threads."""

    @property
    def name(self) -> str:
        return str(self.path)

    def walk(self) -> Iterator[Found]:
        """Raises: ToolError when there is no debugfs to be had, or the file system is damaged."""
        level, first = [""], dict[int, str]()
        for _ in range(_DEEPEST):
            answers = self._ask([f"ls -p {_quoted(raw)}" for raw in level])
            deeper = []
            for raw, text in zip(level, answers, strict=True):
                for found in self._rows(raw, text, first):
                    if found.kind is Kind.DIRECTORY:
                        deeper.append(found.raw)
                    yield found
            level = deeper
            if not level:
                return

    def read(self, raw: str) -> bytes:
        """The bytes of a file."""
        if raw in self._kept:
            return self._kept[raw].read_bytes()
        ((_, data),) = self.contents([raw])
        return data

    def contents(self, raws: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The bytes of many files that `walk` named, in their order, some hundred at a time."""
        for start in range(0, len(raws), _BATCH):
            part = raws[start : start + _BATCH]
            places = [self._work / f"content-{number}" for number in range(len(part))]
            pairs = list(zip(part, places, strict=True))
            with self._alone:
                self._ask([f"dump <{self._inodes[raw]}> {place}" for raw, place in pairs])
                found = [(raw, dumped.read_bytes()) for raw, dumped in pairs]
                for dumped in places:
                    dumped.unlink()
            yield from found

    def capabilities(self, raws: Sequence[str]) -> dict[str, bytes]:
        """The extended attribute security.capability of those files that have one."""
        answers = self._ask([f"stat <{self._inodes[raw]}>" for raw in raws])
        marks = {raw: _CAPABILITY.search(text) for raw, text in zip(raws, answers, strict=True)}
        return {raw: bytes.fromhex(mark[1]) for raw, mark in marks.items() if mark is not None}

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files; ELF objects and scripts stay at hand."""
        kept = self._work / "objects"
        kept.mkdir(exist_ok=True)
        for raw, data in self.contents(raws):
            if linked(data) or data.startswith(b"#!"):
                self._kept[raw] = kept / str(len(self._kept))
                self._kept[raw].write_bytes(data)
            yield raw, data[:size]

    def view(self, raw: str) -> Bytes:
        """The bytes of a file."""
        place = self._kept.get(raw)
        if place is None:
            return self.read(raw)
        with place.open("rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ)

    def _rows(self, directory: str, text: str, first: dict[int, str]) -> Iterator[Found]:
        links, rows = [], []
        for line in text.splitlines():
            fields = line.split("/")
            if len(fields) != 8 or fields[5] in ("", ".", "..") or fields[1] == "0":
                continue
            inode, mode, uid, gid = (
                int(fields[1]),
                int(fields[2], 8),
                int(fields[3]),
                int(fields[4]),
            )
            kind = _KINDS.get(mode >> 12)
            if kind is None:
                continue
            raw = f"{directory}/{fields[5]}".lstrip("/")
            self._inodes[raw] = inode
            links += [raw] if kind is Kind.LINK else []
            rows.append((raw, kind, mode, uid, gid, int(fields[6] or 0), inode))
        targets = dict(zip(links, self._targets(links), strict=True))
        for raw, kind, mode, uid, gid, size, inode in rows:
            target = targets.get(raw, "")
            if kind is Kind.FILE and first.setdefault(inode, raw) != raw:
                kind, target = Kind.HARDLINK, first[inode]  # noqa: PLW2901
            bits = 0o777 if kind is Kind.LINK else mode & 0o7777
            length = size if kind in (Kind.FILE, Kind.HARDLINK) else 0
            yield Found(place(raw, kind), raw, kind, bits, uid, gid, length, target)

    def _targets(self, links: Sequence[str]) -> list[str]:
        """The texts of links: debugfs shows short ones, and dumps long ones like files."""
        found = []
        for raw, text in zip(
            links, self._ask([f"stat {_quoted(raw)}" for raw in links]), strict=True
        ):
            _, marked, rest = text.partition('Fast link dest: "')
            found.append(rest.rpartition('"')[0] if marked else self.read(raw).decode("utf-8"))
        return found

    def _ask(self, commands: Sequence[str]) -> list[str]:
        """Run commands of debugfs in one process; returns what each one said."""
        if not commands:
            return []
        script = self._work / "commands"
        script.write_text("\n".join(commands) + "\n", encoding="utf-8")
        text = self._debugfs(["-f", script, self._device]).decode("utf-8", "surrogateescape")
        answers = text.split("debugfs: ")[1:]
        if len(answers) != len(commands):
            raise damaged("its file system cannot be read", self.name)
        return [answer.partition("\n")[2] for answer in answers]


def is_disk(path: Path) -> bool:
    """Tell a disk image by what it begins with."""
    with path.open("rb") as file:
        head = file.read(2048)
    return head[510:512] == b"\x55\xaa" or head[1080:1082] == b"\x53\xef" or head[:4] == b"QFI\xfb"


def _offset(path: Path) -> int:
    """Where the largest ext file system begins. Raises: ToolError when there is none."""
    with path.open("rb") as file:
        head = file.read(4)
        if head == b"QFI\xfb":
            raise ToolError(
                "the root is on a qcow2 disk, which is not read as it is",
                where=str(path),
                fix=f"convert it: qemu-img convert -O raw {path.name} {path.stem}.raw",
            )
        sizes = []
        for start in (0, *_partitions(path)):
            file.seek(start + 1024)
            block = file.read(1024)
            if block[56:58] == b"\x53\xef":
                blocks, log = struct.unpack_from("<I16xI", block, 4)
                sizes.append((blocks << (10 + min(log, 6)), -start))
    if not sizes:
        raise damaged("the disk has no ext2, ext3 or ext4 file system", str(path))
    return -max(sizes)[1]


def _partitions(path: Path) -> Iterator[int]:
    """Where partitions begin, by GPT or else by MBR."""
    with path.open("rb") as file:
        table = file.read(2 * SECTOR + _MOST * 128)
    if table[SECTOR : SECTOR + 8] == b"EFI PART":
        for number in range(_MOST):
            entry = table[2 * SECTOR + 128 * number :][:128]
            if len(entry) == 128 and any(entry[:16]):
                yield struct.unpack_from("<Q", entry, 32)[0] * SECTOR
    elif table[510:512] == b"\x55\xaa":
        for number in range(4):
            start = struct.unpack_from("<I", table, 446 + 16 * number + 8)[0]
            if start:
                yield start * SECTOR


def _quoted(raw: str) -> str:
    return '"/' + raw.replace('"', '""') + '"'
