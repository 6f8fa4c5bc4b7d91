"""Tools of another mirror and distribution than the host's."""

import json
from pathlib import Path

import pytest

from tests.e2e.small_host import MANIFEST, PACKAGES, Small, minbuild
from tests.security.world import packages, run, tools
from tests.support.archive import Archive
from tests.support.lab import STORE


def list_repositories(small: Small) -> dict[str, set[str]]:
    """Which archives the packages of the host and of the toolbox come from."""
    document = json.loads((small.directory / "small.lock").read_text())
    return {key: {row["root"] for row in document[key]} for key in ("packages", "toolbox")}


def make_tool_archive(small: Small) -> Archive:
    """An archive of tools alone, with a key of its own."""
    directory = small.archive.directory / "other"
    directory.mkdir()
    archive = Archive(directory)
    archive.publish("tooling", tools() + "\nPackage: libc6\nVersion: 2.41\n" + LIBC)
    return archive


LIBC = PACKAGES.partition("Package: libc6\nVersion: 2.41\n")[2].partition("\n\n")[0]


def test_tools_come_from_an_archive_of_their_own(small: Small) -> None:
    archive = make_tool_archive(small)
    small.archive.publish("trixie", PACKAGES)  # the host's archive has no tools
    text = (
        f"tools: {{suites: [tooling], mirror: '{small.server.url}/other/debian', "
        f"signed-by: {archive.certificate}}}"
    )
    small.write(base=MANIFEST.replace("suites: [trixie]", f"suites: [trixie], {text}"))
    ended = run(small, "lock", "small.yaml", "--allow-outside", str(archive.directory))
    assert ended.code == 0, ended.err
    assert list_repositories(small) == {"packages": {"debian"}, "toolbox": {"tools"}}
    argv = ["make", "small.yaml", "--allow-outside", str(archive.directory)]
    ended = run(small, *argv)
    assert ended.code == 2
    assert "takes tools from an archive with keys of its own" in ended.err


@pytest.mark.mirror
def test_debians_tools_serve_a_host_of_another_archive(small: Small) -> None:
    small.archive.publish("ours", packages())
    small.write(
        base=MANIFEST.replace(
            "suites: [trixie]", "suites: [ours], tools: [trixie, trixie-security]"
        )
    )
    argv = ["lock", "small.yaml", "--mirror", small.mirror, "--store", str(STORE)]
    ended = minbuild(*argv, cwd=small.directory)
    assert ended.code == 0, ended.err
    assert list_repositories(small) == {"packages": {"debian"}, "toolbox": {"tools"}}
    argv[0] = "plan"
    assert minbuild(*argv, cwd=small.directory).code == 0


def test_a_suite_that_no_archive_has_is_named(small: Small, tmp_path: Path) -> None:
    """The host's mirror is asked first, then this machine's, by Debian's keys alone."""
    config = tmp_path / "minbuild" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'mirror = "{small.server.url}/debian"\n')
    small.archive.publish("ours", packages())
    small.write(base=MANIFEST.replace("suites: [trixie]", "suites: [ours], tools: [trixy]"))
    argv = ["lock", "small.yaml", "--mirror", small.mirror, "--store", str(tmp_path / "store")]
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    ended = minbuild(*argv, cwd=small.directory, env=environment)
    assert ended.code == 4
    assert "the mirror has no suite trixy" in ended.err
    small.archive.publish("trixy", packages())
    assert minbuild(*argv, cwd=small.directory, env=environment).code == 0
    assert list_repositories(small)["toolbox"] == {"debian"}
