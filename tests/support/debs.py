"""Packages of every form that dpkg-deb reads, and some that it does not, with a fixed seed."""

import bz2
import gzip
import lzma
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import zstandard

from tests.support import tars
from tests.support.tars import Row

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=1),
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=1),
}
CONTROL = ("", ".gz", ".xz", ".zst")
SEVERAL = frozenset({".gz"})
"""Compressions of which dpkg-deb reads several streams one after the other."""


@dataclass(frozen=True)
class GeneratedDeb:
    """A package that was made up, and what it is."""

    name: str
    data: bytes
    refused: str = ""
    """Why minbuild refuses what dpkg-deb may read; "" when both read the same."""


@dataclass(frozen=True)
class Ar:
    """How an ar archive writes its headers."""

    date: str = "0"
    owner: str = "0"
    group: str = "0"
    mode: str = "100644"
    slash: bool = False
    right: bool = False
    """Sizes stand at the right end of their column."""
    before: Sequence[tuple[str, bytes]] = ()
    """Members between debian-binary and control.tar."""
    between: Sequence[tuple[str, bytes]] = ()
    after: Sequence[tuple[str, bytes]] = ()
    end: bytes = b""
    """What follows the last member."""
    magic: bytes = b"2.0\n"

    def write(self, members: Sequence[tuple[str, bytes]]) -> bytes:
        out = b"!<arch>\n"
        for name, data in members:
            size = f"{len(data):>10}" if self.right else f"{len(data):<10}"
            text = f"{name + '/' * self.slash:<16}{self.date:<12}{self.owner:<6}{self.group:<6}"
            out += f"{text}{self.mode:<8}{size}`\n".encode() + data + b"\n" * (len(data) % 2)
        return out + self.end


FIELDS = "Package: made\nVersion: 1:1.0-1\nArchitecture: amd64\nMaintainer: A <a@example.org>\n"
TEXT = (
    f"{FIELDS}Source: other (2.0)\nDescription: made up\n with a line\n .\n and another\n".encode()
)


@dataclass(frozen=True)
class Parts:
    """What a package is made of."""

    rows: Sequence[Row] = ()
    ar: Ar = field(default_factory=Ar)
    control: str = ".xz"
    data: str = ".xz"
    text: bytes = TEXT
    streams: int = 1
    named: bytes = b"./control"
    end: bytes = bytes(1024)

    def bytes(self) -> bytes:
        control = tars.tar(Row(b"./", "5", mode=0o755), Row(self.named, body=self.text))
        data = tars.tar(Row(b"./", "5", mode=0o755), *self.rows, end=self.end)
        step = -(-len(data) // self.streams)
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        ar = self.ar
        return ar.write(
            [
                ("debian-binary", ar.magic),
                *ar.before,
                (f"control.tar{self.control}", PACK[self.control](control)),
                *ar.between,
                (f"data.tar{self.data}", b"".join(map(PACK[self.data], pieces))),
                *ar.after,
            ]
        )


def write_old_deb(rows: Sequence[Row]) -> bytes:
    """The format before ar. Source: deb-old(5)."""
    control = PACK[".gz"](tars.tar(Row(b"./", "5", mode=0o755), Row(b"./control", body=TEXT)))
    data = PACK[".gz"](tars.tar(Row(b"./", "5", mode=0o755), *rows))
    return b"0.939000\n%d\n" % len(control) + control + data


def generate_debs(seed: int, count: int) -> Iterator[GeneratedDeb]:
    """First each thing by itself, then packages of many things at once."""
    yield from _generate_single()
    source = random.Random(seed)
    for number in range(count):
        rows, ar = _random_rows(source), _random_ar(source)
        data = source.choice([*PACK])
        parts = Parts(
            rows,
            ar,
            source.choice(CONTROL),
            data,
            streams=source.choice((1, 1, 2, 3)) if data in SEVERAL else 1,
            end=source.choice((bytes(1024), bytes(1024), bytes(10240))),
        )
        made = write_old_deb(rows) if source.random() < 0.06 else parts.bytes()
        yield GeneratedDeb(f"number {number}", made)


FILE = Row(b"./usr/bin/made", body=b"#!/bin/sh\n", mode=0o755)
HOLES = ((4096, b"a" * 512), (16384, b"b" * 1024))


def _generate_single() -> Iterator[GeneratedDeb]:
    wide = Ar(date="123456789012", owner="100000", group="999999", mode="10064412")
    odd: dict[str, Ar] = {
        "columns that touch": wide,
        "sizes at the right": Ar(right=True),
        "names with a slash": Ar(slash=True),
        "empty columns": Ar("", "", "", ""),
        "columns that are no numbers": Ar("yesterday", "root", "wheel", "rw-r--"),
        "a member for others": Ar(before=[("_gpgbuilder", b"x" * 7)]),
        "a member for others between": Ar(between=[("_x", b"")]),
        "members for others at the end": Ar(after=[("_gpgorigin", b"y")]),
        "a second data member": Ar(after=[("data.tar.gz", b"no gzip"), ("control.tar", b"z")]),
        "something that is no member at the end": Ar(end=b"garbage\n"),
        "more lines in debian-binary": Ar(magic=b"2.0\nmore\nlines\n"),
        "a newer minor version": Ar(magic=b"2.1\n"),
    }
    for name, ar in odd.items():
        yield GeneratedDeb(name, Parts([FILE], ar).bytes())
    for ending in PACK:
        yield GeneratedDeb(f"data.tar{ending}", Parts([FILE], data=ending).bytes())
        several = "" if ending in SEVERAL else "a second (xz|zstd|bzip2|lzma) stream"
        if ending:
            data = Parts([FILE], data=ending, streams=3).bytes()
            yield GeneratedDeb(f"streams of {ending}", data, several)
    for ending in CONTROL:
        yield GeneratedDeb(f"control.tar{ending}", Parts([FILE], control=ending).bytes())
    yield GeneratedDeb("the old format", write_old_deb([FILE]))
    for place in (b"control", b"././control", b"/control"[1:]):
        yield GeneratedDeb(f"the control file {place!r}", Parts([FILE], named=place).bytes())
    yield from _generate_members()
    yield from _generate_refused()


def _generate_members() -> Iterator[GeneratedDeb]:
    """Members of every form."""
    long = b"./usr/share/" + b"/".join([b"d" * 60] * 4) + b"/file"
    for form in tars.FORMS:
        yield GeneratedDeb(f"a {form} member", Parts([Row(b"./a", body=b"a", form=form)]).bytes())
        if form in {"gnu", "pax"}:
            rows = [Row(long, body=b"a", form=form), Row(b"./l", "2", target=b"t" * 300, form=form)]
            yield GeneratedDeb(f"long names of {form}", Parts(rows).bytes())
    for form in tars.SPARSE:
        row = Row(b"./holes", sparse=form, extents=HOLES, size=40_000, form="pax")
        yield GeneratedDeb(f"a sparse member of {form}", Parts([row, FILE]).bytes())
    pax = [
        (b"path", "./usr/share/ä".encode()),
        (b"uid", b"7"),
        (b"mtime", b"1.5"),
        (b"comment", b"x"),
    ]
    yield GeneratedDeb("a pax header", Parts([Row(b"./x", body=b"a", pax=pax), FILE]).bytes())
    others = {
        "a contiguous file": Row(b"./a", "7", b"abc"),
        "a directory by its slash": Row(b"./a/", "0"),
        "modes": Row(b"./a", body=b"a", mode=0o6755),
    }
    for name, row in others.items():
        yield GeneratedDeb(name, Parts([row]).bytes())
    yield GeneratedDeb(
        "a hard link", Parts([FILE, Row(b"./b", "1", target=b"./usr/bin/made")]).bytes()
    )
    links = [Row(b"./l", "2", target=b"x"), Row(b"./m", "1", target=b"./l")]
    yield GeneratedDeb("a hard link to a link", Parts(links).bytes())
    yield GeneratedDeb("an archive without an end", Parts([FILE], data="", end=b"").bytes())
    yield GeneratedDeb("no files", Parts([]).bytes())


def _generate_refused() -> Iterator[GeneratedDeb]:
    """What dpkg-deb may read and minbuild refuses: each for what it could do."""
    wrong: dict[str, tuple[Sequence[Row], str]] = {
        "a device": ([Row(b"./null", "3", device=(1, 3))], "a character device"),
        "a disk": ([Row(b"./sda", "4", device=(8, 0))], "a block device"),
        "a pipe": ([Row(b"./pipe", "6")], "a FIFO"),
        "an absolute name": ([Row(b"/a", body=b"a")], "an absolute name"),
        "a name that leads out": ([Row(b"./x/../../a", body=b"a")], "leads out of its top"),
        "a name with a line's end": ([Row(b"./a\nb", body=b"a")], "control characters"),
        "a name that is no UTF-8": ([Row(b"./a\xff", body=b"a")], "not UTF-8"),
        "a file twice": ([Row(b"./a", body=b"1"), Row(b"./a", body=b"2")], "two members of one"),
        "a file below a link": (
            [Row(b"./l", "2", target=b"/tmp"), Row(b"./l/x", body=b"a")],
            "no directory of it",
        ),
        "a link to a file of others": ([Row(b"./a", "1", target=b"./b")], "no file of it"),
        "one name for all": ([Row(b"", "g", tars.pax_record(b"path", b"./a")), FILE], "one name"),
        "holes without end": (
            [Row(b"./a", sparse="1.0", extents=HOLES, size=1 << 40, form="pax")],
            "unpacks to more than",
        ),
    }  # fmt: skip
    for name, (rows, reason) in wrong.items():
        yield GeneratedDeb(name, Parts(rows).bytes(), reason)
    texts = {
        "a second paragraph": (TEXT + b"\nPackage: other\n", "second paragraph"),
        "a field twice": (TEXT + b"Version: 2\n", "twice"),
        "no field": (TEXT + b"nothing\n", "no field"),
    }
    for name, (text, reason) in texts.items():
        yield GeneratedDeb(name, Parts([FILE], text=text).bytes(), reason)


def _random_ar(source: random.Random) -> Ar:
    def number(most: int) -> str:
        return str(source.randrange(most))

    others = [("_" + "abc"[: source.randrange(4)], bytes(source.randrange(9)))]
    return Ar(
        date=source.choice(("", "0", number(10**12))),
        owner=source.choice(("", "0", number(10**6))),
        group=source.choice(("", "0", "nobody", number(10**6))),
        mode=source.choice(("100644", "644", "", number(10**8))),
        slash=source.random() < 0.2,
        right=source.random() < 0.2,
        before=others * source.randrange(2),
        between=others * source.randrange(2),
        after=[*others, ("data.tar", b"")] * source.randrange(2),
    )


def _random_rows(source: random.Random) -> list[Row]:
    """Directories, files, links and hard links of several forms, no name twice."""
    rows: list[Row] = []
    names: list[bytes] = []
    for number in range(source.randrange(9)):
        form = source.choice(("v7", "ustar", "gnu", "pax"))
        name = b"./d%d/" % (number % 3) + b"n" * source.choice((1, 40, 150)) + b"%d" % number
        if form in {"v7", "ustar"}:
            name = name[:90] + b"%d" % number
        mode = source.choice((0o644, 0o755, 0o4755, 0o600))
        match source.choice(("file", "file", "sparse", "link", "hard", "directory")):
            case "sparse":
                kind, name = source.choice(tars.SPARSE), name[:80] + b"%d" % number
                rows.append(Row(name, sparse=kind, extents=HOLES, size=20_000, form="pax", mode=mode))  # fmt: skip
                names.append(name)
            case "link":
                rows.append(Row(name, "2", target=b"t" * source.choice((1, 90)), form=form))
            case "hard" if names:
                rows.append(Row(name, "1", target=source.choice(names), form="pax", mode=mode))
            case "directory":
                rows.append(Row(name + b"/", "5", mode=0o755, form=form))
            case _:
                body = source.randbytes(source.choice((0, 1, 511, 512, 3000)))
                rows.append(Row(name, source.choice("007"), body, form=form, mode=mode))
                names.append(name)
    return rows
