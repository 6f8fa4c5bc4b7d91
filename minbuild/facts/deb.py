"""The .deb format: an ar archive of a control tar and a data tar. Source: deb(5)."""

import contextlib
import os
import re
from collections.abc import Iterator
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
_AR_HEADER = 60


class Deb:
    """One open .deb: first its control fields, then its files, once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = 0
        self._expect_start()

    def control(self) -> dict[str, str]:
        """The control file's fields, names in lower case. Raises: Damage."""
        ending, _ = self._enter("control.tar")
        tar = Tar(Source(unpacked(self._read, ending), MOST_CONTROL))
        text: bytes | None = None
        for header in tar:
            if header.name == "control" and header.type is Type.FILE:
                text = tar.content()
        if text is None:
            raise Damage("it has no control file")
        return _fields(text)

    def data(self) -> Tar:
        """The files. Raises: Damage, also while it is read."""
        ending, size = self._enter("data.tar")
        limit = min(max(size * MOST_RATIO, LEAST_LIMIT), MOST_DATA)
        return Tar(Source(unpacked(self._read, ending), limit))

    def end(self) -> None:
        """Check that nothing but ignorable members follows the files. Raises: Damage."""
        while (name := self._next()) is not None:
            if not name.startswith("_"):
                raise Damage(f"it has a member too many: {name!r}")

    def _expect_start(self) -> None:
        if self._file.read(8) != b"!<arch>\n":
            raise Damage("it is no ar archive")
        if self._next() != "debian-binary":
            raise Damage("its first member is not debian-binary")
        if not re.match(rb"2\.\d+\n", self._read(64)):
            raise Damage("its format is not version 2")

    def _enter(self, wanted: str) -> tuple[str, int]:
        """Go to the next member that counts; returns its name's ending and its size."""
        while (name := self._next()) is not None and name.startswith("_"):
            pass
        if name is None:
            raise Damage(f"it is truncated: no {wanted}")
        if not name.startswith(wanted):
            raise Damage(f"it has {name!r} where {wanted} should be")
        return name.removeprefix(wanted), self._left

    def _next(self) -> str | None:
        """Go to the next member's start; returns its name, None at the end."""
        if self._left:
            self._file.seek(self._left, os.SEEK_CUR)
            self._left = 0
        self._file.seek(self._file.tell() % 2, os.SEEK_CUR)
        header = self._file.read(_AR_HEADER)
        if not header:
            return None
        found = re.fullmatch(
            rb"([\x21-\x7e]+) *\d+ +\d+ +\d+ +[0-7]+ +(\d+) *`\n", header, re.DOTALL
        )
        if len(header) != _AR_HEADER or found is None:
            raise Damage("an ar header of it is damaged")
        self._left = int(found[2])
        return found[1].decode("ascii").removesuffix("/")

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
    """Fields of one paragraph, continued lines joined by a space. Source: deb822(5)."""
    try:
        lines = text.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise Damage("its control file is not UTF-8") from error
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t") and name:
            found[name] += " " + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            found[name] = value.strip()
        elif line.strip():
            raise Damage(f"its control file has a line that is no field: {line!r}")
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
