"""The same lock gives the same bytes, whatever the machine, the user and the moment."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from minbuild.archive.download import fetch_packages
from minbuild.manifest.model import Archive
from minbuild.progress import SilentProgress
from tests.e2e.small_host import Small, serve_small_host
from tests.security.pythons import require_python
from tests.security.world import packages, run
from tests.support.real_archive import open_real_archive
from tests.support.sample import sampled_feature, sampled_params
from tests.unit.toolbox.real import store as shared

TOP = Path(__file__).parents[2]
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


def plan_and_lock(
    small: Small, *, before: tuple[str, ...] = (), env: dict[str, str] | None = None, **more: Path
) -> tuple[str, bytes]:
    """What the plan prints and the lock's bytes, from a cold store."""
    cwd = more.get("cwd", small.directory)
    path = tempfile.mkdtemp(dir=small.directory, prefix="cold-")
    lock = Path(path, "made.lock")
    argv = ["--mirror", small.mirror, "--store", f"{path}/store", "--lock", str(lock)]
    output = b""
    for command in (("lock", "small.yaml"), PLAN):
        result = subprocess.run(
            [*before, sys.executable, "-m", "minbuild", *command, *argv],
            cwd=cwd,
            env=os.environ | (env or {}),
            capture_output=True,
        )
        assert result.returncode == 0, result.stderr.decode()
        output = result.stdout
    return output.decode(), lock.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """One for all that follows: each test has a store, a lock and a directory of its own."""
    with serve_small_host(tmp_path_factory.mktemp("bits"), packages()) as small:
        small.write()
        yield small


@pytest.fixture(scope="module")
def expected(small: Small) -> tuple[str, bytes]:
    return plan_and_lock(small)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_changes_nothing(
    small: Small, expected: tuple[str, bytes], name: str
) -> None:
    assert plan_and_lock(small, env=ENVIRONMENTS[name]) == expected


@pytest.mark.parametrize("name", WRAPPERS)
def test_user_umask_and_cores_change_nothing(
    small: Small, expected: tuple[str, bytes], name: str
) -> None:
    before = WRAPPERS[name]
    if shutil.which(before[0]) is None:
        pytest.skip(f"{before[0]} is not here")
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip(f"{before[0]} is not allowed here")
    assert plan_and_lock(small, before=tuple(before)) == expected


def test_another_checkout_changes_nothing(
    small: Small, expected: tuple[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "another" / "checkout of it"
    shutil.copytree(small.directory, path, ignore=shutil.ignore_patterns("cold-*", "store"))
    assert plan_and_lock(small, cwd=path) == expected


def test_a_warm_store_changes_nothing(small: Small, expected: tuple[str, bytes]) -> None:
    for more in ("--top=10", "--offline"):
        assert run(small, *PLAN, more).out == expected[0]


@pytest.mark.parametrize("version", sampled_params(["3.11", "3.12", "3.13"]))
def test_another_python_changes_nothing(
    small: Small, expected: tuple[str, bytes], version: str, tmp_path: Path
) -> None:
    program = require_python(version)
    lock = tmp_path / "made.lock"
    lock.write_bytes(expected[1])
    argv = [program, "-m", "minbuild", *small.argv(*PLAN), "--lock", str(lock)]
    env = os.environ | {"PYTHONPATH": str(TOP)}
    result = subprocess.run(argv, cwd=small.directory, env=env, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, expected[0]), result.stderr


HARDENED = """
minbuild: 1
name: hard
extends: [host.yaml]
boot: {use: [init, uefi, hardening]}
image:
  compression: zstd
  formats: [uki, raw, qcow2, vhdx, vmdk, vmdk-stream, vdi, iso, pxe, tar, cpio]
budget: {files: 99, packed: 99 MB}
"""
TRIED = [
    word
    for probe in (
        "protection",
        "hardening",
        "readonly",
        "mounts",
        "cores",
        "kernel",
        "users",
        "modules",
        "lockdown",
        "init",
    )
    for word in ("--probe", probe)
]


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.xdist_group("host")
@sampled_feature("hardened")
def test_a_hardened_host_is_built_twice_to_the_byte_and_boots(
    tmp_path: Path, shifted_argv: list[str], checkout: Path
) -> None:
    (tmp_path / "hard.yaml").write_text(HARDENED)
    common = ["--store", str(shared().directory)]
    for more in (
        ["make", "hard.yaml", "--check-reproducible", *common],
        ["boot", "hard.yaml", "--direct", *TRIED, *common],
    ):
        result = run_build(tmp_path, *more)
        assert result.returncode == 0, result.stderr + result.stdout
    result = run_build(
        tmp_path, "make", "hard.yaml", "-o", "again", "--locked", "--offline", *common,
        before=shifted_argv, env={"PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    sums = (tmp_path / "build" / "hard" / "SHA256SUMS").read_text()
    assert {line.rpartition(".")[2] for line in sums.splitlines()} > {"efi", "raw", "vhdx", "tar"}
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == sums


def run_build(
    cwd: Path, *argv: str, before: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*before, sys.executable, "-m", "minbuild", *argv],
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
    )


SHIFTED = """
cp -a /etc "$1/etc" 2>/dev/null || true
echo "$2" >"$1/etc/ld.so.preload"
echo "-400d" >"$1/etc/faketimerc"
mount --bind "$1/etc" /etc
shift 2
exec unshare -U --map-user=1000 --map-group=1000 "$@"
"""
"""Every program of a mount namespace, tools too, sees a clock that is 400 days late."""


@pytest.fixture
def checkout() -> Iterator[Path]:
    """Another checkout, on another file system, whose directories have another order."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="minbuild-checkout-", dir=memory) as top:
        _copy(Path(top))
        yield Path(top)


def _copy(directory: Path) -> None:
    for name in ("elements", "manifests", "minbuild"):
        for path in sorted((TOP / name).rglob("*"), reverse=True):
            target = directory / path.relative_to(TOP)
            if path.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path.readlink())
            elif path.is_file() and path.suffix != ".pyc":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)


@pytest.fixture
def shifted_argv(tmp_path: Path) -> list[str]:
    """What shifts the clock for a command and makes it another user's, where that is allowed."""
    (tmp_path / "shifted").mkdir()
    library = find_libfaketime()
    before = ["unshare", "-rm", "sh", "-ec", SHIFTED, "sh", str(tmp_path / "shifted"), library]
    now = subprocess.run([*before, "date", "+%s"], capture_output=True, text=True)
    if not now.stdout.strip().isdigit() or int(now.stdout) > time.time() - 300 * 86400:
        return []  # namespaces are not allowed here
    return before


def find_libfaketime() -> str:
    """libfaketime, of a release that is old enough for this machine's programs and for tools."""
    package_source = open_real_archive(shared(), Archive(suites=("bookworm",)))
    package = package_source.find_package("libfaketime")
    assert package is not None
    fetch_packages(
        [package], package_source.mirror, shared(), offline=False, progress=SilentProgress()
    )
    path = shared().find_verified(package.sha256)
    assert path is not None
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["dpkg-deb", "-x", str(path), work], check=True)
        library = next(Path(work).rglob("libfaketime.so.1"))
        kept = shared().directory / f"libfaketime-{package.version}.so.1"
        if not kept.exists():
            partial = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(library, partial)
            partial.replace(kept)
    return str(kept)
