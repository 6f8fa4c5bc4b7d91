"""Users, groups and directories that packages declare. Source: sysusers.d(5), tmpfiles.d(5)."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minbuild.errors import ArchiveError
from minbuild.facts.damage import Damage

NOLOGIN = "/usr/sbin/nologin"
_PATHS = frozenset("dDvqQ")
_AT_BOOT = frozenset("fFwecCpbcaAtTzZhHxXrRmLl")
"""Types of lines that change what is there at boot, or clean up: no part of an image."""


DIGITS = 10
"""Of the longest number of a user or group: 4294967295."""


@dataclass(frozen=True, slots=True)
class User:
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
class Group:
    """A line `g`, or a member of one (`m`)."""

    name: str
    line: int
    gid: int | None = None
    member: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of tmpfiles.d."""

    path: str
    line: int
    mode: int = 0o755
    user: str = "root"
    group: str = "root"


def accounts(lines: Sequence[str], where: str = "") -> tuple[User | Group, ...]:
    """Read a file of sysusers.d; `where` names it in errors.

    Raises: ArchiveError with the line.
    """
    try:
        return _accounts(lines)
    except Damage as damage:
        raise _refused("sysusers.d", damage, where) from damage


def places(lines: Sequence[str], where: str = "") -> tuple[Place, ...]:
    """Read the directories of a file of tmpfiles.d; paths with specifiers are known only at boot.

    Raises: ArchiveError with the line.
    """
    try:
        return _places(lines)
    except Damage as damage:
        raise _refused("tmpfiles.d", damage, where) from damage


def _refused(kind: str, damage: Damage, where: str) -> ArchiveError:
    fix = "leave the package's programs out, or report this with the package"
    return ArchiveError(f"a file of {kind} is damaged: {damage.reason}", where=where, fix=fix)


def _accounts(lines: Sequence[str]) -> tuple[User | Group, ...]:
    found: list[User | Group] = []
    for number, words in _words(lines):
        kind, name, *rest = (*words, "", "", "", "")[: max(len(words), 6)]
        match kind.rstrip("!"):
            case "u":
                found.append(_user(name, number, rest))
            case "g":
                found.append(Group(name, number, _number(rest[0])))
            case "m":
                found.append(Group(rest[0], number, member=name))
            case "r":
                continue
            case _:
                raise Damage(f"line {number} has the unknown type {kind!r}")
    return tuple(found)


def _places(lines: Sequence[str]) -> tuple[Place, ...]:
    found = []
    for number, words in _words(lines):
        kind, path, mode, user, group, *_ = (*words, "", "", "", "", "")
        letter = kind[:1]
        if letter not in _PATHS | _AT_BOOT:
            raise Damage(f"line {number} has the unknown type {kind!r}")
        if letter in _PATHS and "%" not in path and path.startswith("/"):
            found.append(
                Place(
                    path, number, _mode(mode, number), _given(user, "root"), _given(group, "root")
                )
            )
    return tuple(found)


def _words(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield number, shlex.split(line)
            except ValueError as error:
                raise Damage(f"line {number} has a quote without its end") from error


def _user(name: str, line: int, rest: Sequence[str]) -> User:
    uid, _, group = rest[0].partition(":")
    gecos, home, shell = (_given(text, "") for text in rest[1:4])
    return User(name, line, _number(uid), group, gecos, home or "/", shell or NOLOGIN)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= DIGITS else None


def _given(text: str, usual: str) -> str:
    return usual if text in ("", "-") else text


def _mode(text: str, line: int) -> int:
    digits = text.lstrip("~:")
    if digits in ("", "-"):
        return 0o755
    try:
        return int(digits, 8)
    except ValueError as error:
        raise Damage(f"line {line} has the mode {text!r}") from error
