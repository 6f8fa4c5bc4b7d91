"""Work in forked processes: what comes back, in which order, and how all of it ends.

Each test forks from a Python of its own: a fork needs a process without threads.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE, wait_for

BEGIN = """
import json, os, signal, sys, time
from pathlib import Path
from minbuild.pipeline.workers import WorkerCrashed, run_in_forks
from minbuild.errors import ArchiveError, MinbuildError, combine
there = Path({there!r})

class Shown:
    def __init__(self):
        self.said = []
    def step(self, text):
        self.said.append(text)
    note = show_line = step
    def bar(self, label, done, total):
        self.said.append([label, done, total])

shown = Shown()
def until(name):
    end = time.monotonic() + 600
    while not (there / name).exists():
        assert time.monotonic() < end
        time.sleep(0.01)
def go(works, limit=2, last=lambda result: False):
    return run_in_forks(works, limit, shown, last)
"""


def program(there: Path, code: str) -> list[str]:
    return [sys.executable, "-c", BEGIN.format(there=str(there)) + code]


def said(there: Path, code: str) -> object:
    """What a Python that forks says as JSON."""
    done = subprocess.run(program(there, code), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_results_come_by_place_whoever_is_first(tmp_path: Path) -> None:
    code = """
def slow(progress):
    until("second")
    return os.getpid()
def fast(progress):
    (there / "second").touch()
    return os.getpid()
found = go([slow, fast])
print(json.dumps([sorted(found), len({*found.values(), os.getpid()})]))
"""
    assert said(tmp_path, code) == [[0, 1], 3]


def test_no_more_than_the_limit_are_at_work(tmp_path: Path) -> None:
    code = """
def work(progress):
    mine = there / f"at-work-{os.getpid()}"
    mine.touch()
    count = len(list(there.glob("at-work-*")))
    time.sleep(0.02)
    mine.unlink()
    return count
print(json.dumps(max(go([work] * 6).values())))
"""
    assert said(tmp_path, code) in (1, 2)


def test_progress_is_shown_by_the_parent(tmp_path: Path) -> None:
    code = """
def work(progress):
    progress.step("reading")
    progress.bar("reading", 1, 2)
    progress.note("mind this")
go([work])
print(json.dumps(shown.said))
"""
    assert said(tmp_path, code) == ["reading", ["reading", 1, 2], "mind this"]


def test_after_the_last_nothing_is_begun(tmp_path: Path) -> None:
    code = """
found = go([lambda p: 1, lambda p: 2, lambda p: 3], limit=1, last=lambda result: result == 2)
print(json.dumps(list(found.values())))
"""
    assert said(tmp_path, code) == [1, 2]


def test_an_error_comes_back_whole(tmp_path: Path) -> None:
    code = """
def work(progress):
    return combine([ArchiveError("gone", where="a.deb", fix="look"), ArchiveError("bad", fix="no")])
(error,) = go([work]).values()
print(json.dumps([type(error).__name__, error.what, error.where, error.fix, error.also[0].what]))
"""
    assert said(tmp_path, code) == ["ArchiveError", "gone", "a.deb", "look", "bad"]


def test_a_bug_shows_where_it_is(tmp_path: Path) -> None:
    code = """
def wrong(progress):
    raise KeyError("never here")
try:
    go([wrong])
except WorkerCrashed as bug:
    print(json.dumps(str(bug)))
"""
    text = str(said(tmp_path, code))
    assert "in wrong" in text
    assert "KeyError: 'never here'" in text


def test_a_process_that_is_killed_is_an_error_and_the_others_tidy_up(tmp_path: Path) -> None:
    code = """
def waits(progress):
    try:
        (there / "waits").touch()
        time.sleep(3600)
    finally:
        (there / "tidy").touch()
def dies(progress):
    until("waits")
    os.kill(os.getpid(), signal.SIGKILL)
try:
    go([waits, dies])
except MinbuildError as error:
    print(json.dumps([error.what, (there / "tidy").exists()]))
"""
    assert said(tmp_path, code) == ["a process that built an image was ended from outside", True]


def test_an_interrupt_ends_all_of_them(tmp_path: Path) -> None:
    code = """
def waits(progress):
    try:
        (there / str(os.getpid())).touch()
        time.sleep(3600)
    finally:
        (there / str(os.getpid())).unlink()
try:
    go([waits, waits])
except KeyboardInterrupt:
    print(json.dumps(os.listdir(there)))
"""
    began = subprocess.Popen(program(tmp_path, code), stdout=subprocess.PIPE, text=True)
    with began:
        wait_for(lambda: len(list(tmp_path.iterdir())) >= 2)
        began.send_signal(signal.SIGINT)
        out, _ = began.communicate(timeout=PATIENCE)
    assert json.loads(out) == []


def test_an_interrupt_within_the_start_leaves_no_process(tmp_path: Path) -> None:
    code = """
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    go([lambda progress: time.sleep(3600)])
except KeyboardInterrupt:
    try:
        print(json.dumps(os.waitpid(-1, os.WNOHANG)))
    except ChildProcessError:
        print(json.dumps("none"))
"""
    assert said(tmp_path, code) == "none"
