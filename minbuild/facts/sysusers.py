"""Users, groups and directories that packages declare. Source: sysusers.d(5), tmpfiles.d(5)."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minbuild.errors import ArchiveError, MalformedFile

NOLOGIN = "/usr/sbin/nologin"
_PATHS = frozenset("dDvqQ")
_AT_BOOT = frozenset("fFwecCpbcaAtTzZhHxXrRmLl")
"""Types of lines that change what is there at boot, or clean up: no part of an image."""


MAX_DIGITS = 10
"""Of the longest number of a user or group: 4294967295."""


@dataclass(frozen=True, slots=True)
class DeclaredUser:
    """A line `u` of sysusers.d."""

    name: str
    line: int
    uid: int | None = None
    group: str = ""
    """Name or number of the first group; "" for one called like the user."""
    gecos: str = ""
    home: str = "/"
    shell: str = NOLOGIN


@dataclass(frozen=True, slots=True)
class DeclaredGroup:
    """A line `g`, or a member of one (`m`)."""

    name: str
    line: int
    gid: int | None = None
    member: str = ""


@dataclass(frozen=True, slots=True)
class DeclaredDirectory:
    """A directory of tmpfiles.d."""

    path: str
    line: int
    mode: int = 0o755
    user: str = "root"
    group: str = "root"


def parse_sysusers(
    lines: Sequence[str], where: str = ""
) -> tuple[DeclaredUser | DeclaredGroup, ...]:
    """Read a file of sysusers.d; `where` names it in errors.

    Raises: ArchiveError with the line.
    """
    try:
        return _parse_accounts(lines)
    except MalformedFile as damage:
        raise _damage_error("sysusers.d", damage, where) from damage


def parse_tmpfiles(lines: Sequence[str], where: str = "") -> tuple[DeclaredDirectory, ...]:
    """Read the directories of a file of tmpfiles.d; paths with specifiers are known only at boot.

    Raises: ArchiveError with the line.
    """
    try:
        return _parse_directories(lines)
    except MalformedFile as damage:
        raise _damage_error("tmpfiles.d", damage, where) from damage


def _damage_error(kind: str, damage: MalformedFile, where: str) -> ArchiveError:
    fix = "leave the package's programs out, or report this with the package"
    return ArchiveError(f"a file of {kind} is damaged: {damage.reason}", where=where, fix=fix)


def _parse_accounts(lines: Sequence[str]) -> tuple[DeclaredUser | DeclaredGroup, ...]:
    accounts: list[DeclaredUser | DeclaredGroup] = []
    for number, fields in _split_lines(lines):
        kind, name, *rest = (*fields, "", "", "", "")[: max(len(fields), 6)]
        match kind.rstrip("!"):
            case "u":
                accounts.append(_build_user(name, number, rest))
            case "g":
                accounts.append(DeclaredGroup(name, number, _parse_number(rest[0])))
            case "m":
                accounts.append(DeclaredGroup(rest[0], number, member=name))
            case "r":
                continue
            case _:
                raise MalformedFile(f"line {number} has the unknown type {kind!r}")
    return tuple(accounts)


def _parse_directories(lines: Sequence[str]) -> tuple[DeclaredDirectory, ...]:
    directories = []
    for number, fields in _split_lines(lines):
        kind, path, mode, user, group, *_ = (*fields, "", "", "", "", "")
        letter = kind[:1]
        if letter not in _PATHS | _AT_BOOT:
            raise MalformedFile(f"line {number} has the unknown type {kind!r}")
        if letter in _PATHS and "%" not in path and path.startswith("/"):
            directories.append(
                DeclaredDirectory(
                    path,
                    number,
                    _parse_mode(mode, number),
                    _or_default(user, "root"),
                    _or_default(group, "root"),
                )
            )
    return tuple(directories)


def _split_lines(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield number, shlex.split(line)
            except ValueError as error:
                raise MalformedFile(f"line {number} has a quote without its end") from error


def _build_user(name: str, line: int, rest: Sequence[str]) -> DeclaredUser:
    uid, _, group = rest[0].partition(":")
    gecos, home, shell = (_or_default(text, "") for text in rest[1:4])
    return DeclaredUser(name, line, _parse_number(uid), group, gecos, home or "/", shell or NOLOGIN)


def _parse_number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


def _or_default(text: str, default: str) -> str:
    return default if text in ("", "-") else text


def _parse_mode(text: str, line: int) -> int:
    digits = text.lstrip("~:")
    if digits in ("", "-"):
        return 0o755
    try:
        return int(digits, 8)
    except ValueError as error:
        raise MalformedFile(f"line {line} has the mode {text!r}") from error
