"""Arguments of ukify."""

import subprocess
from pathlib import Path

import pytest

from minbuild.image.ukify import add_stub_argument
from tests.support.patience import PATIENCE
from tests.unit.toolbox.real import toolbox

KEPT = (
    ["--help"],
    ["inspect", "host.efi"],
    ["build", "--linux=k", "--stub=mine"],
    ["build", "--linux", "k", "--stub", "mine"],
    ["build", "--linux=k", "--efi-arch=ia32"],
)


@pytest.mark.parametrize("words", KEPT, ids=" ".join)
def test_words_that_name_a_stub_or_need_none_stay(words: list[str]) -> None:
    assert add_stub_argument(words, toolbox(), "amd64") == words


@pytest.mark.parametrize("words", [["build", "--linux=k"], ["build", "--efi-arch", "x64", "--linux", "k"]])  # fmt: skip
def test_the_toolbox_s_stub_is_named(words: list[str]) -> None:
    *kept, stub = add_stub_argument(words, toolbox(), "amd64")
    assert kept == words
    assert Path(stub.removeprefix("--stub=")).read_bytes()[:2] == b"MZ"


def test_ukify_builds_with_what_a_user_types(tmp_path: Path) -> None:
    stub = add_stub_argument(["--linux=k"], toolbox(), "amd64")[-1].removeprefix("--stub=")
    words = ["build", f"--linux={stub}", "--uname=6.1", f"--output={tmp_path / 'o.efi'}"]
    tools = toolbox()
    done = subprocess.run(
        [*tools.build_argv("ukify"), *add_stub_argument(words, tools, "amd64")],
        env=tools.build_environment(), capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b".linux" in (tmp_path / "o.efi").read_bytes()[:4096]
