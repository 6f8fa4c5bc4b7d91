"""The .deb format: an ar archive of a control tar and a data tar, and its predecessor.

Read is what dpkg-deb reads. Source: deb(5), deb-old(5), ar(5); dpkg's lib/dpkg/ar.c, lib/dpkg/ar.h,
src/deb/extract.c.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from minbuild.errors import ArchiveError, MalformedFile
from minbuild.formats.compression import decompress_stream
from minbuild.formats.tar import BoundedReader, Tar
from minbuild.formats.tar_header import TarHeader, TarType
from minbuild.paths import USRMERGED, RootPath, to_root_path

MAX_CONTROL_SIZE = 64 << 20
"""Bytes of the unpacked control tar (its md5sums grows with the package)."""
MAX_RATIO = 400
"""Unpacked bytes for each packed one; real packages stay below 100, bombs reach 1,000."""
MIN_LIMIT = 64 << 20
"""Small packages may unpack to this whatever their ratio."""
MAX_DATA_SIZE = 32 << 30

_FIX = "take another version of this package or another mirror; this one cannot be used"
_AR = b"!<arch>\n"
_AR_HEADER = 60
_NAME, _SIZE, _MAGIC = slice(0, 16), slice(48, 58), slice(58, 60)
"""Columns of an ar header that count; date, owner, group and mode are nobody's here."""
_OLD_VERSION = re.compile(rb"0\.93[0-9]*\n")
_CONTROL = ("", ".gz", ".xz", ".zst")
_DATA = (*_CONTROL, ".bz2", ".lzma")
_MAX_FIELDS_SIZE = 16 << 20
"""Bytes of a control file."""


class Deb:
    """One open .deb: first its control fields, then its files, once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._remaining = 0
        self._old_control_size = 0
        """Bytes of the control tar in the format before ar; 0: it is ar."""
        self._expect_start()

    def read_control(self) -> dict[str, str]:
        """The control file's fields, names in lower case. Raises: MalformedFile."""
        ending, _ = self._enter_member("control.tar", _CONTROL)
        tar = Tar(
            BoundedReader(
                decompress_stream(self._read_member, ending, single=True), MAX_CONTROL_SIZE
            )
        )
        text: bytes | None = None
        for header in tar:
            if header.name == "control" and header.type is TarType.FILE:
                if header.size > _MAX_FIELDS_SIZE:
                    raise MalformedFile(f"its control file has {header.size} bytes")
                text = tar.read_content()
        if text is None:
            raise MalformedFile("it has no control file")
        return _parse_fields(text)

    def open_data(self) -> Tar:
        """The files; what follows them in the package is nobody's. Raises: MalformedFile, also while read."""
        ending, size = self._enter_member("data.tar", _DATA)
        limit = min(max(size * MAX_RATIO, MIN_LIMIT), MAX_DATA_SIZE)
        return Tar(BoundedReader(decompress_stream(self._read_member, ending, single=True), limit))

    def _expect_start(self) -> None:
        if self._file.read(len(_AR)) != _AR:
            self._expect_old()
            return
        if self._read_next_header() != "debian-binary":
            raise MalformedFile("its first member is not debian-binary")
        if not re.match(rb"2\.\d+\n", self._read_member(min(self._remaining, 64))):
            raise MalformedFile("its format is not version 2")

    def _expect_old(self) -> None:
        """A line with the format's version, one with the bytes of the control tar, both tars."""
        self._file.seek(0)
        if not _OLD_VERSION.fullmatch(self._file.readline(32)):
            raise MalformedFile("it is no ar archive")
        size = self._file.readline(32)
        if not re.fullmatch(rb"[0-9]{1,12}\n", size):
            raise MalformedFile("its control tar has a size that is no number")
        self._old_control_size = int(size)

    def _enter_member(self, member: str, endings: Sequence[str]) -> tuple[str, int]:
        """Go to the next member that counts; returns its name's ending and its size."""
        if self._old_control_size:
            return ".gz", self._enter_old_member(member)
        while (name := self._read_next_header()) is not None and name.startswith("_"):
            pass
        if name is None:
            raise MalformedFile(f"it is truncated: no {member}")
        if not name.startswith(member):
            raise MalformedFile(f"it has {name!r} where {member} should be")
        ending = name.removeprefix(member)
        if ending not in endings:
            raise MalformedFile(f"{member} is compressed in a way that is not known: {ending!r}")
        return ending, self._remaining

    def _enter_old_member(self, member: str) -> int:
        start = self._file.tell() + self._remaining
        if member == "data.tar":
            self._file.seek(start)
            start = os.fstat(self._file.fileno()).st_size - start
            self._remaining = start
        else:
            self._remaining = self._old_control_size
        return self._remaining

    def _read_next_header(self) -> str | None:
        """Go to the next member's start; returns its name, None at the end.

        Columns are fixed, and touch where a number fills its own.
        """
        if self._remaining:
            self._file.seek(self._remaining, os.SEEK_CUR)
            self._remaining = 0
        self._file.seek(self._file.tell() % 2, os.SEEK_CUR)
        header = self._file.read(_AR_HEADER)
        if not header:
            return None
        size = header[_SIZE].lstrip(b" ").partition(b" ")[0]
        if len(header) != _AR_HEADER or header[_MAGIC] != b"`\n" or not size.isdigit():
            raise MalformedFile("an ar header of it is damaged")
        self._remaining = int(size)
        return header[_NAME].rstrip(b" ").decode("ascii", "backslashreplace").removesuffix("/")

    def _read_member(self, size: int) -> bytes:
        """Read on in the current member; b"" at its end."""
        count = min(size, self._remaining)
        data = self._file.read(count)
        if len(data) != count:
            raise MalformedFile("it is truncated")
        self._remaining -= count
        return data


@contextlib.contextmanager
def open_deb(path: Path, label: str) -> Iterator[Deb]:
    """Open a package; `label` names it in errors: busybox 1.37.0-6.

    Raises: ArchiveError for all that is wrong with it, also from inside the `with`.
    """
    try:
        with open(path, "rb") as file:
            yield Deb(file)
    except MalformedFile as damage:
        raise ArchiveError(
            f"the package cannot be read: {damage.reason}", where=label, fix=_FIX
        ) from damage
    except OSError as error:
        raise ArchiveError(
            f"the package cannot be read: {error.strerror}", where=str(path), fix=_FIX
        ) from error


def _parse_fields(text: bytes) -> dict[str, str]:
    """Fields of the one paragraph, continued lines joined by a space. Source: deb822(5), deb-control(5).

    Raises: MalformedFile for a line that is none, a field that stands twice, or a second paragraph: readers
    differ about what holds then.
    """
    fields: dict[str, str] = {}
    name, is_complete = "", False
    for line in text.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        if not line.strip():
            is_complete = bool(fields)
            name = ""
            continue
        if is_complete:
            raise MalformedFile("its control file has a second paragraph")
        if line[0] in " \t" and name:
            fields[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name or line[0] in " \t":
            raise MalformedFile(f"its control file has a line that is no field: {line[:80]!r}")
        if name in fields:
            raise MalformedFile(f"its control file has the field {name!r} twice")
        fields[name] = value.strip()
    return fields


def parse_alternatives(field: str) -> tuple[tuple[str, ...], ...]:
    """Names of a dependency field: "a (>= 1), b:any | c" → (("a",), ("b", "c")).

    Source: Debian Policy 7.1.
    """
    groups = (group for group in field.split(",") if group.strip())
    return tuple(
        tuple(re.split(r"[\s:(\[<]", choice.strip(), maxsplit=1)[0] for choice in group.split("|"))
        for group in groups
    )


def resolve_image_path(header: TarHeader) -> RootPath:
    """The usr-merged path; a directory that is a link on merged systems is the one behind it."""
    if header.type is TarType.DIRECTORY and header.name in USRMERGED:
        return RootPath("/" + USRMERGED[header.name])
    return to_root_path(header.name)
