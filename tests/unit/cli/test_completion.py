"""Shell completion in bash, zsh and fish."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import pytest

from minbuild.cli import command_index, completion
from minbuild.cli.commands import COMMANDS
from minbuild.cli.completion import SHELLS
from minbuild.cli.main import minbuild, run_command_line
from minbuild.footprint import document
from minbuild.paths import RootPath
from tests.support.cache import cache_directory
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.patience import PATIENCE
from tests.unit.toolbox.real import store
from tools import docs
from tools.debian_root import open_packages, run_in_root, unpack_root

TOP = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a build, a manifest, and `minbuild` in bin."""
    place = tmp_path_factory.mktemp("home")
    (place / "build" / "tiny").mkdir(parents=True)
    hostile = replace(find_row("/usr/bin/vm"), path=RootPath("/usr/bin/a\nb\x1b[2J"))
    (place / "build/tiny/footprint.json").write_text(
        document.render_footprint(change_footprint([hostile]))
    )
    (place / "rack.yaml").write_text("minbuild: 1\n")
    (place / "notes.txt").touch()
    (place / "bin").mkdir()
    program = place / "bin" / "minbuild"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m minbuild "$@"\n')
    program.chmod(0o755)
    return place


def environment(home: Path) -> dict[str, str]:
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(TOP), "HOME": str(home)}


ASKS = r"""
eval "$(minbuild completion bash)"
ask() {
    COMP_WORDS=(minbuild "$@"); COMP_CWORD=$#; COMPREPLY=()
    _minbuild_completion minbuild
    echo "${COMPREPLY[*]}"
}
while read -r -a words; do ask "${words[@]/@/}"; done
"""
CASES = {
    "che": "check check-tree",
    "make rack": "rack.yaml",
    "make host": "host-full.yaml host.yaml",
    "report --j": "--json --junit",
    "report build/t": "build/tiny",
    "check --baseline build/t": "build/tiny",
    "diff build/tiny build/": "build/tiny",
    "why build/tiny /usr/bin/v": "/usr/bin/vm",
    "why build/tiny v": "vm vmlinuz-6.1",
    "why vm": "vm vmlinuz-6.1",
    "tree build/tiny /usr/bin/s": "/usr/bin/sh",
    "boot rack.yaml --probe d": "dhcp dns",
    "tool uki": "ukify",
    "plan host.yaml --without network/dh": "network/dhcp",
    "components network/dh": "network/dhcp",
    "init --from ed": "edge",
    "history @": "append show",
    "make --compression @": "xz zstd none",
    "completion @": "bash zsh fish",
}
IN_BASH = ("che", "make rack", "report build/t", "why build/tiny /usr/bin/v", "history @")
"""Those of CASES that a bash asks for: each is some processes, while all go through one function."""


def test_bash_completes_what_the_next_word_can_be(home: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", ASKS], input="".join(f"{case}\n" for case in IN_BASH), cwd=home,
        env=environment(home), capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stderr == ""
    found = dict(zip(IN_BASH, done.stdout.splitlines(), strict=True))
    assert found == {case: CASES[case] for case in IN_BASH}


@pytest.mark.parametrize("case", CASES)
def test_the_next_word_can_be(
    case: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = case.replace("@", "")
    monkeypatch.chdir(home)
    monkeypatch.setenv("_MINBUILD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"minbuild {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    assert run_command_line() == 0
    found = [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]
    assert " ".join(found) == CASES[case]


def answer(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What zsh is told of the next word: type, word and help in turn."""
    monkeypatch.setenv("_MINBUILD_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", f"minbuild {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    assert run_command_line() == 0
    return capsys.readouterr().out.splitlines()


def test_the_index_has_the_commands_as_they_are() -> None:
    written = command_index.INDEX.read_text("utf-8")
    assert written == docs.index(), "make docs writes it"


def list_commands() -> list[str]:
    groups = [name for name, entry in COMMANDS.items() if isinstance(entry.load(), click.Group)]
    below = [
        f"{name} {child}"
        for name in groups
        for child in COMMANDS[name].load().commands  # type: ignore[attr-defined]
    ]
    return [*COMMANDS, *below]


@pytest.mark.parametrize("name", list_commands())
def test_by_the_index_each_option_completes_as_by_the_command(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    command: click.Command = minbuild
    for word in name.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    words = [f"{name} -", f"{name} "]
    words += [
        f"{name} {option.opts[0]} "
        for option in command.params
        if isinstance(option, click.Option) and option.opts[0] != "--help"
    ]
    by_index = [answer(one, monkeypatch, capsys) for one in words]
    with monkeypatch.context() as without:
        without.setattr(completion, "IndexedGroup", lambda program, _: program)
        by_command = [answer(one, monkeypatch, capsys) for one in words]
    assert by_index == by_command


@pytest.mark.parametrize("words", ["make -", "make ho", "add ss", "boot host --probe ", "why x"])
def test_a_tab_loads_no_command(words: str, home: Path) -> None:
    script = (
        "import sys; from minbuild.cli.main import run_command_line; run_command_line(); "
        "print(*sys.modules, file=sys.stderr)"
    )
    asked = {"COMP_WORDS": f"minbuild {words}", "COMP_CWORD": str(len(words.split(" ")))}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=home, capture_output=True, text=True, check=True,
        env={**environment(home), **asked, "_MINBUILD_COMPLETE": "bash_complete"},
    )  # fmt: skip
    loaded = set(done.stderr.split())
    assert not loaded & {f"minbuild.cli.{entry.module}" for entry in COMMANDS.values()} - {
        "minbuild.cli.completion"
    }
    assert not {name for name in loaded if name.startswith(("yaml", "minbuild.manifest"))}
    assert done.stdout.strip()


def test_names_of_strangers_that_a_terminal_obeys_are_left_out(home: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", ASKS], input="why build/tiny /usr/bin/\n", cwd=home,
        env=environment(home), capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert "/usr/bin/vm" in done.stdout
    assert "\x1b" not in done.stdout
    assert "/usr/bin/a" not in done.stdout


def test_a_tab_in_an_interactive_bash_completes(home: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment(home))
    try:
        os.write(terminal, b"PS1='READY '; bind 'set enable-bracketed-paste off'\n")
        os.write(terminal, b'eval "$(minbuild completion bash)"\n')
        os.write(terminal, b"echo asked\n")
        seen(terminal, r"\nasked")
        os.write(terminal, b"minbuild why build/t\t/usr/bin/v\t")
        said = seen(terminal, r"minbuild why build/tiny /usr/bin/vm ")
        assert "Traceback" not in said
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


def seen(terminal: int, pattern: str) -> str:
    """What comes from a terminal until it shows a pattern."""
    said = ""
    end = time.monotonic() + PATIENCE
    while not re.search(pattern, said):
        left = end - time.monotonic()
        assert left > 0, said
        if select.select([terminal], [], [], left)[0]:
            said += os.read(terminal, 4096).decode("utf-8", "replace")
    return said


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_and_answers(
    home: Path, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_MINBUILD_COMPLETE={shell}_complete" in script
    (home / shell).write_text(script)
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n", home / shell], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")
    words = "minbuild make ra" if shell != "fish" else "minbuild make"
    asked = {"COMP_WORDS": words, "COMP_CWORD": "2" if shell != "fish" else "ra"}
    done = subprocess.run(
        [sys.executable, "-m", "minbuild"], cwd=home, capture_output=True, text=True, timeout=PATIENCE,
        env={**environment(home), **asked, "_MINBUILD_COMPLETE": f"{shell}_complete"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "rack.yaml" in re.split(r"[\s,]+", done.stdout)


def test_a_mistaken_footprint_is_passed_over_and_a_component_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "components" / "network").mkdir(parents=True)
    (tmp_path / "components" / "network" / "dhxx.yaml").write_text("nonsense: [")
    (tmp_path / "build" / "bad").mkdir(parents=True)
    (tmp_path / "build" / "bad" / "footprint.json").write_bytes(b"\xff{")
    monkeypatch.setenv("_MINBUILD_COMPLETE", "bash_complete")
    for words, said in (
        ("minbuild plan host --without network/dh", "plain,network/dhcp\nplain,network/dhxx\n"),
        ("minbuild why build/bad /u", "\n"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        assert run_command_line() == 0
        assert capsys.readouterr() == (said, "")


def test_every_argument_that_is_a_manifest_or_an_image_completes() -> None:
    named = re.compile(r"MANIFEST|IMAGE|^A$|^B$|^image$|^manifest$")
    for command in (entry.load() for entry in COMMANDS.values()):
        for one in command.params:
            if named.search(one.metavar or one.name or "") and one.type.name == "text":
                assert one._custom_shell_complete is not None, f"{command.name}: {one.name}"


ZSH = """
zmodload zsh/zpty
zpty shell 'TERM=dumb zsh -f -i'
zpty -w shell 'PS1=; autoload -Uz compinit; compinit -u -D; eval "$(minbuild completion zsh)"; echo rea""dy'
zpty -r shell seen '*ready*'
zpty -n -w shell "$1"$'\\t'
zpty -r -m shell seen "*$2*" && print -r -- "$2"
"""
"""Types words and a TAB into an interactive zsh, and prints what it made of them. Source: zshmodules(1)."""
FISH = 'minbuild completion fish | source; complete -C "minbuild $argv"'
PYTHON = ("click", "debian", "jinja2", "pyelftools", "urllib3", "yaml", "zstandard")


@pytest.fixture(scope="module")
def shells() -> Path:
    """A root of trixie with zsh and fish, and with what `make` imports."""
    directory = cache_directory("roots") / "shells"
    names = ["zsh", "fish", "python3", *(f"python3-{name}" for name in PYTHON)]
    unpack_root(directory, names, open_packages(store()))
    return directory


def ask_in_root(shells: Path, home: Path, *argv: str) -> str:
    (home / "bin/minbuild").write_text('#!/bin/sh\nexec /usr/bin/python3 -m minbuild "$@"\n')
    env = {"PATH": "/home/bin:/usr/bin", "PYTHONPATH": "/src", "PYTHONDONTWRITEBYTECODE": "1"}
    script = ["sh", "-c", 'cd /home; exec timeout 300 "$@"', "sh", *argv]
    done = run_in_root(shells, script, binds={home: "/home", TOP: "/src"}, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def copied_home(home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(home, tmp_path / "home"))


@pytest.mark.mirror
@pytest.mark.xdist_group("shells")
@pytest.mark.parametrize(
    ("typed", "made"),
    [("minbuild make ra", "minbuild make rack.yaml "), ("minbuild compl", "minbuild completion ")],
)
def test_a_tab_in_an_interactive_zsh_completes(
    shells: Path, copied_home: Path, typed: str, made: str
) -> None:
    assert ask_in_root(shells, copied_home, "zsh", "-fc", ZSH, "zsh", typed, made) == f"{made}\n"


@pytest.mark.mirror
@pytest.mark.xdist_group("shells")
def test_fish_completes_words_with_what_they_mean(shells: Path, copied_home: Path) -> None:
    asked = ["fish", "--no-config", "-c", FISH]
    assert ask_in_root(shells, copied_home, *asked, "make ra").split() == ["rack.yaml"]
    lines = ask_in_root(shells, copied_home, *asked, "che").splitlines()
    assert "check\tcheck an image against a budget" in lines
