"""What strangers send: manifests that explode, bombs, names that steer a terminal."""

from pathlib import Path

import pytest

from tests.e2e.small_host import MANIFEST, Small, minbuild
from tests.security.bombs import bomb, deb, run_limited
from tests.security.world import packages, run

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def test_an_error_never_writes_an_escape(tmp_path: Path) -> None:
    ended = minbuild("plan", f"{ESCAPE}.yaml", "--store", "store", cwd=tmp_path)
    assert ended.code == 3
    assert "\x1b" not in ended.err
    assert "\\x1b" in ended.err


def test_a_mirrors_words_cannot_steer_the_terminal(small: Small) -> None:
    small.archive.publish("trixie", packages(), fields={"Suite": ESCAPE, "Codename": ESCAPE})
    ended = run(small, "plan", "small.yaml")
    assert ended.code == 4
    assert "\x1b" not in ended.err + ended.out
    assert "\x07" not in ended.err + ended.out


BOMBS = {
    "anchors": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
        for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    ),
    "nesting": "a: " + "[" * 20_000,
    "loop": "files: {/etc/x: {content: '{% for i in range(10**12) %}x{% endfor %}'}}\n",
    "product": "files: {/etc/x: {content: \"{{ 'x' * 10**11 }}\"}}\n",
    "reading": "files: {/etc/x: {content: \"{% include '/etc/passwd' %}\"}}\n",
    "escape": "files: {/etc/x: {content: \"{{ ''.__class__.__mro__[1].__subclasses__() }}\"}}\n",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_manifest_that_explodes_is_refused_in_bounds(tmp_path: Path, kind: str) -> None:
    text = (MANIFEST % {"key": "/dev/null"}).replace("signed-by: /dev/null", "trusted: true")
    (tmp_path / "bomb.yaml").write_text(text + BOMBS[kind])
    result = run_limited(tmp_path, "plan", "bomb.yaml", "--store", "store", "--offline")
    assert result.returncode == 3, result.stderr
    assert "Traceback" not in result.stderr
    assert "root:" not in result.stderr


@pytest.mark.parametrize("ending", [".xz", ".gz", ".zst"])
def test_a_bomb_is_refused_within_memory_and_disk(small: Small, ending: str) -> None:
    target = small.directory / "debs"
    target.mkdir()
    data = bomb(ending, 4 << 30)
    assert len(data) < 5 << 20
    (target / "hello.deb").write_bytes(deb(data, ending))
    small.write("archives: [{name: local, directory: debs, priority: 900}]\n")
    result = run_limited(small.directory, *small.argv("plan", "small.yaml"))
    assert result.returncode == 4, result.stderr
    assert "it unpacks to more than" in result.stderr
    store = small.directory / "store"
    assert sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) < 20 << 20
