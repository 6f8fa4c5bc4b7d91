"""The wheel that users install: built from the sdist, complete, run from an empty environment."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from minbuild import __version__
from tests.support.cache import cache_directory
from tests.support.patience import PATIENCE
from tests.unit.toolbox.real import store
from tools.debian_root import open_packages, run_in_root, unpack_root
from tools.dist import CONTAINER_PYTHON, TOP, fill_wheelhouse, main


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "build", "--outdir", str(directory), str(TOP)]
    subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE)
    return directory


def run(*argv: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program that knows nothing of the tree; returns its stdout."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(
        argv, cwd=cwd, env=known | environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.xdist_group("dist")
def test_the_wheel_has_every_file_of_the_package_and_no_other(dist: Path) -> None:
    assert main(dist) == 0
    argv = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    assert subprocess.run(argv, capture_output=True).returncode == 0


@pytest.mark.mirror
@pytest.mark.xdist_group("dist")
def test_the_wheel_installed_by_pip_knows_what_ships_with_it(dist: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    (wheel,) = dist.glob("*.whl")
    run(tmp_path / "venv/bin/pip", "install", "--quiet", wheel, cwd=tmp_path)
    minbuild = tmp_path / "venv/bin/minbuild"
    assert run(minbuild, "--version", cwd=tmp_path) == f"minbuild, version {__version__}\n"
    assert wheel.name == f"minbuild-{__version__}-py3-none-any.whl"
    assert (tmp_path / "venv/share/man/man1/minbuild-make.1").is_file()
    assert "services/ssh" in run(minbuild, "components", cwd=tmp_path)
    run(minbuild, "init", "mine.yaml", "--from", "host", cwd=tmp_path)
    assert "installed" in run(minbuild, "plan", "mine.yaml", cwd=tmp_path)
    share = run(minbuild, "elements", cwd=tmp_path).strip()
    assert Path(share).is_relative_to(tmp_path / "venv")
    typed = (
        "import importlib.resources as r; print(r.files('minbuild').joinpath('py.typed').is_file())"
    )
    assert run(tmp_path / "venv/bin/python", "-c", typed, cwd=tmp_path) == "True\n"


@pytest.mark.long
@pytest.mark.xdist_group("dist")
@pytest.mark.parametrize("installer", ["pipx", "uv"])
def test_the_wheel_is_installed_as_a_tool(dist: Path, tmp_path: Path, installer: str) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    (wheel,) = dist.glob("*.whl")
    run(tmp_path / "venv/bin/pip", "install", "--quiet", installer, cwd=tmp_path)
    argv: list[str | Path] = (
        ["install", wheel] if installer == "pipx" else ["tool", "install", wheel]
    )
    homes = {
        "HOME": str(tmp_path), "PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "UV_TOOL_DIR": str(tmp_path / "uv"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin"),
        "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_PYTHON": sys.executable,
    }  # fmt: skip
    run(tmp_path / "venv/bin" / installer, *argv, cwd=tmp_path, **homes)
    assert "services/ssh" in run(tmp_path / "bin/minbuild", "components", cwd=tmp_path)


@pytest.mark.long
@pytest.mark.mirror
@pytest.mark.xdist_group("dist")
def test_the_containerfile_installs_the_wheel_without_a_network(dist: Path) -> None:
    """Its steps in a root of trixie, whose pip installs into /usr/local as the image's does."""
    assert fill_wheelhouse(dist) == 0
    steps = dict(line.split(" ", 1) for line in (TOP / "Containerfile").read_text().splitlines()
                 if line[:1].isupper())  # fmt: skip
    assert f":{CONTAINER_PYTHON}-slim-trixie" in steps["FROM"]
    root = cache_directory("roots") / "container"
    root.with_name("container.packages").unlink(missing_ok=True)  # it may have an older minbuild
    unpack_root(root, ["python3", "python3-pip"], open_packages(store()))
    source, place = steps["COPY"].split()
    assert source == "dist/wheelhouse/"
    name, value = steps["ENV"].split("=")
    env = {"PATH": "/usr/local/bin:/usr/bin", "PIP_BREAK_SYSTEM_PACKAGES": "1", name: value}
    binds = {dist / "wheelhouse": "/mnt/wheelhouse"}
    script = (
        f"mkdir -p {place} {steps['WORKDIR']}; cp /mnt/wheelhouse/*.whl {place}; {steps['RUN']}; "
        f"cd {steps['WORKDIR']}; {' '.join(json.loads(steps['ENTRYPOINT']))} components"
    )
    done = run_in_root(root, ["unshare", "-n", "sh", "-ec", script], binds=binds, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "services/ssh" in done.stdout
