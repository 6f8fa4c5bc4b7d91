"""What a program that reads foreign files can do to this machine: nothing, by each means."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.sandbox import runner
from minbuild.sandbox.runner import (
    ConfinedProgram,
    Confinement,
    ResourceLimits,
    SandboxServer,
    run_confined,
)

PYTHON = [path for path in map(Path, {sys.base_prefix, sys.prefix, "/usr", "/lib", "/lib64"})
          if path.exists()]  # fmt: skip


@pytest.fixture(params=[Confinement.NAMESPACES, Confinement.LANDLOCK])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Confinement]:
    """One means alone, as on a machine that has no other."""
    known = runner._MachineSupport()
    known.remaining = [request.param]
    monkeypatch.setattr(runner, "_support", known)
    yield request.param
    if not known.remaining:
        pytest.skip(f"this machine has no {request.param}: {known.refusal}")


def python(code: str, *, reads: tuple[Path, ...] = (), writes: Path | None = None,
           bounds: ResourceLimits | None = None, stdin: bytes = b"") -> str:  # fmt: skip
    """What a program says that a stranger's file took over."""
    program = ConfinedProgram(
        [sys.executable, "-I", "-S", "-c", code], [*PYTHON, *reads], {"PATH": "/usr/bin:/bin"},
        writes, bounds or ResourceLimits(),
    )  # fmt: skip
    return run_confined(program, purpose="reading a file", stdin=stdin).decode()


def test_it_reads_what_is_named_and_nothing_else(means: Confinement, tmp_path: Path) -> None:
    own, other = tmp_path / "own/file", tmp_path / "other/file"
    for place in (own, other):
        place.parent.mkdir()
        place.write_text("content")
    assert python(f"print(open({str(own)!r}).read())", reads=(own,)) == "content\n"
    for forbidden in (str(other), "/etc/passwd", "/proc/self/environ"):
        with pytest.raises(ToolError, match="Error"):
            python(f"open({forbidden!r})", reads=(own,))  # fmt: skip
    with pytest.raises(ToolError, match="Error"):
        python(f"open({str(own)!r}, 'a')", reads=(own,))
    assert own.read_text() == "content"


def test_it_writes_to_its_own_directory_alone(means: Confinement, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    python("open('made', 'w').write('x')", writes=inside)
    assert (inside / "made").read_text() == "x"
    for place in (outside / "made", inside / "link/made", Path("/tmp/made-by-a-stranger")):
        with pytest.raises(ToolError, match="Error"):
            python(f"open({str(place)!r}, 'w')", writes=inside)
        assert not place.exists()


def test_it_starts_no_program_and_no_process(means: Confinement) -> None:
    for code in ("os.fork()", "os.posix_spawn('/bin/sh', ['sh'], {})", "os.system('true') and 1/0"):
        with pytest.raises(ToolError, match="Error"):
            python(f"import os; {code}")


def test_it_reaches_no_network_and_no_other_process(means: Confinement) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for code in (
            f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
            "import socket; socket.socket(socket.AF_UNIX)",
            f"import os; os.kill({os.getpid()}, 0)",
        ):
            with pytest.raises(ToolError, match="Error"):
                python(code)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("code", "bounds", "says"),
    [
        ("x = bytearray(256 << 20)", ResourceLimits(memory=128 << 20), "MemoryError"),
        ("while True: pass", ResourceLimits(seconds=1), "more than 1 seconds|ended by signal"),
        ("import time; time.sleep(60)", ResourceLimits(seconds=1), "more than 1 seconds"),
        ("while True: print('x' * 1000)", ResourceLimits(output=10_000), "more than 10000 bytes"),
        ("open('f', 'w').write('x' * 20000)", ResourceLimits(file=10_000), "File too large"),
    ],
)
def test_it_is_ended_when_it_uses_too_much(
    means: Confinement, tmp_path: Path, code: str, bounds: ResourceLimits, says: str
) -> None:
    with pytest.raises(ToolError, match=says):
        python(code, bounds=bounds, writes=tmp_path)


def test_its_input_and_output_are_as_long_as_they_are(means: Confinement) -> None:
    data = b"0123456789abcdef" * 100_000
    assert python("import sys; print(len(sys.stdin.buffer.read()))", stdin=data) == "1600000\n"
    assert len(python("print('x' * 3000000)")) == 3_000_001


def test_its_end_and_its_last_words_are_told(means: Confinement) -> None:
    with pytest.raises(ToolError, match=r"exit code 3 while reading a file\n    why"):
        python("import sys; sys.stderr.write('why'); sys.exit(3)")


def test_a_server_answers_each_question_alone(means: Confinement) -> None:
    code = (
        "import sys; d = sys.stdin.read(); d == 'hang' and any(iter(int, 1)); "
        "print('x' * 99999 if d == 'much' else d); sys.exit(d == 'bad')"
    )
    argv = [sys.executable, "-I", "-S", "-c", code]
    confined = ConfinedProgram(argv, PYTHON, {}, limits=ResourceLimits(seconds=4, output=50_000))
    with contextlib.closing(SandboxServer(confined, purpose="reading")) as server:
        assert server.run_once(b"one") == (0, b"one\n")
        assert server.run_once(b"bad") == (1, b"bad\n")
        assert server.run_once(b"hang")[0] < 0
        assert server.run_once(b"much") == (-9, b"")
        answers: list[tuple[int, bytes]] = []
        threads = [
            threading.Thread(target=lambda n=n: answers.append(server.run_once(b"%d" % n)))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [(0, b"%d\n" % n) for n in range(8)]


def test_the_next_means_is_taken_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    known = runner._MachineSupport()
    monkeypatch.setattr(runner, "_support", known)
    known.record_refusal(Confinement.NAMESPACES, "unshare: Operation not permitted")
    told: list[str] = []
    program = ConfinedProgram([sys.executable, "-I", "-S", "-c", "print(1)"], PYTHON, {})
    assert run_confined(program, purpose="reading", note=told.append) == b"1\n"
    assert len(told) == 1
    assert "unshare: Operation not permitted" in told[0]
    known.record_refusal(Confinement.LANDLOCK, "landlock: Function not implemented")
    monkeypatch.setenv(runner.REQUIRE_VARIABLE, "require")
    with pytest.raises(ToolError, match="cannot sandbox programs"):
        run_confined(program, purpose="reading")


def test_a_program_that_is_not_there_is_an_error(means: Confinement) -> None:
    with pytest.raises(ToolError, match="cannot start nothing"):
        run_confined(ConfinedProgram(["/usr/bin/nothing"], PYTHON, {}), purpose="reading")
