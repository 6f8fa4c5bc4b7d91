r"""Packages as text, and the real .debs that they become.

A text holds packages, each a few control fields and then its files, one a line:

    Package: hello
    Version: 1.0
    Depends: libhello1
    /usr/bin/hello          0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=libhello.so.1
    /usr/bin/hi             -> hello
    /usr/bin/hey            = /usr/bin/hello
    /usr/bin/say            0755 file "#!/bin/sh\necho hello\n"
    /usr/bin/su             4755 root:0:42 file ""
    /var/lib/hello/         0700
    /usr/lib/modules/6.1/kernel/a.ko.xz   module name=a depends=b,c firmware=f.bin

    Package: libhello1
    /usr/lib/x86_64-linux-gnu/libhello.so.1   elf soname=libhello.so.1 exports=hello@HELLO_1

`Compression:` is xz, zst, gz or none. `elf` takes the names of `elf.Elf`'s fields: lists with commas, `versions=libc.so.6:GLIBC_2.2.5+GLIBC_2.34`,
`dlopen=libx.so.1:required:feature`, `machine=arm64`. `module` takes `.modinfo` keys in order, a key
more than once, and `imports=`, `exports=`, `signed=yes`, `calls=FUNCTION:STRING,…`. `kernel exports=printk,lent@1f` is a vmlinux
of these symbols. A module named *.xz, *.zst is compressed.
"""

import dataclasses
import gzip
import hashlib
import io
import lzma
import shlex
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import zstandard

from tests.support import elf as elf_file


@dataclass(frozen=True, slots=True)
class Member:
    """One member of data.tar, just as it is to be written: nothing is checked or corrected."""

    path: str
    """./usr/bin/hello, or whatever a hostile package would say."""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    data: bytes = b""
    target: str = ""
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Deb:
    """One package to be built."""

    name: str
    version: str = "1.0"
    arch: str = "amd64"
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further control fields: Depends, Provides, Source."""
    members: Sequence[Member] = ()
    compression: str = "xz"
    """xz, zst, gz or "" for both tars."""

    @property
    def file_name(self) -> str:
        return f"{self.name}_{self.version.partition(':')[2] or self.version}_{self.arch}.deb"

    @property
    def control(self) -> str:
        """The control paragraph, as it stands in the package and in an index."""
        rows = {"Package": self.name, "Version": self.version, "Architecture": self.arch}
        rows |= {"Maintainer": "Tests <tests@example.org>"} | dict(self.fields)
        rows |= {"Description": f"{self.name} of a test"}
        return "".join(f"{key}: {value}\n" for key, value in rows.items())


def parse(text: str) -> list[Deb]:
    """Read packages written as text (see the module's description)."""
    packages: list[Deb] = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if line.startswith("/"):
            deb = packages.pop()
            packages.append(dataclasses.replace(deb, members=(*deb.members, _member(line))))
            continue
        key, _, value = line.partition(": ")
        match key:
            case "Package":
                packages.append(Deb(value))
            case "Version":
                packages.append(dataclasses.replace(packages.pop(), version=value))
            case "Compression":
                how = "" if value == "none" else value
                packages.append(dataclasses.replace(packages.pop(), compression=how))
            case "Architecture":
                packages.append(dataclasses.replace(packages.pop(), arch=value))
            case _:
                deb = packages.pop()
                packages.append(dataclasses.replace(deb, fields={**deb.fields, key: value}))
    return packages


def build(deb: Deb) -> bytes:
    """Make the .deb's bytes; the same bytes for the same description."""
    end = f".{deb.compression}" if deb.compression else ""
    control = tar([Member("./"), Member("./control", data=deb.control.encode())])
    data = tar(with_parents(deb.members))
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{end}", compress(control, deb.compression)),
            (f"data.tar{end}", compress(data, deb.compression)),
        ]
    )


def write(directory: Path, text: str) -> list[Path]:
    """Build every package of a text into a directory, in the text's order."""
    paths = []
    for deb in parse(text):
        paths.append(directory / deb.file_name)
        paths[-1].write_bytes(build(deb))
    return paths


def ar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Make an ar archive. Source: deb(5), ar(5)."""
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def tar(members: Iterable[Member]) -> bytes:
    """Make a tar with exactly these members, in this order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.path)
            info.type = tarfile.DIRTYPE if member.path.endswith("/") else member.kind
            info.mode = 0o755 if member.path == "./" else member.mode
            info.uid, info.gid, info.linkname = member.uid, member.gid, member.target
            info.devmajor, info.devminor = member.device
            info.size = len(member.data)
            archive.addfile(info, io.BytesIO(member.data))
    return out.getvalue()


def compress(data: bytes, how: str) -> bytes:
    """Compress as .xz, .zst, .gz, or not at all."""
    return _compress_once(data, how) if len(data) <= _SMALL else _compress(data, how)


_SMALL = 32 << 10
"""Bytes of the largest data that is compressed once for all tests: most of them make one host."""


@lru_cache(maxsize=1024)
def _compress_once(data: bytes, how: str) -> bytes:
    return _compress(data, how)


def _compress(data: bytes, how: str) -> bytes:
    match how:
        case "xz":
            return lzma.compress(data, preset=1)
        case "zst":
            return zstandard.compress(data)
        case "gz":
            return gzip.compress(data, mtime=0)
        case _:
            return data


def with_parents(members: Sequence[Member]) -> list[Member]:
    """Put each missing parent directory before its first member, as dpkg-deb does."""
    by_name: dict[str, Member] = {"./": Member("./", mode=0o755)}
    given = {member.path for member in members}
    for member in members:
        parts = member.path.rstrip("/").split("/")[:-1]
        for end in range(2, len(parts) + 1):
            parent = "/".join(parts[:end]) + "/"
            if parent not in given and ".." not in parts:
                by_name.setdefault(parent, Member(parent, mode=0o755))
        by_name[member.path] = member
    return list(by_name.values())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _member(line: str) -> Member:
    path, *words = shlex.split(line)
    mode = int(words.pop(0), 8) if words and words[0].isdigit() else None
    uid = gid = 0
    if words and words[0].startswith("root:"):
        uid, gid = (int(number) for number in words.pop(0).split(":")[1:])
    member = _content(path, words)
    default = 0o755 if path.endswith("/") else 0o777 if member.kind == tarfile.SYMTYPE else 0o644
    mode = default if mode is None else mode
    return dataclasses.replace(member, path=f".{path}", mode=mode, uid=uid, gid=gid)


def _content(path: str, words: Sequence[str]) -> Member:
    if not words:
        return Member(path)
    match words[0]:
        case "->":
            return Member(path, tarfile.SYMTYPE, target=words[1])
        case "=":
            return Member(path, tarfile.LNKTYPE, target=f".{words[1]}")
        case "file":
            text = words[1].encode().decode("unicode_escape") if len(words) > 1 else ""
            return Member(path, data=text.encode("latin-1"))
        case "zeros":
            return Member(path, data=bytes(int(words[1])))
        case "elf":
            return Member(path, data=elf_file.elf(_elf(words[1:])))
        case "module":
            how = path.rpartition(".")[2]
            return Member(path, data=compress(_module(words[1:]), how))
        case "kernel":
            exports = dict(word.split("=", 1) for word in words[1:])["exports"]
            return Member(path, data=elf_file.kernel(exports.split(",")))
        case kind:
            raise ValueError(f"{path}: no such kind of file: {kind}")


def _elf(words: Sequence[str]) -> elf_file.Elf:
    spec: dict[str, Any] = {}
    for key, _, value in (word.partition("=") for word in words):
        if key == "machine":
            spec |= {"bits": 32 if value in {"i386", "armhf"} else 64, "big": value == "s390x"}
            spec["machine"] = elf_file.MACHINES[value]
        else:
            spec[key] = _READ.get(key, str)(value)
    return elf_file.Elf(**spec)


def _split_commas(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _versions(text: str) -> dict[str, tuple[str, ...]]:
    pairs = (part.partition(":") for part in text.split(","))
    return {library: tuple(names.split("+")) for library, _, names in pairs}


def _note(text: str) -> dict[str, object]:
    sonames, priority, feature, *_ = [*text.split(":"), "", ""]
    note: dict[str, object] = {"soname": sonames.split("+"), "priority": priority or "recommended"}
    return note | ({"feature": feature} if feature else {})


_READ: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("needed", "exports", "imports"), _split_commas),
    **dict.fromkeys(("executable", "dynamic", "big"), lambda text: text == "yes"),
    **dict.fromkeys(("bits", "flags", "df_1"), lambda text: int(text, 0)),
    "versions": _versions,
    "dlopen": lambda text: tuple(_note(part) for part in text.split(",")),
    "rodata": lambda text: text.replace(",", "\0").encode() + b"\0",
}
"""How a word's value becomes a field of Elf; as it stands when not named here."""


def _module(words: Sequence[str]) -> bytes:
    pairs = [(key, value) for key, _, value in (word.partition("=") for word in words)]
    own = {"imports", "exports", "signed", "calls"}
    rest = {key: value for key, value in pairs if key in own}
    return elf_file.module(
        [pair for pair in pairs if pair[0] not in own],
        imports=tuple(filter(None, rest.get("imports", "").split(","))),
        exports=tuple(filter(None, rest.get("exports", "").split(","))),
        signed=rest.get("signed") == "yes",
        calls=[
            (function, text)
            for function, _, text in (
                call.partition(":") for call in rest.get("calls", "").split(",") if call
            )
        ],
    )
