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
from tests.dib.rpms import HERE, laid
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
    found = shutil.which("dpkg-deb")
    if found is not None:
        return lambda *words: subprocess.run([found, *words], check=True, capture_output=True).stdout  # fmt: skip
    toolbox = laid(DPKG)
    return lambda *words: toolbox.run("dpkg-deb", words, purpose="unpacking")


def unpacked(top: Path) -> Tree:
    """Path → what dpkg-deb has laid down, the top and directories that nobody names left out."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        told = path.lstat()
        name = "/" + path.relative_to(top).as_posix()
        if stat.S_ISLNK(told.st_mode):
            found[name] = ("link", str(path.readlink()))
        elif stat.S_ISREG(told.st_mode):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = ("file", stat.S_IMODE(told.st_mode), told.st_size, digest)
    return found


def counted(path: Path) -> Tree:
    """The same, as minbuild has it."""
    _, entries = decode_files(analyse_package(path, "made", 1).files)
    found: dict[str, tuple[object, ...]] = {}
    for name, entry in entries.items():
        if entry.kind is FileType.LINK:
            found[name] = ("link", entry.target)
        elif entry.kind in {FileType.FILE, FileType.HARDLINK}:
            found[name] = ("file", entry.mode, entry.size, entry.sha256)
    return found


def test_packages_are_read_as_dpkg_deb_reads_them(tmp_path: Path, dpkg_deb: Run) -> None:
    made = list(debs.corpus(SEED, COUNT))
    assert len(made) > 150
    path, top = tmp_path / "made.deb", tmp_path / "top"
    wrong: dict[str, object] = {}
    for one in made:
        path.write_bytes(one.data)
        if one.refused:
            with pytest.raises(ArchiveError, match=one.refused):
                analyse_package(path, one.name, 1)
            continue
        shutil.rmtree(top, ignore_errors=True)
        try:
            dpkg_deb("-x", str(path), str(top))
            ours = counted(path)
        except (ArchiveError, subprocess.CalledProcessError) as error:
            wrong[one.name] = error
            continue
        if ours != (theirs := unpacked(top)):
            wrong[one.name] = set(ours.items()) ^ set(theirs.items())
    assert wrong == {}


def test_control_fields_are_those_that_dpkg_deb_tells(tmp_path: Path, dpkg_deb: Run) -> None:
    path = tmp_path / "made.deb"
    names = ("Package", "Version", "Architecture", "Source")
    for one in [one for one in debs.corpus(SEED, 12) if not one.refused]:
        path.write_bytes(one.data)
        said = dict(
            line.split(": ", 1) for line in dpkg_deb("-f", str(path), *names).decode().splitlines()
        )
        with open_deb(path, one.name) as deb:
            fields = deb.read_control()
        assert {name: fields[name.lower()] for name in names} == said, one.name
