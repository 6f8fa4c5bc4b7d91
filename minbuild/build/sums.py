"""SHA256SUMS of a build: read, held against the files, and written with what is added later."""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from minbuild.errors import UsageError, together
from minbuild.foreign import read_bytes
from minbuild.image.outputs import SUMS
from minbuild.records import full_disk

LARGEST = 1 << 20
"""Bytes of the largest SHA256SUMS."""
_LINE = re.compile(
    r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9._+@~=-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+@~=-]*)*)"
)


def read_sums(directory: Path) -> dict[str, str]:
    """Output → SHA-256 as SHA256SUMS says; sorted.

    A name is a path below the directory: none that is absolute, climbs, or begins with a dot.
    Raises: UsageError when there is none, or it holds anything else.
    """
    place = directory / SUMS
    try:
        lines = read_bytes(place, LARGEST).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "this directory holds no build: it has no SHA256SUMS",
            where=str(directory),
            fix="build first: minbuild make host.yaml",
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found:
            raise UsageError(
                "a line of SHA256SUMS is no digest and name of an output",
                where=f"{place}:{number}",
                fix="build again: every name lies in the directory, and stands there once",
            )
        found[match[2]] = match[1]
    return dict(sorted(found.items()))


def wrong(directory: Path, sums: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Outputs that are not what their sums say, and those that are not there."""
    differ, missing = [], []
    for name, digest in sums.items():
        held = sha256(directory, name)
        if held is None:
            missing.append(name)
        elif held != digest:
            differ.append(name)
    return differ, missing


def require_sums(directory: Path, *, but: str = "") -> dict[str, str]:
    """The sums of a build whose every output is as they say, `but` one.

    Raises: UsageError for all that differ.
    """
    sums = {name: digest for name, digest in read_sums(directory).items() if name != but}
    differ, missing = wrong(directory, sums)
    problems = [
        UsageError(f"{name} is not what SHA256SUMS says", where=str(directory), fix="build again")
        for name in sorted((*differ, *missing))
    ]
    if problems:
        raise together(problems)
    return sums


def sha256(directory: Path, name: str) -> str | None:
    """The SHA-256 of a regular file below a directory, no link followed; None where there is none."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            *folders, last = name.split("/")
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            for folder in folders:
                inner = os.open(folder, flags | os.O_DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
            with os.fdopen(os.open(last, flags | os.O_NONBLOCK, dir_fd=handle), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                return hashlib.file_digest(file, "sha256").hexdigest()
        finally:
            os.close(handle)
    except OSError:
        return None


def write_sums(directory: Path, sums: Mapping[str, str]) -> Path:
    """Write SHA256SUMS anew, sorted by name."""
    text = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return write(directory / SUMS, text.encode("ascii"))


def write(place: Path, data: bytes) -> Path:
    """Write a file beside its place and let it take it."""
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    with full_disk(place.parent):
        try:
            beside.write_bytes(data)
            os.replace(beside, place)
        finally:
            beside.unlink(missing_ok=True)
    return place
