"""What an image starts as a root, read like any other root: a UKI, a disk, an initramfs."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.facts.root.types import Found, place
from minbuild.facts.types import Kind
from minbuild.image.cpio import Member
from minbuild.image.packings import Tool
from minbuild.image.unpack import members
from minbuild.lab.uki import read_uki
from minbuild.paths import spelled
from minbuild.subject import disk
from minbuild.subject.image import whole

_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.LINK, stat.S_IFDIR: Kind.DIRECTORY}


class Inside:
    """The files of an image, as its kernel would unpack them, and that kernel."""

    def __init__(self, path: Path, tool: Tool, raw: Path | None = None) -> None:
        """Read an image; `tool` unpacks what Python does not. `raw`: a disk, not packed.

        Raises: UsageError when nothing in it starts, NoUki of a sound disk; ToolError.
        """
        self.path = path
        self._tool = tool
        self._raw = raw
        self._members = self._read()

    @property
    def name(self) -> str:
        return str(self.path)

    def walk(self) -> Iterator[Found]:
        """Every file, link and directory, sorted; the second name of a file is a hard link.

        Raises: MinbuildError when the image is damaged.
        """
        first: dict[int, str] = {}
        for raw, one in self._members.items():
            kind = _KINDS.get(stat.S_IFMT(one.mode), Kind.OTHER)
            target = spelled(one.content) if kind is Kind.LINK else ""
            if kind is Kind.FILE and first.setdefault(one.inode, raw) != raw:
                kind, target = Kind.HARDLINK, first[one.inode]
            size = len(one.content) if kind is Kind.FILE else 0
            yield Found(
                place(spelled(raw), kind), raw, kind, stat.S_IMODE(one.mode), one.uid, one.gid, size,
                target,
            )  # fmt: skip

    def read(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self._members[raw].content

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        return ((raw, self.read(raw)[:size]) for raw in raws)

    def view(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self.read(raw)

    def _read(self) -> Mapping[str, Member]:
        data = self._started() if self._raw is not None else whole(self.path)
        kernel: list[tuple[str, Member]] = []
        machine = 0
        if data.startswith(b"MZ"):
            uki = read_uki(data, self.name)
            if uki.uname:
                raw = f"boot/vmlinuz-{uki.uname}"
                path = place(raw, Kind.FILE)
                body = Member(path, stat.S_IFREG | 0o644, 0, 0, 0, 1, 0, uki.linux)
                kernel.append((raw, body))
            data, machine = uki.initrd, uki.machine
        found = members(data, where=self.name, tool=self._tool, machine=machine)
        return dict(sorted((*kernel, *found.items())))

    def _started(self) -> bytes:
        """The UKI that a disk starts."""
        assert self._raw is not None
        with self._raw.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return disk.boot_file(data, self.name)
