"""The host's scripts, whole and in parts, and the shells that run them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.data import data_directory
from minbuild.manifest.loader import read_manifest
from tests.support.cache import cache_directory
from tests.support.real_archive import open_real_archive
from tests.unit.lab.conftest import busybox_of

HOST = read_manifest(data_directory("manifests") / "host.yaml", settings={}, components=())
FILES = {
    str(file.path): file.content.decode()
    for component in HOST.components
    for file in component.files
}
APPLETS = {applet.text for component in HOST.components for applet in component.applets}
PARTS = data_directory("manifests") / "components"
"""Where the parts of long scripts are."""


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with Debian's BusyBox and the links to it that the host has."""
    store = Store(cache_directory("lab"))
    market = open_real_archive(store, arch="amd64")
    place = tmp_path_factory.mktemp("busybox")
    (place / "busybox").write_bytes(busybox_of(market, store))
    (place / "busybox").chmod(0o755)
    for applet in APPLETS:
        (place / applet).symlink_to("busybox")
    return place


@pytest.fixture(params=["sh", pytest.param("busybox", marks=pytest.mark.mirror)])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What runs the script: this machine's shell and tools, or BusyBox alone, in `bin`."""
    if request.param == "busybox":
        shutil.copytree(request.getfixturevalue("busybox"), tmp_path / "bin", symlinks=True)
        return
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to("/bin/sh")


def run(directory: Path, script: str, **variables: str) -> str:
    """What a script prints in the shell of `directory`, with its tools alone if that is BusyBox."""
    alone = (directory / "bin/busybox").exists()
    path = f"{directory}/bin" if alone else f"{directory}/bin:{os.environ['PATH']}"
    words = [f"{directory}/bin/sh", "-c", script]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=directory, env={**variables, "PATH": path}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def host(tmp_path: Path, shell: None) -> Path:
    """A directory with the script, moved from the paths of a host to paths below it."""
    moved = {"/usr/lib/minbuild/init": tmp_path / "init", "/usr/bin/vm": tmp_path / "vm"}
    for path, target in moved.items():
        text = FILES[path]
        for place in ("/usr/lib/minbuild", "/data", "/run"):
            text = text.replace(f"{place}/", f"{tmp_path}/").replace(f"={place}/", f"={tmp_path}/")
        target.write_text(text.replace("PATH=/usr/bin:/usr/sbin:/bin:/sbin", "PATH=$PATH"))
        target.chmod(0o755)
    (tmp_path / "guests").mkdir()
    return tmp_path
