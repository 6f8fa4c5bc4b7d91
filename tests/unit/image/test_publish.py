import contextlib
import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.image.publish import MAX_FOREIGN_ENTRIES, STAGING_PREFIX, exchange_paths, open_outputs
from tests.support.patience import PATIENCE
from tests.support.private_mounts import run_with_mounts


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_outputs_appear_with_their_sums(tmp_path: Path) -> None:
    with open_outputs(tmp_path / "build/host") as outputs:
        outputs.path("host.efi").write_bytes(b"image")
        (outputs.work / "scratch").write_bytes(b"x")
        made = outputs.publish()
    directory = tmp_path / "build/host"
    assert left(directory) == ["SHA256SUMS", "host.efi"]
    assert [path.name for path in made] == ["host.efi", "SHA256SUMS"]
    sums = (directory / "SHA256SUMS").read_text()
    assert sums == f"{hashlib.sha256(b'image').hexdigest()}  host.efi\n"
    assert (directory / "host.efi").stat().st_mode & 0o777 == 0o644


def test_a_failed_build_leaves_the_former_outputs(tmp_path: Path) -> None:
    (tmp_path / "host.efi").write_bytes(b"former")
    with contextlib.suppress(KeyboardInterrupt), open_outputs(tmp_path) as outputs:
        outputs.path("host.efi").write_bytes(b"half")
        raise KeyboardInterrupt
    assert left(tmp_path) == ["host.efi"]
    assert (tmp_path / "host.efi").read_bytes() == b"former"


def test_other_files_in_the_directory_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with open_outputs(tmp_path) as outputs:
        outputs.path("host.efi").write_bytes(b"image")
        outputs.publish()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with open_outputs(tmp_path / "link") as outputs:
        outputs.path("host.efi").write_bytes(b"image")
        outputs.publish()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/host.efi").read_bytes() == b"image"


def test_a_place_that_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ToolError, match="cannot write") as error, open_outputs(tmp_path / "file"):
        pass
    assert "file" in error.value.where


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_rights_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ToolError, match="cannot write"), open_outputs(tmp_path / "build"):
        pass


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "out"
    script = f"""
import os, signal
from pathlib import Path
from minbuild.image.publish import open_outputs
with open_outputs(Path({str(place)!r})) as outputs:
    outputs.path("host.efi").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script])
    assert ended.returncode == -signal.SIGKILL
    assert [name.startswith(STAGING_PREFIX) for name in left(tmp_path)] == [True, False]
    with open_outputs(place) as outputs:
        outputs.path("host.efi").write_bytes(b"whole")
        outputs.publish()
    assert left(tmp_path) == ["out"]
    assert left(place) == ["SHA256SUMS", "host.efi"]


def test_a_build_that_is_at_work_is_left_alone(tmp_path: Path) -> None:
    with open_outputs(tmp_path) as one:
        one.path("a").write_bytes(b"1")
        with open_outputs(tmp_path) as two:
            two.path("b").write_bytes(b"2")
            two.publish()
        one.publish()
    assert left(tmp_path) == ["SHA256SUMS", "a", "b"]


def test_the_directory_is_not_kept_locked(tmp_path: Path) -> None:
    with open_outputs(tmp_path):
        handle = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)


PUBLISH = """
import sys, time
from pathlib import Path
from minbuild.image.publish import open_outputs
number = time.time_ns()
while True:
    number += 1
    with open_outputs(Path(sys.argv[1])) as outputs:
        for name in "abcdefgh":
            outputs.path(name).write_text(str(number))
        outputs.publish()
"""


def test_a_kill_at_any_moment_never_leaves_files_of_two_builds(tmp_path: Path) -> None:
    place, source = tmp_path / "out", random.Random(8)
    publish(place, "mine.txt").write_text("mine")
    moving(place)
    builds = set()
    for _ in range(25):
        running = subprocess.Popen([sys.executable, "-c", PUBLISH, str(place)])
        before = (place / "SHA256SUMS").stat().st_ino
        while (place / "SHA256SUMS").stat().st_ino == before:
            assert running.poll() is None
            time.sleep(0.001)
        time.sleep(source.uniform(0, 0.05))
        running.kill()
        running.wait()
        found = {path.read_text() for path in place.glob("?")}
        assert len(found) == 1, found
        sums = (place / "SHA256SUMS").read_text()
        assert sums.count(hashlib.sha256(found.pop().encode()).hexdigest()) == 8
        assert (place / "mine.txt").read_text() == "mine"
        builds.add(sums)
    assert len(builds) > 1


def publish(place: Path, *others: str) -> Path:
    """A build in `place`, and files of other people's; returns the last one's path."""
    with open_outputs(place) as outputs:
        outputs.path("host.efi").write_bytes(b"image")
        outputs.path("host.pxe").mkdir()
        outputs.path("host.pxe/vmlinuz").write_bytes(b"kernel")
        outputs.publish()
    for name in others:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(name)
    return place / others[-1] if others else place


def moving(place: Path) -> None:
    """Skip where directories cannot change places, as is documented."""
    pair = [place.parent / name for name in ("one", "other")]
    for directory in pair:
        directory.mkdir()
    try:
        exchange_paths(*pair)
    except OSError as error:
        pytest.skip(f"directories cannot be exchanged here: {error}")
    finally:
        for directory in pair:
            directory.rmdir()
    inode = place.stat().st_ino
    publish(place)
    assert place.stat().st_ino != inode


def test_what_others_have_there_comes_along_as_the_same_files(tmp_path: Path) -> None:
    place = tmp_path / "out"
    publish(place)
    moving(place)
    names = ["notes", "mine/deep", "host.pxe/more"]
    publish(place, *names)
    (place / "link").symlink_to("nowhere")
    place.chmod(0o750)
    before = {name: (place / name).stat() for name in names}
    publish(place)
    assert place.stat().st_mode & 0o777 == 0o750
    for name in names:
        assert (place / name).read_text() == name
        assert os.path.samestat((place / name).stat(), before[name])
        assert (place / name).stat().st_nlink == 1
    assert (place / "link").readlink() == Path("nowhere")
    assert left(tmp_path) == ["out"]


def test_a_directory_with_too_much_of_others_stays_where_it_is(tmp_path: Path) -> None:
    place = publish(
        tmp_path / "out", *(f"many/{number}" for number in range(MAX_FOREIGN_ENTRIES + 1))
    ).parents[1]
    inode = place.stat().st_ino
    publish(place)
    assert place.stat().st_ino == inode
    assert len(left(place / "many")) == MAX_FOREIGN_ENTRIES + 1
    assert left(tmp_path) == ["out"]


def test_the_directory_that_a_build_is_started_in_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = publish(tmp_path / "out")
    inode = place.stat().st_ino
    monkeypatch.chdir(place)
    publish(Path())
    assert place.stat().st_ino == inode
    assert left(place) == ["SHA256SUMS", "host.efi", "host.pxe"]


PATHS = {"PYTHONPATH": str(Path(__file__).parents[3])}
MOUNTS = {
    "another file system": "mount -t tmpfs none out",
    "a mounted directory": "mkdir real; mount --bind real out",
    "a mount below": "mkdir out/below; mount -t tmpfs none out/below; touch out/below/theirs",
    "what it lies in cannot be written": "mount --bind . .; mount --bind out out;"
    " mount -o remount,ro,bind .",
}


@pytest.mark.parametrize("how", MOUNTS)
def test_outputs_reach_a_directory_that_cannot_move(tmp_path: Path, how: str) -> None:
    publish(tmp_path / "out", "notes")
    program = """
from pathlib import Path
from tests.unit.image.test_publish import publish
publish(Path("out"))
print(*sorted(path.name for path in Path("out").iterdir()))
print(Path("out/host.efi").read_bytes())
"""
    python = (sys.executable, "-c", program)
    done = run_with_mounts(f'{MOUNTS[how]}; cd "$PWD"', *python, cwd=tmp_path, env=PATHS)
    assert done.returncode == 0, done.stderr
    names, content = done.stdout.splitlines()
    assert names.replace("below ", "").replace(" notes", "") == "SHA256SUMS host.efi host.pxe"
    assert content == "b'image'"


@pytest.mark.parametrize("inside", ["", "/build/host"])
def test_a_full_disk_leaves_the_former_outputs(tmp_path: Path, inside: str) -> None:
    program = f"""
from pathlib import Path
from minbuild.errors import ToolError
from minbuild.image.publish import open_outputs
from tests.unit.image.test_publish import publish
place = Path("out{inside}")
publish(place)
try:
    with open_outputs(place) as outputs:
        outputs.path("host.efi").write_bytes(bytes(400_000))
        outputs.publish()
except ToolError as error:
    print(error.what)
print(*sorted(path.name for path in place.iterdir()), (place / "host.efi").read_bytes())
print(*(path.name for path in place.parent.glob(".minbuild-*")))
"""
    script = "mkdir out; mount -t tmpfs -o size=300k none out"
    done = run_with_mounts(script, sys.executable, "-c", program, cwd=tmp_path, env=PATHS)
    assert done.stdout.splitlines() == [
        "cannot write: No space left on device",
        "SHA256SUMS host.efi host.pxe b'image'",
        "",
    ], done.stderr


TOOL_FAILS = """
import sys
from pathlib import Path
from minbuild.errors import ToolError
from minbuild.image.publish import open_outputs
from minbuild.process import run_program
try:
    with open_outputs(Path("out/host")) as outputs:
        script = sys.argv[1]
        run_program(["/bin/sh", "-c", script, "sh", outputs.path("host.raw")], purpose="filling the ESP")
except ToolError as error:
    print(error.what, error.where, error.fix, sep="|")
"""


def test_a_tool_on_a_full_disk_says_so_and_names_nothing_that_is_removed(tmp_path: Path) -> None:
    fills = 'head -c 400000 /dev/zero >"$1"'
    script = "mkdir out; mount -t tmpfs -o size=300k none out"
    words = sys.executable, "-c", TOOL_FAILS, fills
    done = run_with_mounts(script, *words, cwd=tmp_path, env=PATHS)
    what, where, fix = done.stdout.strip().split("|")
    assert what.startswith("cannot write: No space left on device (sh failed with exit code 1 ")
    assert "while filling the ESP" in what
    assert where.endswith("out/host")
    assert "-o DIR" in fix
    assert ".minbuild-" not in done.stdout


def test_another_failure_of_a_tool_keeps_its_words_and_names_nothing_that_is_removed(
    tmp_path: Path,
) -> None:
    fails = 'echo "cannot read $1: it is mine" >&2; exit 3'
    done = subprocess.run(
        [sys.executable, "-c", TOOL_FAILS, fails],
        cwd=tmp_path, env={**os.environ, **PATHS}, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert "sh failed with exit code 3" in done.stdout
    assert "cannot read new/host.raw: it is mine" in done.stdout
    assert "build again" in done.stdout
    assert ".minbuild-" not in done.stdout


def test_builds_at_once_lose_no_output_of_each_other(tmp_path: Path) -> None:
    program = PUBLISH.replace("while True", "for number in range(50)")
    program = program.replace('"abcdefgh"', "sys.argv[2]").replace("number += 1", "pass")
    words = [sys.executable, "-c", program, str(tmp_path / "out")]
    running = [subprocess.Popen([*words, name]) for name in "abcd"]
    assert [one.wait() for one in running] == [0] * 4
    assert left(tmp_path / "out") == ["SHA256SUMS", "a", "b", "c", "d"]
