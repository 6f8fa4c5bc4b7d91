"""A stranger's manifest builds, and chooses nothing that runs on the build machine."""

import json
from pathlib import Path

import pytest

from tests.e2e.small_host import CommandResult, Small, minbuild
from tests.support.archive import Archive
from tests.support.lab import STORE
from tests.support.server import serve

TOOL = r"""
Package: systemd-ukify
Version: 999
/usr/bin/ukify 0755 file "#!/usr/bin/python3\nprint('ours')\n"
"""
MANIFEST = """\
minbuild: 1
name: host
kernel: {package: linux-image-cloud-amd64}
archives: [{name: own, suites: [own], mirror: %s, trusted: true, priority: 900}]
"""


def lock(directory: Path, *args: str) -> dict[str, str]:
    """Archive by name of each package of the toolbox."""
    argv = ("lock", "host.yaml", "--lock", "host.lock", "--store", str(STORE), *args)
    ended = minbuild(*argv, cwd=directory)
    assert ended.code == 0, ended.err
    document = json.loads((directory / "host.lock").read_text())
    return {one["name"]: one["root"] for one in document["toolbox"]}


@pytest.mark.mirror
def test_tools_come_from_debian_whatever_archives_a_manifest_adds(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.publish("own", TOOL)
    with serve(tmp_path) as server:
        (tmp_path / "host.yaml").write_text(MANIFEST % f"{server.url}/debian")
        assert set(lock(tmp_path).values()) == {"debian", "debian-security"}
        (tmp_path / "host.lock").unlink()
        assert lock(tmp_path, "--allow-code")["systemd-ukify"] == "own"


def make(small: Small, *argv: str) -> CommandResult:
    return minbuild(*small.argv("make", "small.yaml", *argv), cwd=small.directory)


def test_a_lock_with_tools_of_a_key_of_its_own_is_refused(small: Small) -> None:
    small.write()
    ended = minbuild(*small.argv("lock", "small.yaml"), cwd=small.directory)
    assert ended.code == 0, ended.err
    path = small.directory / "small.lock"
    document = json.loads(path.read_text())
    document["toolbox"] = [one for one in document["packages"] if one["name"] == "hello"]
    path.write_text(json.dumps(document))
    ended = make(small)
    assert ended.code == 2, ended.err
    assert "the manifest takes tools from an archive with keys of its own (hello)" in ended.err
    assert "--allow-code" in ended.err
    assert "keys of its own" not in make(small, "--allow-code").err
