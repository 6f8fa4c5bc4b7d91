"""What a stranger's manifest may reach: its own tree, and nothing that runs code."""

import os
from pathlib import Path

import pytest

from minbuild.manifest.input_files import Trust, find_own_tree
from tests.unit.manifest.conftest import HEAD, Desk

CODE = {
    "a module": ("image: {sign: {key: 'pkcs11:token=x', certificate: c, module: m}}", "the module m runs"),
    "a key of a token": ("image: {sign: {key: 'pkcs11:token=x', certificate: c, module: m}}", "a key of a token"),
    "a key outside": ("image: {sign: {key: ../key, certificate: c}}", "../key, outside"),
    "an element": ("elements: [base]", "the element base runs on this machine"),
    "an element of dib's": ("image: {formats: [{dib: {elements: [vm]}}]}", "the element vm runs while"),
}  # fmt: skip
OUTSIDE = {
    "source": "files: {/x: {source: %s}}",
    "template": "files: {/x: {template: %s}}",
    "extends": "extends: [%s]",
    "root": "archive: {root: %s}",
    "directory": "archives: [{name: a, directory: %s}]",
}


@pytest.fixture
def inner(desk: Desk) -> Desk:
    """A manifest in a directory of its own, files beside it."""
    desk.write({"key": "k", "secret": "s", "d/c": "c", "d/m": "m", "d/base.yaml": HEAD})
    return desk


def refused(desk: Desk, text: str) -> list[tuple[str, str, str]]:
    desk.write({"d/host.yaml": HEAD + text + "\n"})
    return desk.refused("d/host.yaml")


@pytest.mark.parametrize(("text", "what"), CODE.values(), ids=CODE.keys())
def test_what_runs_code_needs_the_users_word(inner: Desk, text: str, what: str) -> None:
    problems = [one for one in refused(inner, text) if what in one[1]]
    assert len(problems) == 1
    assert problems[0][0].startswith("d/host.yaml:3:")
    assert "--allow-code" in problems[0][2]


@pytest.mark.parametrize(
    "trust", [Trust(allows_code=True), Trust((Path("d"),)), Trust((Path(),))], ids=str
)
@pytest.mark.parametrize("text", [one for one, _ in CODE.values()])
def test_the_users_word_is_enough(inner: Desk, text: str, trust: Trust) -> None:
    inner.trust = trust
    inner.write({"d/host.yaml": HEAD + text + "\n"})
    assert inner.load_file("d/host.yaml").trusted


@pytest.mark.parametrize("text", OUTSIDE.values(), ids=OUTSIDE.keys())
@pytest.mark.parametrize("path", ["../secret", "/proc/self/environ", "../d/../secret"])
def test_files_outside_of_its_tree_are_refused(inner: Desk, text: str, path: str) -> None:
    (problem, *_) = refused(inner, text % path)
    assert "outside of the manifest's own tree" in problem[1]
    assert "--allow-outside" in problem[2]


def test_links_are_followed_before_a_file_counts_as_inside(inner: Desk) -> None:
    (inner.directory / "d" / "link").symlink_to("../secret")
    (inner.directory / "d" / "up").symlink_to("..")
    for path in ("link", "up/secret"):
        ((_, what, _),) = refused(inner, f"files: {{/x: {{source: {path}}}}}")
        assert "outside of the manifest's own tree" in what


def test_a_component_that_is_a_link_to_the_outside_is_refused(inner: Desk) -> None:
    inner.write({"part.yaml": "summary: s\n"})
    (inner.directory / "d/components/boot").mkdir(parents=True)
    (inner.directory / "d/components/boot/part.yaml").symlink_to("../../../part.yaml")
    problems = refused(inner, "boot: {use: [part]}")
    assert any("outside of the manifest's own tree" in what for _, what, _ in problems)


def test_files_that_the_user_allows_are_taken(inner: Desk) -> None:
    inner.write({"d/host.yaml": HEAD + "files: {/x: {source: ../secret}}\n"})
    inner.trust = Trust(extra_paths=(Path("secret"),))
    (component,) = inner.load_file("d/host.yaml").components
    assert component.files[0].content == b"s"


def test_a_checkout_is_one_tree_unless_it_holds_the_home_directory(
    inner: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inner.directory / ".git").mkdir()
    place = inner.directory / "d" / "host.yaml"
    assert find_own_tree(place) == inner.directory
    monkeypatch.setenv("HOME", str(inner.directory / "home"))
    assert find_own_tree(place) == inner.directory / "d"


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_is_no_file(inner: Desk, kind: str) -> None:
    path = inner.directory / "d" / "endless"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
        inner.trust = Trust(extra_paths=(Path("/dev/zero"),))
    ((_, what, _),) = refused(inner, "files: {/x: {source: endless}}")
    assert "not a regular file" in what
