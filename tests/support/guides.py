"""Pages as their readers use them: every command run in order in one shell, outputs held to the page."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.cache import cache_directory
from tools.doc_blocks import TOP, Block, Command, Held

MARK = "\x1e"
"""Record separator: stands before each command's output and before its exit code."""
LIMIT = 1200
_BARS = "█▉▊▋▌▍▎▏"
_PARTS = re.compile(
    rf"(?P<rest>…)|(?P<bar>[{_BARS}]+)|(?P<hex>\b[0-9A-Fa-f]{{12,}}\b)"
    r"|(?P<version>\d+(?:\.\d+){2,}[\w.+~:-]*)"
    r"|(?P<size>\d{1,3}(?:,\d{3})+|\d[\d,.]*(?=\s?(?:[kMG]?i?B|%|s|ms|bytes|MiB)\b|\s?%))|(?P<number>\d[\d,]*(?:\.\d+)?)|(?P<blank>\s+)"
)

_TIME = re.compile(r"\s?m?s\b")


_TOLD_IN_PASSING = re.compile(r"note: .*|.*\S  \d{2,} s(?:  .*)?")
"""Notes, and the line of a step that lasts ten seconds or more, on a busy machine: no page shows them."""


@dataclass(frozen=True)
class Step:
    """One command that was run."""

    block: Block
    command: Command
    code: int
    lines: tuple[str, ...]

    def find_problems(self) -> Iterator[str]:
        """What is otherwise than the page says."""
        where = f"{self.block.page}:{self.block.line}: {self.command.text.splitlines()[0]}"
        wanted = re.search(r"# .*exit code (\d+)", self.command.text)
        expected = int(wanted[1]) if wanted else 0
        if self.code != expected:
            yield "\n".join([f"{where}: exit code {self.code}, not {expected}", *self.lines[-40:]])
        elif self.command.output is not None:
            difference = compare_lines(self.command.output, self.lines)
            if difference:
                yield "\n".join([f"{where}: {difference}", "it prints:", *self.lines])


def run_page(blocks: Sequence[Block], directory: Path, *, long: bool = False) -> Iterator[Step]:
    """Run the commands of a page in an empty directory; those that run long when `long`."""
    steps = [one for one in blocks if _is_run(one, long=long)]
    commands = [(one, command) for one in steps if one.is_shell for command in one.list_commands()]
    script = directory.parent / f"{directory.name}.sh"
    script.write_text("\n".join(_write_script(steps)), encoding="utf-8")
    result = subprocess.run(
        ["/bin/bash", str(script)], cwd=directory, env=build_environment(directory), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        timeout=LIMIT, errors="replace",
    )  # fmt: skip
    parts = result.stdout.split(MARK)[1:]
    assert len(parts) == 2 * len(commands), f"the shell ended early:\n{result.stdout[-2000:]}"
    for (block, command), output, code in zip(commands, parts[::2], parts[1::2], strict=True):
        lines = [
            line
            for line in output.removeprefix("\n").splitlines()
            if not _TOLD_IN_PASSING.fullmatch(line)
        ]
        yield Step(block, command, int(code), tuple(lines))


def build_environment(directory: Path) -> Mapping[str, str]:
    """The environment of a reader: a home of their own, the suite's store, minbuild in PATH."""
    home = directory.parent / f"{directory.name}.home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in os.environ if name in
            ("MINBUILD_MIRROR", "MINBUILD_ACCEL", "http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_CONFIG_FILE")}  # fmt: skip
    return {
        **kept,
        "HOME": str(home),
        "USER": "reader",
        "LC_ALL": "C.UTF-8",
        "MINBUILD_STORE": str(cache_directory("guides")),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "reader",
        "GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "reader@example.org",
    }  # fmt: skip


def copy_checkout(directory: Path) -> None:
    """What `make host` needs of a checkout that was set up, without anything that is written."""
    shutil.copytree(
        TOP / "manifests", directory / "manifests", ignore=shutil.ignore_patterns("*.lock")
    )
    for name in ("Makefile", "pyproject.toml", "benchmarks", "docs"):
        (directory / name).symlink_to(TOP / name)
    (directory / ".venv").mkdir()
    (directory / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for name in ("ready", "ready-dev"):
        (directory / ".venv" / name).touch()


def _is_run(block: Block, *, long: bool) -> bool:
    return block.held is Held.RUN or (long and block.held is Held.LONG)


def _write_script(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        if block.first:
            yield f"{{\n{block.first}\n}} >/dev/null || exit 99"
        if block.title and not block.is_shell:
            yield f"mkdir -p {shlex.quote(str(Path(block.title).parent))}"
            yield f"cat >{shlex.quote(block.title)} <<'END OF BLOCK'\n{block.text}END OF BLOCK"
        if block.is_shell:
            for command in block.list_commands():
                yield f"printf '{MARK}\\n'\n{command.text}\nprintf '{MARK}%s' $?"


def compare_lines(expected: Sequence[str], actual: Sequence[str]) -> str:
    """The first line of a page that the output has not, in order; empty when there is none.

    A line `…` stands for any number of lines. Versions, digests, bars and seconds may differ,
    sizes and shares by a tenth, or by 3 bytes, kB or percent (0.2 with a decimal point); counts
    are exact.
    """
    at, is_loose = 0, False
    for line in expected:
        if line.strip() == "…":
            is_loose = True
            continue
        found = next(
            (number for number in range(at, len(actual)) if is_same(line, actual[number])), None
        )
        if found is None or (found > at and not is_loose):
            return f"the page says {line!r}"
        at, is_loose = found + 1, False
    if at < len(actual) and not is_loose:
        return f"the page does not have {actual[at]!r}"
    return ""


def is_same(expected: str, actual: str) -> bool:
    """Tell whether a line of output is the one that a page shows."""
    numbers: list[str] = []
    pattern, at = "", 0
    for part in _PARTS.finditer(expected.strip()):
        pattern += re.escape(expected.strip()[at : part.start()])
        at = part.end()
        match part.lastgroup:
            case "rest":
                pattern += ".*"
            case "bar":
                pattern += f"[{_BARS}]*"
            case "hex":
                pattern += "[0-9A-Fa-f]{12,}"
            case "version":
                pattern += r"\d+(?:\.\d+)+[\w.+~:-]*"
            case "size":
                pattern += r"(\d[\d,.]*)"
                is_time = _TIME.match(expected.strip(), at) is not None
                numbers.append("*" if is_time else part[0])
            case "blank":
                pattern += r"\s+"
            case _:
                pattern += r"(\d+\.\d+)" if "." in part[0] else re.escape(part[0])
                numbers += ["*"] * ("." in part[0])
    pattern += re.escape(expected.strip()[at:])
    found = re.fullmatch(pattern, actual.strip())
    return found is not None and all(map(_is_near, numbers, found.groups()))


def _is_near(expected: str, actual: str) -> bool:
    if expected == "*":
        return True
    wanted, there = (float(one.replace(",", "").rstrip(".")) for one in (expected, actual))
    return abs(wanted - there) <= max(0.1 * wanted, 0.2 if "." in expected else 3.0)
