"""Packages of every form, held against what dpkg-deb unpacks of them."""

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from minbuild.errors import ArchiveError
from minbuild.facts.package_analysis import analyse_package
from minbuild.facts.serialize import decode_files
from minbuild.formats.deb import open_deb
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import PackagePaths, Tool
from minbuild.paths import RootPath
from tests.dib.rpms import HERE, open_rpm_tools
from tests.support import debs

SEED = int(os.environ.get("MINBUILD_DEBS_SEED", "15"))
COUNT = int(os.environ.get("MINBUILD_DEBS_COUNT", "100"))
DPKG = Tool(
    "dpkg-deb", "unpack packages", RootPath("/usr/bin/dpkg-deb"),
    (PackagePaths("dpkg", ("/usr/bin/dpkg-deb",), HERE),), False, HERE,
)  # fmt: skip
Run = Callable[..., bytes]
Tree = Mapping[str, tuple[object, ...]]

pytestmark = [pytest.mark.oracle]


@pytest.fixture(scope="module")
def dpkg_deb() -> Run:
    """dpkg-deb of this machine, or of the archive."""
    program = shutil.which("dpkg-deb")
    if program is not None:
        return lambda *words: subprocess.run([program, *words], check=True, capture_output=True).stdout  # fmt: skip
    toolbox = open_rpm_tools(DPKG)
    return lambda *words: toolbox.run("dpkg-deb", words, purpose="unpacking")


def unpack_with_dpkg(top: Path) -> Tree:
    """Path → what dpkg-deb has laid down, the top and directories that nobody names left out."""
    tree: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        name = "/" + path.relative_to(top).as_posix()
        if stat.S_ISLNK(status.st_mode):
            tree[name] = ("link", str(path.readlink()))
        elif stat.S_ISREG(status.st_mode):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            tree[name] = ("file", stat.S_IMODE(status.st_mode), status.st_size, digest)
    return tree


def read_tree(path: Path) -> Tree:
    """The same, as minbuild has it."""
    _, entries = decode_files(analyse_package(path, "made").files)
    tree: dict[str, tuple[object, ...]] = {}
    for name, entry in entries.items():
        if entry.kind is FileType.LINK:
            tree[name] = ("link", entry.target)
        elif entry.kind in {FileType.FILE, FileType.HARDLINK}:
            tree[name] = ("file", entry.mode, entry.size, entry.sha256)
    return tree


def test_packages_are_read_as_dpkg_deb_reads_them(tmp_path: Path, dpkg_deb: Run) -> None:
    packages = list(debs.generate_debs(SEED, COUNT))
    assert len(packages) > 150
    path, top = tmp_path / "made.deb", tmp_path / "top"
    wrong: dict[str, object] = {}
    for one in packages:
        path.write_bytes(one.data)
        if one.refused:
            with pytest.raises(ArchiveError, match=one.refused):
                analyse_package(path, one.name)
            continue
        shutil.rmtree(top, ignore_errors=True)
        try:
            dpkg_deb("-x", str(path), str(top))
            ours = read_tree(path)
        except (ArchiveError, subprocess.CalledProcessError) as error:
            wrong[one.name] = error
            continue
        if ours != (theirs := unpack_with_dpkg(top)):
            wrong[one.name] = set(ours.items()) ^ set(theirs.items())
    assert wrong == {}


def test_control_fields_are_those_that_dpkg_deb_tells(tmp_path: Path, dpkg_deb: Run) -> None:
    path = tmp_path / "made.deb"
    names = ("Package", "Version", "Architecture", "Source")
    for one in [one for one in debs.generate_debs(SEED, 12) if not one.refused]:
        path.write_bytes(one.data)
        output = dict(
            line.split(": ", 1) for line in dpkg_deb("-f", str(path), *names).decode().splitlines()
        )
        with open_deb(path, one.name) as deb:
            fields = deb.read_control()
        assert {name: fields[name.lower()] for name in names} == output, one.name
