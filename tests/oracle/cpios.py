"""Initramfs archives of every kind that a stranger may write, from a fixed seed."""

import bz2
import gzip
import lzma
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

REG, DIR, LNK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
TRAILER = b"TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One member; what is None is what is usual."""

    name: bytes
    mode: int
    body: bytes = b""
    inode: int = 0
    links: int = 1
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)
    disk: tuple[int, int] = (0, 0)
    magic: bytes = b"070701"
    sum: int | None = None
    raw: bytes | None = None
    """The name's bytes with all that ends it."""


def archive(entries: Sequence[Entry], *, trailer: bool = True) -> bytes:
    """Write members as newc or crc."""
    out = bytearray()
    for entry in (*entries, *([Entry(TRAILER, 0)] if trailer else [])):
        name = entry.raw if entry.raw is not None else entry.name + b"\0"
        total = sum(entry.body) & 0xFFFFFFFF if entry.magic == b"070702" else 0
        fields = (
            entry.inode, entry.mode, entry.uid, entry.gid, entry.links, 0, len(entry.body),
            *entry.disk, *entry.device, len(name), total if entry.sum is None else entry.sum,
        )  # fmt: skip
        out += entry.magic + b"".join(b"%08x" % one for one in fields) + name
        out += bytes(-len(out) % 4)
        out += entry.body
        out += bytes(-len(out) % 4)
    return bytes(out)


def file(name: bytes, body: bytes = b"x", mode: int = 0o644, **more: object) -> Entry:
    return replace(Entry(name, REG | mode, body), **more)  # type: ignore[arg-type]


def directory(name: bytes, mode: int = 0o755, **more: object) -> Entry:
    return replace(Entry(name, DIR | mode, links=2), **more)  # type: ignore[arg-type]


def link(name: bytes, target: bytes, **more: object) -> Entry:
    return replace(Entry(name, LNK | 0o777, target), **more)  # type: ignore[arg-type]


def node(name: bytes, kind: int, mode: int = 0o600, device: tuple[int, int] = (1, 3)) -> Entry:
    return Entry(name, kind | mode, device=device)


def known_cases(top: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """What was thought of, each below a directory of its own: a title, and the archives."""

    def at(name: bytes) -> bytes:
        return top + b"/" + name

    def one(*entries: Entry) -> list[bytes]:
        return [archive((directory(top), *entries))]

    suid = file(at(b"su"), b"evil", 0o4755)
    yield (
        "the body of a trailer",
        [
            archive((directory(top),), trailer=False)
            + archive((Entry(TRAILER, REG, archive((suid,)), links=1),), trailer=False)
        ],
    )
    yield (
        "a trailer with a body that is no file",
        [archive((directory(top), Entry(TRAILER, DIR, archive((suid,)))), trailer=False)],
    )
    yield (
        "a file through a link to a directory",
        one(
            directory(at(b"real")), link(at(b"way"), b"real"), file(at(b"way/su"), b"evil", 0o4755)
        ),
    )
    yield (
        "a file through an absolute link",
        one(
            directory(at(b"real")),
            link(at(b"way"), b"/" + at(b"real")),
            file(at(b"way/su"), b"e", 0o4755),
        ),
    )
    yield (
        "hard links over two archives with a trailer",
        [
            archive((directory(top), file(at(b"a"), b"one", inode=7, links=2))),
            archive((file(at(b"b"), b"", 0o4755, inode=7, links=2),)),
        ],
    )
    yield (
        "hard links over two archives without a trailer",
        [
            archive((directory(top), file(at(b"a"), b"one", inode=7, links=2)), trailer=False),
            archive((file(at(b"b"), b"", 0o4755, inode=7, links=2),)),
        ],
    )
    yield "the mode of the last name", one(
        file(at(b"a"), b"one", 0o4755, inode=7, links=3), file(at(b"b"), b"", 0o644, inode=7, links=3),
        file(at(b"c"), b"", 0o6755, inode=7, links=3),
    )  # fmt: skip
    yield "the last body of several names", one(
        file(at(b"a"), b"one", inode=7, links=2), file(at(b"b"), b"longer", inode=7, links=2),
        file(at(b"c"), b"s", inode=7, links=2),
    )  # fmt: skip
    yield (
        "a name above PATH_MAX",
        one(file(at(b"/" * 4090 + b"su"), b"evil", 0o4755), file(at(b"after"), b"x")),
    )
    yield "a name at PATH_MAX", one(file(at(b"/" * (4094 - len(top)) + b"a"), b"y", 0o4755))
    yield "a name of 256 bytes", one(file(at(b"n" * 256)), file(at(b"n" * 255)))
    yield (
        "a zero byte in a name",
        one(file(at(b""), raw=at(b"su") + b"\0.txt\0", mode=0o4755), file(at(b"b"))),
    )
    yield "a trailer with a zero byte", one(
        file(at(b"a"), b"one", inode=7, links=2), Entry(b"", 0, raw=TRAILER + b"\0x\0"),
        file(at(b"b"), b"", inode=7, links=2),
    )  # fmt: skip
    yield "devices", one(
        node(at(b"mem"), stat.S_IFCHR, 0o666, (1, 1)), node(at(b"sda"), stat.S_IFBLK, 0o666, (8, 0)),
        node(at(b"fifo"), stat.S_IFIFO, 0o622), node(at(b"sock"), stat.S_IFSOCK, 0o777),
        node(at(b"big"), stat.S_IFCHR, 0o600, (0x1FFF, 0x1FFFFF)),
    )  # fmt: skip
    yield "a device over a device", one(
        node(at(b"n"), stat.S_IFCHR, 0o600, (1, 3)), node(at(b"n"), stat.S_IFCHR, 0o666, (1, 1)),
        node(at(b"n"), stat.S_IFBLK, 0o644, (8, 0)),
    )  # fmt: skip
    yield (
        "a file over a link",
        one(file(at(b"t")), link(at(b"l"), b"t"), file(at(b"l"), b"new", 0o755)),
    )
    yield (
        "a directory over a link",
        one(
            directory(at(b"d")), link(at(b"l"), b"d"), directory(at(b"l"), 0o700), file(at(b"l/f"))
        ),
    )
    yield (
        "a link over a full directory",
        one(
            directory(at(b"d")),
            file(at(b"d/f")),
            link(at(b"d"), b"elsewhere", uid=7),
            file(at(b"d/g")),
        ),
    )
    yield (
        "a file over a full directory",
        one(directory(at(b"d")), file(at(b"d/f")), file(at(b"d"), b"no"), file(at(b"e"))),
    )
    yield "a file over an empty directory", one(directory(at(b"d")), file(at(b"d"), b"yes"))
    yield "a directory over a file", one(file(at(b"d")), directory(at(b"d")), file(at(b"d/f")))
    yield "no directory to be in", one(file(at(b"no/f")), link(at(b"no/l"), b"x"))
    yield "dots", one(
        directory(at(b"d")), file(at(b"d/../f")), file(at(b"./g")), file(at(b"no/../h")),
        file(b"/../../" + at(b"i")), directory(at(b"d/."), 0o711), file(at(b".")), file(at(b"d/..")),
    )  # fmt: skip
    yield "slashes", one(
        directory(at(b"d/")), file(at(b"d//f")), file(at(b"f/")), link(at(b"l"), b"d"),
        directory(at(b"l/"), 0o700), file(at(b"l/")), link(at(b"m/"), b"d"), directory(at(b"m/")),
        file(at(b"t/x")), link(at(b"l/"), b"z"), node(at(b"l/"), stat.S_IFIFO),
    )  # fmt: skip
    yield (
        "circles of links",
        one(link(at(b"a"), b"b"), link(at(b"b"), b"a"), file(at(b"a/f")), file(at(b"a"), b"over")),
    )
    yield "a chain of 41 links", one(
        directory(at(b"d")), link(at(b"l0"), b"d"),
        *(link(at(b"l%d" % n), b"l%d" % (n - 1)) for n in range(1, 42)),
        file(at(b"l39/forty")), file(at(b"l40/more")),
    )  # fmt: skip
    yield "links with odd texts", one(
        link(at(b"empty"), b""),
        file(at(b"empty/through"), b"here"), link(at(b"zero"), b"a\0b"), link(at(b"long"), b"t" * 4095),
        link(at(b"longer"), b"t" * 4096), link(at(b"longest"), b"t" * 4097), file(at(b"f")),
    )  # fmt: skip
    yield "owners", one(
        file(at(b"a"), uid=1000, gid=100, mode=0o6755), file(at(b"b"), uid=0xFFFFFFFF, gid=5),
        directory(at(b"c"), 0o2775, gid=50), file(at(b"c/d"), gid=0xFFFFFFFF),
        link(at(b"e"), b"a", uid=3, gid=0xFFFFFFFF), link(at(b"c/l"), b"d", gid=0xFFFFFFFF),
        directory(at(b"c/k"), gid=0xFFFFFFFF), file(at(b"a"), b"two", uid=0xFFFFFFFF, gid=0xFFFFFFFF),
    )  # fmt: skip
    yield "members of no type", one(
        file(at(b"gone"), b"x"), Entry(at(b"gone"), 0o644), file(at(b"kept")), Entry(at(b"n"), 0o755),
    )  # fmt: skip
    yield "modes of more than 16 bits", one(replace(file(at(b"a")), mode=0x10000 | REG | 0o4755))
    yield (
        "a directory with a body",
        one(directory(at(b"d"), body=archive((suid,))), file(at(b"d/f")), file(at(b"g"))),
    )
    yield "a name that is its own second name", one(
        file(at(b"a"), b"one", inode=7, links=2), file(at(b"a"), b"two", inode=7, links=2),
        file(at(b"b"), b"three", inode=7, links=2),
    )  # fmt: skip
    yield "a first name that became a link", one(
        directory(at(b"d")), file(at(b"a"), b"one", inode=7, links=2), link(at(b"a"), b"d/made"),
        file(at(b"b"), b"through", 0o4755, inode=7, links=2),
    )  # fmt: skip
    yield "a first name that became a directory", one(
        file(at(b"a"), b"one", inode=7, links=2), directory(at(b"a")),
        file(at(b"b"), b"two", inode=7, links=2),
    )  # fmt: skip
    yield "another disk, another file", one(
        file(at(b"a"), b"one", inode=7, links=2, disk=(1, 2)), file(at(b"b"), b"two", inode=7, links=2),
        file(at(b"c"), b"", inode=7, links=2, disk=(1, 2)),
    )  # fmt: skip
    yield "devices with two names", one(
        replace(node(at(b"a"), stat.S_IFCHR), inode=9, links=2),
        replace(node(at(b"b"), stat.S_IFCHR, 0o666), inode=9, links=2),
        replace(node(at(b"c"), stat.S_IFBLK, 0o666), inode=9, links=2),
    )  # fmt: skip
    yield "a file written over with its other names", one(
        file(at(b"a"), b"one", inode=7, links=2), file(at(b"b"), b"", inode=7, links=2),
        file(at(b"a"), b"changed", 0o4711), file(at(b"c"), b""),
    )  # fmt: skip
    yield "sums", one(
        replace(file(at(b"a"), bytes(range(256)) * 9), magic=b"070702"),
        replace(file(at(b"no/b"), b"dropped"), magic=b"070702", sum=1),
        replace(link(at(b"l"), b"t"), magic=b"070702", sum=99),
    )  # fmt: skip
    yield "a link named like a trailer", one(link(TRAILER, b"x"), file(at(b"a")))
    yield "names that are no text", one(
        file(at(b"a\nb")), file(at(b"\xff\xfe")), file(at(b"\x1b[31m")), file(at("ß\u2028".encode())),
        link(at(b"l\x0b"), b"\xff\n"),
    )  # fmt: skip


def random_entries(random_: random.Random, top: bytes) -> list[Entry]:
    """Members that often meet: few names, every type, links everywhere."""
    names = [
        b"a",
        b"b",
        b"c",
        b"d",
        b"a/b",
        b"a/c",
        b"b/a",
        b"c/a/b",
        b"d/d",
        b"a/../c",
        b"b/",
        b"./d",
    ]
    targets = [b"a", b"b", b"../" + top, b"/" + top + b"/c", b"c/", b"nowhere", b"a/b", b".", b""]
    kinds = [REG, REG, REG, DIR, DIR, LNK, stat.S_IFCHR, stat.S_IFIFO]
    entries = [directory(top)]
    for _ in range(random_.randrange(4, 25)):
        kind = random_.choice(kinds)
        mode = random_.choice([0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o666, 0o000])
        body = b""
        if kind == REG:
            body = random_.choice([b"", b"x", b"four", bytes(random_.randrange(300))])
        if kind == LNK:
            body = random_.choice(targets)
        links = random_.choice([1, 1, 2, 3])
        entries.append(
            Entry(
                top + b"/" + random_.choice(names),
                kind | mode,
                body,
                random_.randrange(1, 5),
                links,
                random_.choice([0, 1000, 0xFFFFFFFF]),
                random_.choice([0, 50, 0xFFFFFFFF]),
                (1, random_.randrange(9)),
            )
        )
        if random_.random() < 0.05:
            entries.append(Entry(TRAILER, 0))
    return entries


def packings(tool: Callable[[str, bytes], bytes]) -> dict[str, Callable[[bytes], bytes]]:
    """Every packing that the kernel reads; `tool` packs with a program."""
    import zstandard

    x86: list[dict[str, object]] = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2}]
    return {
        "none": lambda data: data,
        "gzip": lambda data: gzip.compress(data, mtime=0),
        "bzip2": bz2.compress,
        "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
        "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
        "xz-x86": lambda data: lzma.compress(data, check=lzma.CHECK_NONE, filters=x86),
        "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
        "lz4": lambda data: tool("lz4", data),
        "lzo": lambda data: tool("lzop", data),
    }


def stopping_archives() -> dict[str, bytes]:
    """What the kernel stops at, though a more lenient reader goes on, by title."""
    sound = archive([file(b"before", b"x")])
    delta: list[dict[str, object]] = [
        {"id": lzma.FILTER_DELTA, "dist": 4}, {"id": lzma.FILTER_LZMA2}
    ]  # fmt: skip
    arm: list[dict[str, object]] = [{"id": lzma.FILTER_ARM}, {"id": lzma.FILTER_LZMA2}]
    packed = gzip.compress(sound, mtime=0)
    return {
        "xz with CRC64": lzma.compress(sound),
        "xz with SHA-256": lzma.compress(sound, check=lzma.CHECK_SHA256),
        "xz with a filter": lzma.compress(sound, check=lzma.CHECK_CRC32, filters=delta),
        "xz for another machine": lzma.compress(sound, check=lzma.CHECK_CRC32, filters=arm),
        "gzip with an extra field": packed[:3] + b"\x04" + packed[4:10] + b"\0\0" + packed[10:],
        "gzip with a comment": packed[:3] + b"\x10" + packed[4:10] + b"c\0" + packed[10:],
        "a wrong sum": archive([replace(file(b"before"), magic=b"070702", sum=7)]),
        "junk": b"junk" + sound,
        "junk that is packed": gzip.compress(b"junk" + sound, mtime=0),
        "an archive cut short that is packed": gzip.compress(sound[:-30], mtime=0),
        "the old format": b"070707" + sound[6:],
        "an odd place": gzip.compress(sound + b"\0" + sound, mtime=0),
    }
