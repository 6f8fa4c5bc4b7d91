"""A store under concurrency, kills, damage, and disks that cannot be written."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from minbuild.cache.records import FACTS_VERSION, RecordKind
from minbuild.cache.store import Store
from tests.e2e.small_host import CommandResult, Small, minbuild
from tests.security import damage
from tests.security.world import run
from tests.support.patience import PATIENCE
from tests.support.private_mounts import run_with_mounts

TOP = Path(__file__).parents[2]
PLAN = ("plan", "small.yaml", "--json")


def start_command(
    small: Small, *argv: str, env: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """A command that runs beside the test."""
    return subprocess.Popen(
        [sys.executable, "-m", "minbuild", *small.argv(*argv)],
        cwd=small.directory,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_store(small: Small, *argv: str) -> CommandResult:
    return minbuild("store", *argv, "--store", "store", cwd=small.directory)


def plan_cold(small: Small) -> str:
    """The plan from a store of its own, that nothing has happened to."""
    argv = [*PLAN, "--mirror", small.mirror, "--store", "sound"]
    ended = minbuild(*argv, cwd=small.directory)
    assert ended.code == 0, ended.err
    return ended.out


def test_eight_at_once_share_an_empty_store(small: Small) -> None:
    expected = plan_cold(small)
    running = [start_command(small, *PLAN) for _ in range(8)]
    ended = [(*one.communicate(timeout=PATIENCE), one.returncode) for one in running]
    assert [(out == expected, code) for out, _, code in ended] == [(True, 0)] * 8, ended[0][1]


@pytest.fixture
def other_version(tmp_path: Path) -> Path:
    """Another version of minbuild, which keeps what it knows of packages in another form."""
    top = tmp_path / "another"
    shutil.copytree(TOP / "minbuild", top / "minbuild")
    for name in ("manifests", "elements"):
        (top / name).symlink_to(TOP / name)
    for name, former, changed in (
        ("cache/records.py", "\nFACTS_VERSION = ", "\nFACTS_VERSION = 1"),
        ("facts/serialize.py", '"<BHIIQ32s"', '"<HHIIQ32s"'),
    ):
        path = top / "minbuild" / name
        text = path.read_text()
        assert text.count(former) == 1
        path.write_text(text.replace(former, changed))
    return top


def test_two_versions_of_minbuild_share_a_store(small: Small, other_version: Path) -> None:
    expected = plan_cold(small)
    theirs = os.environ | {"PYTHONPATH": str(other_version)}
    for _ in range(2):
        running = [start_command(small, *PLAN, env=env) for env in (theirs, None)]
        ended = [(*one.communicate(timeout=PATIENCE), one.returncode) for one in running]
        assert [(out == expected, code) for out, _, code in ended] == [(True, 0)] * 2, ended[0][1]
    opened = Store(small.directory / "store")
    assert (
        opened.get_all(RecordKind.FILES).keys()
        == opened.get_all(cast(RecordKind, f"files-1{FACTS_VERSION}")).keys()
    )
    assert run_store(small, "check").code == 0
    assert run(small, *PLAN, "--offline").out == expected


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_at_any_moment_leaves_a_sound_store(small: Small, seed: int) -> None:
    source = random.Random(seed)
    running = start_command(small, *PLAN)
    time.sleep(source.uniform(0.1, 1.2))
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=PATIENCE)
    assert run(small, *PLAN).out == plan_cold(small)
    assert run_store(small, "check").code == 0


@pytest.mark.parametrize("how", ["flip", "cut"])
@pytest.mark.parametrize("kind", ["package", "index", "content", "record"])
def test_damage_never_gives_another_output(small: Small, kind: str, how: str) -> None:
    expected = plan_cold(small)
    assert run(small, *PLAN).out == expected
    source = random.Random(f"{kind} {how}")
    for path in damage.list_entries_by_kind(small.directory / "store")[kind]:
        getattr(damage, how)(path, source)
    ended = run(small, *PLAN)
    assert ended.code == 0, ended.err
    assert ended.out == expected
    if kind in {"package", "content"}:
        run_store(small, "check")
        ended = run(small, *PLAN)
        assert (ended.code, ended.out) == (0, expected), ended.err


@pytest.mark.parametrize("kind", ["package", "content", "index"])
def test_check_names_what_is_damaged_and_removes_it(small: Small, kind: str) -> None:
    assert run(small, *PLAN).code == 0
    path = damage.list_entries_by_kind(small.directory / "store")[kind][0]
    damage.flip(path, random.Random(0))
    ended = run_store(small, "check", "--json")
    assert ended.code == 1, ended.err
    assert json.loads(ended.out)["damaged"] == [{"kind": kind, "name": path.name}]
    assert not path.exists()
    assert run_store(small, "check").code == 0


def test_size_and_gc_count_the_same_bytes(small: Small) -> None:
    assert run(small, *PLAN).code == 0
    rows = json.loads(run_store(small, "size", "--json").out)["rows"]
    entries = {row["kind"]: row["entries"] for row in rows}
    assert entries["package"] > 3
    assert entries["record"] > 10
    removed = {row["kind"]: row for row in json.loads(run_store(small, "gc", "--json").out)["rows"]}
    assert removed == {}
    document = json.loads(run_store(small, "gc", "--days", "0", "--json").out)
    removed = {row["kind"]: row["entries"] for row in document["rows"]}
    assert {kind: entries[kind] for kind in ("package", "index", "content")} == {
        kind: removed[kind] for kind in ("package", "index", "content")
    }
    assert run(small, *PLAN).out == plan_cold(small)


@pytest.mark.parametrize("words", [PLAN, ("lock", "small.yaml")])
def test_a_store_that_may_only_be_read_is_an_error_that_says_so(
    small: Small, words: tuple[str, ...]
) -> None:
    assert run(small, *PLAN).code == 0
    script = "mount --bind store store; mount -o remount,ro,bind store"
    command = (sys.executable, "-m", "minbuild", *small.argv(*words))
    result = run_with_mounts(script, *command, cwd=small.directory)
    assert "Traceback" not in result.stderr
    assert result.returncode == 6, result.stderr
    assert "--store" in result.stderr


def test_an_import_believes_nothing(small: Small) -> None:
    assert run(small, "lock", "small.yaml").code == 0
    assert run(small, "lock", "small.yaml", "--fetch").code == 0
    assert run_store(small, "export", "out.tar", "small.lock").code == 0
    assert run_store(small, "export", "again.tar", "small.lock").code == 0
    whole = (small.directory / "out.tar").read_bytes()
    assert (small.directory / "again.tar").read_bytes() == whole
    shutil.rmtree(small.directory / "store")
    for number, data in enumerate((b"no tar", whole[:3000], whole[:700] + b"?" + whole[701:])):
        path = small.directory / f"bad{number}.tar"
        path.write_bytes(data)
        ended = run_store(small, "import", path.name)
        assert ended.code == 6, ended.err
        assert "no whole export" in ended.err
    assert run_store(small, "check").code == 0


def test_an_export_of_what_the_store_lacks_is_refused(small: Small, tmp_path: Path) -> None:
    assert run(small, "lock", "small.yaml").code == 0
    argv = ["store", "export", "out.tar", "small.lock", "--store", str(tmp_path / "empty")]
    ended = minbuild(*argv, cwd=small.directory)
    assert ended.code == 2
    assert "--fetch" in ended.err
    assert not (small.directory / "out.tar").exists()
