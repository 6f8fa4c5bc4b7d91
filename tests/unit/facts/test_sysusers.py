"""Lines of sysusers.d and tmpfiles.d."""

import pytest

from minbuild.errors import ArchiveError
from minbuild.facts.config_files import (
    DeclaredDirectory,
    DeclaredGroup,
    DeclaredUser,
    parse_sysusers,
    parse_tmpfiles,
)


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ('u sshd -:nogroup "sshd user" /run/sshd', DeclaredUser("sshd", 1, None, "nogroup", "sshd user", "/run/sshd")),
        ("u! app 300 - - /bin/sh", DeclaredUser("app", 1, 300, "", "", "/", "/bin/sh")),
        ("u app 300:400", DeclaredUser("app", 1, 300, "400")),
        ("g disk 6 -", DeclaredGroup("disk", 1, 6)),
        ("m app disk", DeclaredGroup("disk", 1, member="app")),
    ],
)  # fmt: skip
def test_a_line_declares_a_user_a_group_or_a_member(
    line: str, row: DeclaredUser | DeclaredGroup
) -> None:
    assert parse_sysusers([line]) == (row,)


def test_a_number_longer_than_any_is_none() -> None:
    (user,) = parse_sysusers(["u app " + "9" * 5000])
    assert isinstance(user, DeclaredUser)
    assert user.uid is None


def test_comments_and_ranges_declare_nothing() -> None:
    assert parse_sysusers(["# u a", "", "r - 500-900"]) == ()


def test_directories_have_their_modes_and_owners() -> None:
    lines = [
        "d /run/app 0750 app disk 10d -",
        "D! /var/lib/app",
        "d /run/user/%U",
        "x /tmp/a*",
        "L /a - - - - /b",
    ]
    assert parse_tmpfiles(lines) == (
        DeclaredDirectory("/run/app", 1, 0o750, "app", "disk"),
        DeclaredDirectory("/var/lib/app", 2),
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [("k a b", "line 1 has the unknown type 'k'"), ('u "a', "line 1 has a quote without its end")],
)
def test_an_unknown_line_is_damage(line: str, reason: str) -> None:
    for read in (parse_sysusers, parse_tmpfiles):
        with pytest.raises(ArchiveError, match=reason.replace("(", r"\(")):
            read([line])


def test_a_mode_that_is_no_number_is_damage() -> None:
    with pytest.raises(ArchiveError, match="mode 'rwx'"):
        parse_tmpfiles(["d /a rwx"])
