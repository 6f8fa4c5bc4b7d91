"""A root on a disk image: the partition that boots, and its file system, read without mounting it."""

from collections.abc import Callable, Iterable
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.facts.root import filesystems
from minbuild.facts.root.filesystems import INITS, RELEASES, Candidate, Content
from minbuild.facts.root.images import Format, format_of
from minbuild.facts.root.named import meant, written
from minbuild.facts.root.partitions import has_signature, read_table
from minbuild.facts.root.systems import file_system, open_system
from minbuild.facts.root.tarball import damaged
from minbuild.facts.root.types import Readers, Source
from minbuild.facts.root.volume import find

_PIECE = 1 << 20


Words = Callable[[mmap, str], Iterable[str]]


def is_disk(head: bytes) -> bool:
    """Tell a disk image by its first 128 KiB."""
    if format_of(head) is not Format.RAW or has_signature(head) or head[510:512] == b"\x55\xaa":
        return True
    return filesystems.content(head, 0) is not Content.UNKNOWN


def open_disk(
    path: Path, raw: Path, work: Path, readers: Readers, arch: str, words: Words | None = None
) -> tuple[Source, bool]:
    """Open the root on a disk, whose raw form is `raw`, and say whether it is packed there.

    What else the disk holds is told. `work`: a directory that lasts as long. `arch`: of the
    machine that it is for, "" for any. `words`: gives more values of root= on the disk.
    Raises: UsageError when there is none, or several may be; ToolError when it is damaged.
    """
    with raw.open("rb") as file:
        if not raw.stat().st_size:
            raise damaged("the disk is empty", str(path))
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    table = read_table(data, str(path))
    found = filesystems.candidates(data, table)

    def named() -> tuple[Candidate, ...]:
        more = words(data, str(path)) if words is not None else ()
        return meant(data, found, (*written(data, found, str(path)), *more))

    choice = filesystems.choose(
        found, str(path), asked=readers.partition, arch=arch, named=named,
        holds=lambda one: _boots(data, one, path),
    )  # fmt: skip
    chosen = choice.chosen
    if table.doubt:
        readers.note(f"{path}: {table.doubt}")
    if choice.others:
        others = "; ".join(map(str, choice.others))
        readers.note(f"{path}: partition {chosen} is read, since {choice.why}; not read: {others}")
    return open_system(path, data, chosen, work, readers)


def tell_others(path: Path, raw: Path, note: Callable[[str], None]) -> None:
    """Tell of the file systems on a disk of which the UKI is read that it starts."""
    with raw.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        found = filesystems.candidates(data, read_table(data, str(path)))
    others = [one for one in found if one.content in filesystems.MOUNTED]
    if others:
        listed = "; ".join(map(str, others))
        note(f"{path}: the UKI that it starts is read; not read: {listed} (--partition N)")


def _boots(data: mmap, one: Candidate, path: Path) -> bool:
    """Whether a file system holds what a kernel starts, or says which system it is."""
    try:
        fs = file_system(data, one, str(path))
        return fs is None or any(find(fs, name) is not None for name in (*INITS, *RELEASES))
    except ToolError:
        return False
