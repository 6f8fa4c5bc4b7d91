"""Whether a directory of this machine is its user's alone: nobody else may write there."""

import grp
import os
import pwd
import stat
from pathlib import Path

from minbuild.errors import ToolError


def check_private(directory: Path) -> None:
    """Refuse a directory that another user can write, or that lies in one.

    Every part of the path counts, with the links that lead there; a parent with the sticky bit
    (/tmp) is safe, since nobody else can move what lies in it. The group that is the user's own
    is the user.
    Raises: ToolError.
    """
    for place in _parts(directory.absolute()):
        status = place.lstat()
        if status.st_uid not in {0, os.geteuid()}:
            raise _refused(directory, place, f"belongs to the user {_user(status.st_uid)}", "")
        if stat.S_ISLNK(status.st_mode):
            continue
        others = stat.S_IWOTH if _is_own_group(status.st_gid) else stat.S_IWOTH | stat.S_IWGRP
        is_parent = place not in {directory.absolute(), directory.resolve()}
        if status.st_mode & others and not (is_parent and status.st_mode & stat.S_ISVTX):
            fix = f"chmod go-w {place}, or "
            raise _refused(directory, place, "may be written by other users", fix)


def _parts(directory: Path) -> list[Path]:
    """A path and every directory above it, as it is written and as its links lead."""
    real = directory.resolve()
    return list(dict.fromkeys([real, *real.parents, directory, *directory.parents]))


def _is_own_group(number: int) -> bool:
    """Whether a group is the user's own: of the same name, and nobody else is in it."""
    if number == 0:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _refused(directory: Path, place: Path, why: str, fix: str) -> ToolError:
    about = "the store" if place == directory else f"the store lies in {place}, which"
    return ToolError(
        f"{about} {why}: they could change what a build runs",
        where=str(directory),
        fix=f"{fix}use a directory of your own: --store DIR, or MINBUILD_STORE=DIR",
    )
