"""Warnings about commands of scripts: printed, in the footprint, and waived."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.facts.model import FileEntry
from minbuild.facts.rendered_files import collect_rendered_files
from minbuild.formats.root_entry import FileType
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.paths import RootPath
from minbuild.pipeline.shell_check import find_script_warnings
from minbuild.resolve.policy import Waivers
from tests.e2e.small_host import PACKAGES, Small, minbuild

FILES = """\
files:
  /usr/bin/sh: {link: hello}
  /usr/bin/work: {mode: "0755", content: "#!/bin/sh\\nhello\\nlsblk\\n"}
"""


def test_a_command_that_is_not_there_is_a_warning_until_it_is_waived(small: Small) -> None:
    small.write(FILES)
    output = minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory)
    assert output.code == 0, output.err
    assert '/usr/bin/work:3: command "lsblk" is not in the image' in output.out
    document = minbuild(*small.argv("plan", "--json", "small.yaml"), cwd=small.directory)
    assert json.loads(document.out)["warnings"] == [
        {"line": 3, "path": "/usr/bin/work", "what": 'command "lsblk" is not in the image'}
    ]

    small.write(FILES + "allow-missing: [{path: lsblk, because: a test}]\n")
    output = minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory)
    assert output.code == 0, output.err
    assert "lsblk" not in output.out

    small.write(
        FILES + "allow-missing: [{path: lsbk, because: a test}, {path: lsblk, because: x}]\n"
    )
    output = minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory)
    assert output.code == 5
    assert "nothing needs the waiver for lsbk" in output.err
    assert "waiver for lsblk" not in output.err


@pytest.mark.parametrize("name", ["host", "host-full", "edge", "debug", "guest"])
def test_scripts_that_ship_run_nothing_that_their_host_has_not(name: str, tmp_path: Path) -> None:
    manifest = read_manifest(find_manifest(name), settings={}, components=())
    store = Store(tmp_path)
    result = [file for one in manifest.components for file in one.files]
    files = collect_rendered_files(result, store)
    contents = {file.path: file.content for file in result}
    remaining = {
        RootPath(path): FileEntry(RootPath(path), FileType.FILE, 0o755)
        for one in manifest.components
        for package in one.packages
        for path in package.paths
    }
    files = replace(files, entries={**remaining, **files.entries})
    assert find_script_warnings(files, contents.__getitem__, Waivers(), store) == ()


DAEMON = r"""
Package: daemon
Version: 1.0
Depends: libc6
/usr/sbin/daemon 0755 elf interp=/lib64/ld-linux-x86-64.so.2
/usr/lib/sysusers.d/daemon.conf file "u daemonic - \"a daemon\" /var/lib/daemon\n"
/usr/lib/tmpfiles.d/daemon.conf file "d /var/lib/daemon 0750 daemonic daemonic -\n"
"""


def test_users_and_directories_that_a_package_declares_stand_in_the_host(small: Small) -> None:
    small.archive.publish("trixie", PACKAGES + DAEMON)
    small.write("  - {package: daemon, paths: [/usr/sbin/daemon]}\n")
    output = minbuild(*small.argv("plan", "--json", "small.yaml"), cwd=small.directory)
    assert output.code == 0, output.err
    document = json.loads(output.out)
    (path,) = (row for row in document["files"] if row["path"] == "/var/lib/daemon")
    assert (path["mode"], path["uid"], path["gid"]) == ("0750", 999, 999)
    (need,) = (edge for edge in document["edges"] if edge["to"] == "/etc/passwd")
    assert (need["from"], need["evidence"]) == ("services/declared", "daemon.conf:1:1")
