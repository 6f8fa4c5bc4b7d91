"""A Python tool that is begun ahead: loaded once, asked often, gone with its owner.

Each test asks in a Python of its own: a fork needs a process without threads.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE

SCRIPT = """
import os, sys, tempfile, time
with open("{log}", "a") as log:
    print("loaded", file=log)
def main():
    if sys.argv[1] == "fail":
        sys.exit("it is broken")
    if sys.argv[1] == "wait":
        with open("{log}", "a") as log:
            print("waits", file=log)
        time.sleep(300)
    if sys.argv[1] == "temporary":
        print(tempfile.gettempdir(), os.environ.get("OWN"))
        sys.exit(0)
    print(sys.argv[1:], os.getcwd(), os.environ.get("WORD"), file=sys.stderr)
    print(sys.argv[1:], os.getcwd(), os.environ.get("WORD"))
if __name__ == "__main__":
    raise AssertionError("it is loaded as a module")
"""
BEGIN = """
import json, os, sys, threading, time
from pathlib import Path
from minbuild.toolbox.preload import PreloadedTool
there = Path({there!r})
log = there / "log"
def begin(check=lambda: True, at_once=1):
    environment = {{"PYTHONPYCACHEPREFIX": str(there / "bytecode"), "WORD": "first"}}
    return PreloadedTool([sys.executable, "-P", str(there / "tool")], environment, check, at_once)
"""


def asked(there: Path, code: str) -> object:
    """What a Python that begins the tool says."""
    (there / "tool").write_text(SCRIPT.format(log=there / "log"))
    program = BEGIN.format(there=str(there)) + code
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_tool_is_loaded_once_and_asked_often(tmp_path: Path) -> None:
    code = """
tool = begin()
first = tool.run(["a", Path("b")], cwd=there, env={"WORD": "second"})
again = tool.run(["c"], cwd=None, env={})
print(json.dumps([tool.is_verified, first.decode(), again.decode(), log.read_text()]))
tool.stop()
"""
    assert asked(tmp_path, code) == [
        True,
        f"['a', 'b'] {tmp_path} second\n",
        "['c'] / first\n",
        "loaded\n",
    ]
    assert list((tmp_path / "bytecode").rglob("*.pyc"))


def test_a_request_knows_nothing_of_the_one_before(tmp_path: Path) -> None:
    code = """
tool = begin()
found = []
for name in ("one", "two"):
    own = there / name
    own.mkdir()
    env = {"TMPDIR": str(own), **({"OWN": "mine"} if name == "one" else {})}
    found.append(tool.run(["temporary"], cwd=own, env=env).decode())
    own.rmdir()
gone = tool.run(["x"], cwd=own, env={})
found.append(tool.run(["x"], cwd=None, env={}).decode())
tool.stop()
print(json.dumps([found, gone]))
"""
    assert asked(tmp_path, code) == [
        [f"{tmp_path}/one mine\n", f"{tmp_path}/two None\n", "['x'] / first\n"],
        None,
    ]


def test_a_failure_gives_nothing_and_harms_no_other(tmp_path: Path) -> None:
    code = """
tool = begin()
found = [tool.run(["fail"], cwd=None, env={}), tool.run(["x"], cwd=None, env={}) is not None]
tool.stop()
print(json.dumps(found))
"""
    assert asked(tmp_path, code) == [None, True]


def test_what_is_not_sound_is_not_started(tmp_path: Path) -> None:
    code = """
tool = begin(lambda: False)
print(json.dumps([tool.is_verified, tool.run(["x"], cwd=None, env={}), log.exists()]))
tool.stop()
"""
    assert asked(tmp_path, code) == [False, None, False]


def test_processes_that_were_forked_since_ask_the_same_one(tmp_path: Path) -> None:
    code = """
tool = begin()
children = []
for number in range(4):
    child = os.fork()
    if not child:
        out = tool.run([str(number)], cwd=None, env={})
        tool.stop()
        os._exit(0 if out == f"['{number}'] / first\\\\n".encode() else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
after = tool.run(["x"], cwd=None, env={}) is not None
tool.stop()
print(json.dumps([codes, after, log.read_text()]))
"""
    assert asked(tmp_path, code.replace("\\\\n", "\\n")) == [[0, 0, 0, 0], True, "loaded\n"]


def test_as_many_are_met_at_once_as_were_asked_for(tmp_path: Path) -> None:
    code = """
tool = begin(at_once=2)
asking = threading.Thread(target=tool.run, args=(["wait"],), kwargs={"cwd": None, "env": {}})
asking.start()
until = time.monotonic() + 600
while "waits" not in (log.read_text() if log.exists() else "") and time.monotonic() < until:
    time.sleep(0.01)
late = threading.Timer(60, tool.stop)
late.start()
found = [tool.run([word], cwd=None, env={}) is not None for word in "ab"]
late.cancel()
tool.stop()
asking.join(60)
print(json.dumps([found, log.read_text()]))
"""
    assert asked(tmp_path, code) == [[True, True], "loaded\nwaits\n"]


def test_the_end_ends_what_is_at_work(tmp_path: Path) -> None:
    code = """
tool = begin()
found = []
asking = threading.Thread(target=lambda: found.append(tool.run(["wait"], cwd=None, env={})))
asking.start()
until = time.monotonic() + 600
while "waits" not in (log.read_text() if log.exists() else "") and time.monotonic() < until:
    time.sleep(0.01)
tool.stop()
asking.join(60)
print(json.dumps([found, asking.is_alive()]))
"""
    assert asked(tmp_path, code) == [[None], False]


def test_all_who_wait_to_hear_that_it_is_sound_hear_it(tmp_path: Path) -> None:
    code = """
def check():
    while not (there / "go").exists():
        time.sleep(0.02)
    return True
tool = begin(check)
asking = []
for _ in range(4):
    asking.append(os.fork())
    if not asking[-1]:
        os._exit(not tool.is_verified)
time.sleep(1)  # by then they all wait
(there / "go").touch()
found = []
for process in asking:
    late = threading.Timer(60, os.kill, (process, 9))
    late.start()
    found.append(os.waitpid(process, 0)[1])
    late.cancel()
tool.stop()
print(json.dumps(found))
"""
    assert asked(tmp_path, code) == [0, 0, 0, 0]
