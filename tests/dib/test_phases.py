"""dib elements in a manifest: what they bring is resolved, proved and measured with the rest."""

import json
import shutil
from pathlib import Path

import pytest

from tests.dib.elements import element
from tests.e2e.small_host import CommandResult, Small, minbuild

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="dib is written in bash")


def write_static_file(small: Small, name: str, path: str, text: str) -> Path:
    target = small.directory / "elements" / name / "static" / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def plan(small: Small, *names: str) -> CommandResult:
    (small.directory / "elements").mkdir(exist_ok=True)
    small.write(f"elements: [{', '.join(names)}]\n")
    return minbuild(
        *small.argv("plan", "small.yaml", "--json", "--allow-code"),
        cwd=small.directory,
        env={"ELEMENTS_PATH": str(small.directory / "elements")},
    )


def list_files(ended: CommandResult) -> dict[str, dict[str, object]]:
    assert ended.code == 0, ended.err
    return {row["path"]: row for row in json.loads(ended.out)["files"]}


def test_what_a_phase_makes_is_owned_by_its_element(small: Small) -> None:
    element(
        small.directory / "elements",
        "greeting",
        element_deps="second\n",
        extra_data__10_stage="echo hello > $TMP_HOOKS_PATH/staged",
        post_root__50_greet="sudo mkdir -p $TMP_MOUNT_PATH/etc/greeting\n"
        "sudo cp $TMP_HOOKS_PATH/staged $TMP_MOUNT_PATH/etc/greeting/text",
    )
    element(
        small.directory / "elements",
        "second",
        cleanup__20_x="ln -s greeting/text $TARGET_ROOT/etc/short",
    )
    result = list_files(plan(small, "greeting"))
    assert result["/etc/greeting/text"]["component"] == "services/greeting"
    assert result["/etc/greeting/text"]["size"] == 6
    assert result["/etc/short"]["component"] == "services/second"
    assert result["/etc/short"]["target"] == "greeting/text"


def test_static_files_of_install_static_are_taken(small: Small) -> None:
    element(small.directory / "elements", "kept", element_deps="install-static\n")
    write_static_file(small, "kept", "/etc/kept.conf", "x = 1\n").chmod(0o640)
    result = list_files(plan(small, "kept"))
    assert result["/etc/kept.conf"]["mode"] == "0640"
    assert result["/etc/kept.conf"]["component"] == "services/kept"


def test_the_environment_of_elements_is_read(small: Small) -> None:
    element(
        small.directory / "elements",
        "speaks",
        post_root__50_x='echo "$GREETING" > $TMP_MOUNT_PATH/etc/said',
    )
    path = small.directory / "elements" / "speaks" / "environment.d" / "10-greeting.bash"
    path.parent.mkdir()
    path.write_text("export GREETING=good-day\n", encoding="utf-8")
    assert list_files(plan(small, "speaks"))["/etc/said"]["size"] == len("good-day\n")


def test_what_an_element_brings_must_be_complete(small: Small) -> None:
    element(
        small.directory / "elements",
        "script",
        post_root__50_x="printf '#!/usr/bin/perl\\n' > $TMP_MOUNT_PATH/usr/bin/run\n"
        "chmod +x $TMP_MOUNT_PATH/usr/bin/run",
    )
    ended = plan(small, "script")
    assert ended.code == 5
    assert "/usr/bin/perl" in ended.err
    assert "services/script" in ended.err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"install__50_x": "apt-get install x"}, "install.d inside the root, and there is no bash"),
        ({"post_root__50_x": "echo no widget here >&2; exit 3"}, "no widget here"),
        ({"post_root__50_x": "rm $TMP_MOUNT_PATH/usr/bin/hello"}, "removed usr/bin/hello"),
        ({"post_root__50_x": "mkfifo $TMP_MOUNT_PATH/etc/pipe"}, "no file, link or directory"),
    ],
)
def test_an_element_that_cannot_be_applied(small: Small, files: dict[str, str], said: str) -> None:
    element(small.directory / "elements", "bad", **files)
    ended = plan(small, "bad")
    assert ended.code == 6
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_an_element_that_is_nowhere(small: Small) -> None:
    ended = plan(small, "nowhere")
    assert ended.code == 6
    assert "nowhere" in ended.err
    assert "ELEMENTS_PATH" in ended.err
