"""Users, groups and directories that packages declare, in the host."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import ArchiveError
from minbuild.facts.model import PackageFiles, Script, TextLines
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest, RenderedFile
from minbuild.paths import RootPath
from minbuild.pipeline.accounts import (
    BOOT_DIRECTORIES,
    DECLARED_COMPONENT,
    GROUP,
    INIT,
    PASSWD,
    with_declared_accounts,
)
from tests.unit.resolve.builders import closed, package, root

LINES = (
    'u app - "an app" /var/lib/app',
    "u fixed 123:disk",
    "g disk 7",
    "m app tape",
    "u ntpd 500",
)
PLACES = ("d /var/lib/app 0750 app app", "d /run/app 0700 app -", "x /tmp/a")


def daemon(
    *, users: tuple[str, ...] = LINES, places: tuple[str, ...] = PLACES, script: bool = True
) -> PackageFiles:
    return package(
        "app",
        {
            "/usr/bin/app": Script("/bin/app") if script else None,
            "/usr/lib/libapp.so.1": None,
            "/usr/lib/sysusers.d/app.conf": TextLines(users),
            "/usr/lib/tmpfiles.d/app.conf": TextLines(places),
        },
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    place = tmp_path / "host.yaml"
    place.write_text(
        "minbuild: 1\nkernel: {package: linux}\nfiles:\n"
        '  /etc/passwd: {content: "root:*:0:0:r:/:/bin/sh\\nntpd:*:101:65534:t:/:/bin/false\\n"}\n'
        "  /usr/lib/minbuild/init: {content: boot}\n"
    )
    return read_manifest(place, settings={}, components=())


def declared(
    manifest: Manifest, files: PackageFiles, path: str = "/usr/bin/app"
) -> dict[RootPath, RenderedFile]:
    more = with_declared_accounts(manifest, closed(files, roots=(root(path),)), (files,))
    return {
        file.path: file
        for one in more.components
        if one.name == DECLARED_COMPONENT
        for file in one.files
    }


def test_users_are_added_to_those_that_are_there(manifest: Manifest) -> None:
    made = declared(manifest, daemon())
    assert made[PASSWD].content.decode().splitlines() == [
        "root:*:0:0:r:/:/bin/sh",
        "ntpd:*:101:65534:t:/:/bin/false",
        "app:*:999:999:an app:/var/lib/app:/usr/sbin/nologin",
        "fixed:*:123:6::/:/usr/sbin/nologin",
    ]
    assert made[GROUP].content.decode().splitlines() == [
        "root:*:0:", "app:*:999:", "disk:*:6:", "tape:*:26:app",
    ]  # fmt: skip
    assert str(made[PASSWD].where) == "/usr/lib/sysusers.d/app.conf:1:1"


def test_directories_are_made_in_the_tree_and_those_of_run_at_boot(manifest: Manifest) -> None:
    made = declared(manifest, daemon())
    place = made[RootPath("/var/lib/app")]
    assert (place.directory, place.mode, place.uid, place.gid) == (True, 0o750, 999, 999)
    assert made[BOOT_DIRECTORIES].content.decode().splitlines()[1:] == [
        "mkdir -p /run/app && chmod 700 /run/app && chown 999:0 /run/app"
    ]
    assert made[RootPath("/usr/bin/chown")].link == "busybox"


def test_without_the_hosts_own_init_nothing_is_done_at_boot(manifest: Manifest) -> None:
    bare = replace(
        manifest,
        components=tuple(
            replace(one, files=tuple(file for file in one.files if file.path != INIT))
            for one in manifest.components
        ),
    )
    assert BOOT_DIRECTORIES not in declared(bare, daemon())


def test_a_file_stands_in_one_component_only(manifest: Manifest) -> None:
    files = daemon()
    more = with_declared_accounts(manifest, closed(files, roots=(root("/usr/bin/app"),)), (files,))
    paths = [file.path for one in more.components for file in one.files]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize(
    ("files", "path"),
    [
        (daemon(), "/usr/lib/libapp.so.1"),
        (daemon(users=(), places=()), "/usr/bin/app"),
        (daemon(users=("u ntpd 101",), places=("x /tmp/a",)), "/usr/bin/app"),
    ],
)
def test_a_package_that_declares_nothing_new_or_runs_nothing_changes_nothing(
    manifest: Manifest, files: PackageFiles, path: str
) -> None:
    assert (
        with_declared_accounts(manifest, closed(files, roots=(root(path),)), (files,)) is manifest
    )


def test_a_file_that_cannot_be_read_is_named(manifest: Manifest) -> None:
    with pytest.raises(ArchiveError, match="line 1 has the unknown type 'k'") as caught:
        declared(manifest, daemon(users=("k what",)))
    assert caught.value.where == "app: /usr/lib/sysusers.d/app.conf"
