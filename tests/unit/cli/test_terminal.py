"""Progress on stderr: on a terminal, without one, in a log, and how much of it."""

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from minbuild.cli.commands import COMMANDS
from minbuild.cli.console import OUTPUT, get_colour, print_text, start_output
from minbuild.cli.main import run_command_line
from minbuild.cli.terminal import TOLD_EVERY, StepState, Terminal, format_amount, format_step
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.parallel import Ticker, is_single_threaded
from minbuild.progress import report_detail, set_detail_sink
from tests.support.footprints import tiny


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def plain_output() -> Iterator[None]:
    start_output({})
    yield
    start_output({})
    set_detail_sink(None)


def test_without_a_terminal_a_step_that_lasts_is_told_every_ten_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    terminal = Terminal(clock)
    terminal.step("packing host")
    terminal.bar("packing", 12_100_000, 17_400_000)
    for _ in range(25):
        clock.seconds += 1
        terminal.tick()
    terminal.finish()
    assert capsys.readouterr().err.splitlines() == [
        "packing host  12.1/17.4 MB  10 s",
        "packing host  12.1/17.4 MB  20 s",
    ]


def test_a_short_step_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    terminal = Terminal(clock)
    terminal.step("reading 3 packages")
    clock.seconds += TOLD_EVERY - 1
    terminal.tick()
    terminal.step("packing")
    clock.seconds += TOLD_EVERY - 1
    terminal.tick()
    terminal.finish()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("state", "columns", "expected"),
    [
        (StepState("reading", 0.0), 79, "reading"),
        (StepState("", 0.0, "fetching", 1, 4), 79, "fetching  ━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 1/4"),
        (StepState("booting", 0.0, "probes", 3, 15, "minbuild: up"), 0,
         "booting  probes 3/15  minbuild: up"),
        (StepState("booting", -61.0, last_line="x" * 99), 20, "booting  61 s  xxxxx"),
        (StepState("reading \x1b[31mred", 0.0), 79, "reading \\x1b[31mred"),
    ],
)  # fmt: skip
def test_a_step_is_one_line(state: StepState, columns: int, expected: str) -> None:
    line = format_step(state, 0.0, columns)
    assert line.replace("#", "━").replace("-", "╌") == expected


def test_a_bar_is_ascii_in_the_locale_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert format_step(StepState("", 0.0, "fetching", 1, 4), 0.0, 79) == (
        "fetching  ####------------ 1/4"
    )


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [(3, 0, "3"), (3, 15, "3/15"), (5_000_000, 10_000_000, "5.0/10.0 MB")],
)
def test_amounts_are_items_or_megabytes(done: int, total: int, expected: str) -> None:
    assert format_amount(done, total) == expected


def run_in_terminal(script: str) -> str:
    """Output of a Python script whose stderr is a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stderr=follower) as process:
        os.close(follower)
        shown = b""
        try:
            while piece := os.read(leader, 4096):
                shown += piece
        except OSError:  # the program has ended
            pass
        process.wait()
    os.close(leader)
    return shown.decode()


def test_on_a_terminal_one_line_is_rewritten_and_removed() -> None:
    shown = run_in_terminal(
        "from minbuild.cli.terminal import Terminal\n"
        "now = [0.0]\n"
        "terminal = Terminal(lambda: now[0])\n"
        "terminal.step('booting host.efi')\n"
        "terminal.show_line('minbuild: network is up')\n"
        "now[0] = 24.0\n"
        "terminal.tick()\n"
        "terminal.note('a note')\n"
        "terminal.finish()\n"
    )
    assert "booting host.efi  24 s  minbuild: network is up" in shown
    lines = [re.sub(r".*\x1b\[K", "", line) for line in shown.split("\r\n")]
    assert any("a note" in line for line in lines)
    assert lines[-1] == ""


def test_an_error_ends_the_progress(tmp_path: Path) -> None:
    before = threading.active_count()
    assert run_command_line(["check-tree", str(tmp_path), "--store", str(tmp_path / "s")]) == 2
    assert threading.active_count() == before


def test_v_tells_each_step_and_vv_details(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for level, expected in [("verbose", ["resolving"]), ("debug", ["resolving", "  /bin/x -y"])]:
        start_output({"MINBUILD_LOG": level})
        terminal = Terminal()
        terminal.step("resolving")
        report_detail(lambda: "/bin/x -y")
        terminal.finish()
        lines = capsys.readouterr().err.splitlines()
        assert [re.sub(r"^ *\d+\.\d\d s  ", "", line) for line in lines] == expected


def test_quiet_leaves_notes_out(capsys: pytest.CaptureFixture[str]) -> None:
    start_output({"MINBUILD_LOG": "quiet"})
    terminal = Terminal()
    terminal.step("resolving")
    terminal.note("nobody needs this")
    terminal.finish()
    assert capsys.readouterr().err == ""


def test_a_log_file_has_steps_notes_and_details(tmp_path: Path) -> None:
    log = tmp_path / "minbuild.log"
    start_output({"MINBUILD_LOG": str(log)})
    terminal = Terminal()
    terminal.step("resolving")
    terminal.note("look")
    report_detail(lambda: "reading http://MIRROR/x")
    terminal.show_line("booted")
    terminal.finish()
    lines = [line.partition(" s  ")[2] for line in log.read_text().splitlines()]
    assert lines == ["resolving", "note: look", "  reading http://MIRROR/x", "  | booted"]


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    start_output({"MINBUILD_LOG": f"{tmp_path}/none/minbuild.log"})
    with pytest.raises(UsageError, match="cannot write the log"):
        Terminal()


def test_a_level_that_is_none_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINBUILD_LOG", "loud")
    assert run_command_line(["schema"]) == 2
    assert "loud is neither a level nor a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["-q", "schema"], ["schema", "-q"], ["schema", "--quiet"], ["-v", "schema", "-q"]]
)
def test_options_stand_before_or_after_the_command(argv: list[str]) -> None:
    assert run_command_line(argv) == 0
    assert OUTPUT.verbosity == -1


@pytest.mark.parametrize(
    "words",
    [
        ["init", "host.yaml"],
        ["add", "ssh", "-m", "rack.yaml"],
        ["hardware", "-o", "list"],
        ["guest", "guest.yaml"],
        ["store", "forget-kvm"],
        ["history", "append", "footprint.json", "--label", "x"],
        ["report", "footprint.json", "--md", "r.md"],
    ],
)
def test_q_leaves_out_every_sentence_for_people(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINBUILD_STORE", str(tmp_path / "store"))
    Path("rack.yaml").write_text("minbuild: 1\nextends: [host]\n")
    Path("guest.yaml").write_text("disks: [a.raw]\n")
    Path("a.raw").touch()
    Path("footprint.json").write_text(document.render_footprint(tiny()))
    assert run_command_line([*words, "-q"]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "own", "tool"),
    [
        (["mke2fs", "-q", "-v", "--color", "x"], None, ("-q", "-v", "--color", "x")),
        (["--offline", "mke2fs", "--offline"], True, ("--offline",)),
        (["mcopy", "--", "-i", "x"], None, ("--", "-i", "x")),
    ],
)
def test_what_follows_a_tool_is_its_own(
    words: list[str], own: bool | None, tool: tuple[str, ...]
) -> None:
    start_output({})
    context = COMMANDS["tool"].load().make_context("tool", words)
    assert context.params["args"] == tool
    assert context.params["build"].offline is bool(own)
    assert OUTPUT.verbosity == 0


@pytest.mark.parametrize("words", [["store", "size"], ["store", "gc"], ["history", "show"]])
def test_a_command_below_another_has_the_options_of_all(words: list[str], tmp_path: Path) -> None:
    group = COMMANDS[words[0]].load()
    assert isinstance(group, click.Group)
    options = {name for param in group.commands[words[1]].params for name in param.opts}
    assert {"-q", "-v", "--color"} <= options


def test_v_counts() -> None:
    for argv, level in [(["-v", "schema"], 1), (["schema", "-vv"], 2), (["-v", "schema", "-v"], 2)]:
        assert run_command_line(argv) == 0
        assert OUTPUT.verbosity == level


@pytest.mark.parametrize(
    ("argv", "no_color", "expected"),
    [([], "", None), ([], "1", False), (["--color", "always"], "1", True), (["--color=never"], "", False)],
)  # fmt: skip
def test_color_overrides_no_color(
    argv: list[str], no_color: str, expected: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    assert run_command_line(["schema", *argv]) == 0
    assert get_colour() is expected


PAGE = """\
budget files        52       of 51  102 %  OVER  ███
budget packed  17.4 MB  of 17.6 MB   99 %  ok    ███
init        ok         24.93
guest       FAILED     60.00
PASS: 2 rules
an ok line of text
"""


def test_verdicts_have_colours_where_they_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(PAGE)
    assert capsys.readouterr().out == PAGE
    OUTPUT.colour = "always"
    print_text(PAGE)
    shown = capsys.readouterr().out
    assert re.sub(r"\x1b\[\d*m", "", shown) == PAGE
    assert re.findall(r"\x1b\[3(\d)m(\w+)", shown) == [
        ("1", "OVER"), ("2", "ok"), ("2", "ok"), ("1", "FAILED"), ("2", "PASS"),
    ]  # fmt: skip


def test_a_misspelt_command_is_told_by_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["mkae"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: there is no command mkae", "  fix:   did you mean make?",
    ]  # fmt: skip


def test_a_misspelt_option_is_told_in_our_style(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["schema", "--helo"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: no such option: --helo", "  where: minbuild schema", "  fix:   did you mean --help?",
    ]  # fmt: skip


def test_a_ticker_is_away_while_this_process_forks() -> None:
    before = threading.active_count()
    ticks = threading.Event()
    ticker = Ticker(ticks.set, 0.001)
    ticker.start()
    assert ticks.wait(60)
    assert threading.active_count() == before + 1
    assert is_single_threaded() is (before == 1)
    child = os.fork()
    if not child:
        os._exit(threading.active_count())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    ticks.clear()
    assert ticks.wait(60), "the parent's ticker goes on"
    ticker.stop()
    assert threading.active_count() == before
