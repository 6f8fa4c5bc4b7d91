"""Somebody who has only the wheel and the site: from an empty directory to a booted host of their own.

The commands and files are those of the built page `tutorial/first-host.html`, read as its reader reads
them; nothing else of the tree is used.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.guides import build_environment
from tests.support.site import build_site
from tools.doc_blocks import TOP

MAX_COMMANDS = 10
SKIPPED = ("export MINBUILD_MIRROR",)
"""Commands for readers whose machine has no mirror."""


@dataclass
class Blocks(HTMLParser):
    """The blocks of code of a page of the site: language, title, text."""

    found: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)
        self._language = self._title = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "div" and "highlight" in classes:
            self._language = next((one.removeprefix("language-") for one in classes if one.startswith("language-")), "")  # fmt: skip
            self._title = ""
        elif tag == "span" and "filename" in classes:
            self._inside = "title"
        elif tag == "code" and self._language:
            self._inside = "code"
            self.found.append((self._language, self._title, ""))

    def handle_endtag(self, tag: str) -> None:
        if (tag, self._inside) in (("span", "title"), ("code", "code")):
            self._language = "" if tag == "code" else self._language
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self._title += data
        elif self._inside == "code":
            language, title, text = self.found[-1]
            self.found[-1] = (language, title, text + data)


def list_steps(page: Path) -> list[tuple[str, str]]:
    """What the page tells its reader: (name of a file, its text), or ("", a command)."""
    blocks = Blocks()
    blocks.feed(page.read_text("utf-8"))
    steps: list[tuple[str, str]] = []
    for language, title, text in blocks.found:
        if title:
            steps.append((title, text))
        elif language == "console":
            steps += [("", line[2:]) for line in text.splitlines() if line.startswith("$ ")]
        elif language == "sh":
            steps += [("", line) for line in text.splitlines() if not line.startswith(SKIPPED)]
    return steps


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is released."""
    directory = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "build", "--wheel", "--outdir", str(directory), str(TOP)]
    subprocess.run(argv, check=True, capture_output=True, timeout=600)
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as the site has it."""
    directory = tmp_path_factory.mktemp("site")
    result = build_site(directory)
    assert result.returncode == 0, result.stderr
    return directory / "tutorial" / "first-host.html"


def test_the_page_needs_at_most_ten_commands(tutorial: Path) -> None:
    steps = list_steps(tutorial)
    commands = [command for name, command in steps if not name]
    assert len(commands) <= MAX_COMMANDS, commands
    assert commands[0].startswith("python3 -m venv")
    assert commands[-1].startswith("minbuild boot")
    assert {name for name, _ in steps if name} == {
        "components/services/hello.yaml",
        "components/services/hello.sh.j2",
    }


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.long
def test_a_newcomer_boots_a_host_with_a_component(
    wheel: Path, tutorial: Path, tmp_path: Path
) -> None:
    work = tmp_path / "empty"
    work.mkdir()
    script = ["set -eu"]
    for name, text in list_steps(tutorial):
        if name:
            script.append(f"mkdir -p '{Path(name).parent}'\ncat >'{name}' <<'END OF FILE'\n{text}END OF FILE")  # fmt: skip
        else:
            script.append(text.replace("install minbuild", f"install --quiet '{wheel}'"))
    environment = {**build_environment(work), "PATH": os.environ["PATH"]}  # the wheel's minbuild
    result = subprocess.run(
        ["/bin/bash", "-c", "\n".join(script)], cwd=work, env=environment, capture_output=True,
        text=True, timeout=1800,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "this is row 1, rack 7" in result.stdout
