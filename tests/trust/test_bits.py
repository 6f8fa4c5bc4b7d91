"""The same lock gives the same bytes, whatever the machine, the user and the moment."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.trust.world import run
from tests.unit.toolbox.real import store as shared
from tests.whole.small import Small

PLAN = ("plan", "small.yaml", "--json")
ENVIRONMENTS = {
    "home, time zone, terminal": {
        "HOME": "/nonexistent",
        "XDG_CACHE_HOME": "/nonexistent",
        "TZ": "Pacific/Kiritimati",
        "COLUMNS": "20",
        "TERM": "dumb",
        "NO_COLOR": "1",
    },
    "locale, hash seed": {"LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "4711"},
    "no locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
WRAPPERS = {
    "umask": ["sh", "-c", 'umask 077; exec "$@"', "sh"],
    "one core": ["taskset", "-c", str(min(os.sched_getaffinity(0)))],
    "ordinary user": ["unshare", "-U", "--map-user=1000", "--map-group=1000"],
    "root": ["unshare", "-r"],
}


def outputs(
    small: Small, *, before: tuple[str, ...] = (), env: dict[str, str] | None = None, **more: Path
) -> tuple[str, bytes]:
    """What the plan prints and the lock's bytes, from a cold store."""
    cwd = more.get("cwd", small.directory)
    place = tempfile.mkdtemp(dir=small.directory, prefix="cold-")
    lock = Path(place, "made.lock")
    words = ["--mirror", small.mirror, "--store", f"{place}/store", "--lock", str(lock)]
    said = b""
    for command in (("lock", "small.yaml"), PLAN):
        done = subprocess.run(
            [*before, sys.executable, "-m", "minbuild", *command, *words],
            cwd=cwd,
            env=os.environ | (env or {}),
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        said = done.stdout
    return said.decode(), lock.read_bytes()


@pytest.fixture
def wanted(small: Small) -> tuple[str, bytes]:
    return outputs(small)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_changes_nothing(
    small: Small, wanted: tuple[str, bytes], name: str
) -> None:
    assert outputs(small, env=ENVIRONMENTS[name]) == wanted


@pytest.mark.parametrize("name", WRAPPERS)
def test_user_umask_and_cores_change_nothing(
    small: Small, wanted: tuple[str, bytes], name: str
) -> None:
    before = WRAPPERS[name]
    if shutil.which(before[0]) is None:
        pytest.skip(f"{before[0]} is not here")
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip(f"{before[0]} is not allowed here")
    assert outputs(small, before=tuple(before)) == wanted


def test_another_checkout_changes_nothing(
    small: Small, wanted: tuple[str, bytes], tmp_path: Path
) -> None:
    place = tmp_path / "another" / "checkout of it"
    shutil.copytree(small.directory, place, ignore=shutil.ignore_patterns("cold-*", "store"))
    assert outputs(small, cwd=place) == wanted


def test_a_warm_store_changes_nothing(small: Small, wanted: tuple[str, bytes]) -> None:
    for more in ("--top=10", "--offline"):
        assert run(small, *PLAN, more).out == wanted[0]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_another_python_changes_nothing(
    small: Small, wanted: tuple[str, bytes], version: str
) -> None:
    """Only where that Python has what minbuild depends on; `make torture` installs it."""
    found = shutil.which(f"python{version}")
    if found is None:
        pytest.skip(f"python{version} is not here")
    needs = "import click, debian, elftools, jinja2, pysequoia, urllib3, yaml, zstandard"
    if subprocess.run([found, "-c", needs], capture_output=True).returncode:
        pytest.skip(f"python{version} lacks what minbuild depends on")
    lock = small.directory / "made.lock"
    lock.write_bytes(wanted[1])
    words = [found, "-m", "minbuild", *small.argv(*PLAN), "--lock", str(lock)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, cwd=small.directory, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, wanted[0]), done.stderr


HARDENED = """
minbuild: 1
name: hard
extends: [host.yaml]
boot: {use: [init, uefi, hardening]}
vars: {lock_modules: true}
image: {compression: zstd}
budget: {files: 99, packed: 99 MB}
"""


TRIED = [
    word
    for probe in ("hardening", "lockdown", "readonly", "mounts", "cores", "modules", "init")
    for word in ("--probe", probe)
]


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.xdist_group("host")
def test_a_hardened_host_is_built_twice_to_the_byte_and_boots(tmp_path: Path) -> None:
    (tmp_path / "hard.yaml").write_text(HARDENED)
    words = [sys.executable, "-m", "minbuild"]
    common = ["--store", str(shared().directory)]
    for more in (
        ["make", "hard.yaml", "--check-reproducible", *common],
        ["boot", "hard.yaml", "--direct", *TRIED, *common],
    ):
        done = subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        return
    with tempfile.TemporaryDirectory(dir=memory) as other:
        more = ["make", "hard.yaml", "-o", f"{other}/out", *common]
        done = subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for path in sorted(Path(other, "out").iterdir()):
            assert path.read_bytes() == (tmp_path / "build" / "hard" / path.name).read_bytes()
