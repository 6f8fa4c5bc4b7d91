"""The .deb format: an ar archive of a control tar and a data tar, or the one before it.

Read is what dpkg-deb reads. Source: deb(5), deb-old(5), ar(5); dpkg's lib/dpkg/ar.c, lib/dpkg/ar.h,
src/deb/extract.c.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from minbuild.errors import ArchiveError
from minbuild.facts.damage import Damage
from minbuild.facts.tar import Source, Tar, Type
from minbuild.facts.unpack import unpacked

MOST_CONTROL = 64 << 20
"""Bytes of the unpacked control tar (its md5sums grows with the package)."""
MOST_RATIO = 400
"""Unpacked bytes for each packed one; real packages stay below 100, bombs reach 1,000."""
LEAST_LIMIT = 64 << 20
"""Small packages may unpack to this whatever their ratio."""
MOST_DATA = 32 << 30

_FIX = "take another version of this package or another mirror; this one cannot be used"
_AR = b"!<arch>\n"
_AR_HEADER = 60
_NAME, _SIZE, _MAGIC = slice(0, 16), slice(48, 58), slice(58, 60)
"""Columns of an ar header that count; date, owner, group and mode are nobody's here."""
_OLD = re.compile(rb"0\.93[0-9]*\n")
_CONTROL = ("", ".gz", ".xz", ".zst")
_DATA = (*_CONTROL, ".bz2", ".lzma")
_MOST_FIELDS = 16 << 20
"""Bytes of a control file."""


class Deb:
    """One open .deb: first its control fields, then its files, once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = 0
        self._old = 0
        """Bytes of the control tar in the format before ar; 0: it is ar."""
        self._expect_start()

    def control(self) -> dict[str, str]:
        """The control file's fields, names in lower case. Raises: Damage."""
        ending, _ = self._enter("control.tar", _CONTROL)
        tar = Tar(Source(unpacked(self._read, ending, single=True), MOST_CONTROL))
        text: bytes | None = None
        for header in tar:
            if header.name == "control" and header.type is Type.FILE:
                if header.size > _MOST_FIELDS:
                    raise Damage(f"its control file has {header.size} bytes")
                text = tar.content()
        if text is None:
            raise Damage("it has no control file")
        return _fields(text)

    def data(self) -> Tar:
        """The files; what follows them in the package is nobody's. Raises: Damage, also while read."""
        ending, size = self._enter("data.tar", _DATA)
        limit = min(max(size * MOST_RATIO, LEAST_LIMIT), MOST_DATA)
        return Tar(Source(unpacked(self._read, ending, single=True), limit))

    def _expect_start(self) -> None:
        if self._file.read(len(_AR)) != _AR:
            self._expect_old()
            return
        if self._next() != "debian-binary":
            raise Damage("its first member is not debian-binary")
        if not re.match(rb"2\.\d+\n", self._read(min(self._left, 64))):
            raise Damage("its format is not version 2")

    def _expect_old(self) -> None:
        """A line with the format's version, one with the bytes of the control tar, both tars."""
        self._file.seek(0)
        if not _OLD.fullmatch(self._file.readline(32)):
            raise Damage("it is no ar archive")
        size = self._file.readline(32)
        if not re.fullmatch(rb"[0-9]{1,12}\n", size):
            raise Damage("its control tar has a size that is no number")
        self._old = int(size)

    def _enter(self, wanted: str, known: Sequence[str]) -> tuple[str, int]:
        """Go to the next member that counts; returns its name's ending and its size."""
        if self._old:
            return ".gz", self._enter_old(wanted)
        while (name := self._next()) is not None and name.startswith("_"):
            pass
        if name is None:
            raise Damage(f"it is truncated: no {wanted}")
        if not name.startswith(wanted):
            raise Damage(f"it has {name!r} where {wanted} should be")
        ending = name.removeprefix(wanted)
        if ending not in known:
            raise Damage(f"{wanted} is compressed in a way that is not known: {ending!r}")
        return ending, self._left

    def _enter_old(self, wanted: str) -> int:
        here = self._file.tell() + self._left
        if wanted == "data.tar":
            self._file.seek(here)
            here = os.fstat(self._file.fileno()).st_size - here
            self._left = here
        else:
            self._left = self._old
        return self._left

    def _next(self) -> str | None:
        """Go to the next member's start; returns its name, None at the end.

        Columns are fixed, and touch where a number fills its own.
        """
        if self._left:
            self._file.seek(self._left, os.SEEK_CUR)
            self._left = 0
        self._file.seek(self._file.tell() % 2, os.SEEK_CUR)
        header = self._file.read(_AR_HEADER)
        if not header:
            return None
        size = header[_SIZE].lstrip(b" ").partition(b" ")[0]
        if len(header) != _AR_HEADER or header[_MAGIC] != b"`\n" or not size.isdigit():
            raise Damage("an ar header of it is damaged")
        self._left = int(size)
        return header[_NAME].rstrip(b" ").decode("ascii", "backslashreplace").removesuffix("/")

    def _read(self, size: int) -> bytes:
        """Read on in the current member; b"" at its end."""
        wanted = min(size, self._left)
        data = self._file.read(wanted)
        if len(data) != wanted:
            raise Damage("it is truncated")
        self._left -= wanted
        return data


@contextlib.contextmanager
def opened(path: Path, label: str) -> Iterator[Deb]:
    """Open a package; `label` names it in errors: busybox 1.37.0-6.

    Raises: ArchiveError for all that is wrong with it, also from inside the `with`.
    """
    try:
        with open(path, "rb") as file:
            yield Deb(file)
    except Damage as damage:
        raise ArchiveError(
            f"the package cannot be read: {damage.reason}", where=label, fix=_FIX
        ) from damage
    except OSError as error:
        raise ArchiveError(
            f"the package cannot be read: {error.strerror}", where=str(path), fix=_FIX
        ) from error


def _fields(text: bytes) -> dict[str, str]:
    """Fields of the one paragraph, continued lines joined by a space. Source: deb822(5), deb-control(5).

    Raises: Damage for a line that is none, a field that stands twice, or a second paragraph: readers
    differ about what holds then.
    """
    found: dict[str, str] = {}
    name, ended = "", False
    for line in text.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        if not line.strip():
            ended = bool(found)
            name = ""
            continue
        if ended:
            raise Damage("its control file has a second paragraph")
        if line[0] in " \t" and name:
            found[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name or line[0] in " \t":
            raise Damage(f"its control file has a line that is no field: {line[:80]!r}")
        if name in found:
            raise Damage(f"its control file has the field {name!r} twice")
        found[name] = value.strip()
    return found


def alternatives(field: str) -> tuple[tuple[str, ...], ...]:
    """Names of a dependency field: "a (>= 1), b:any | c" → (("a",), ("b", "c")).

    Source: Debian Policy 7.1.
    """
    groups = (group for group in field.split(",") if group.strip())
    return tuple(
        tuple(re.split(r"[\s:(\[<]", choice.strip(), maxsplit=1)[0] for choice in group.split("|"))
        for group in groups
    )
