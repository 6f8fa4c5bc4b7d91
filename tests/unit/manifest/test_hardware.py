"""Which drivers and run-time libraries a manifest asks for."""

import pytest

from minbuild.manifest.model import Priority
from tests.unit.manifest.conftest import Desk

KERNEL = "minbuild: 1\nkernel: {{package: linux, hardware: {}}}\n"


def test_a_list_of_devices_is_read_line_by_line(desk: Desk) -> None:
    desk.write({"machine.txt": "# a machine\npci:v1d2\n\nvirtio:d1v2\n", "base.yaml": KERNEL.format("machine.txt")})  # fmt: skip
    (component,) = desk.load("extends: [base.yaml]\n").components
    assert [(name.text, name.where.line) for name in component.hardware] == [
        ("pci:v1d2", 2),
        ("virtio:d1v2", 4),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# nothing\n", "machine.txt lists no device"),
        ("virtio_net\n", "'virtio_net' is not a modalias"),
        ("pci:v1 d2\n", "'pci:v1 d2' is not a modalias"),
    ],
)
def test_a_list_that_is_none_is_a_problem(text: str, problem: str, desk: Desk) -> None:
    desk.write({"machine.txt": text, "base.yaml": KERNEL.format("machine.txt")})
    assert problem in [what for _, what, _ in desk.problems("extends: [base.yaml]\n")]


def test_a_list_that_is_not_there_is_a_problem(desk: Desk) -> None:
    desk.write({"base.yaml": KERNEL.format("nothing.txt")})
    assert [what for _, what, _ in desk.problems("extends: [base.yaml]\n")] == [
        "there is no file nothing.txt"
    ]


def test_modules_are_names_aliases_paths_and_globs(desk: Desk) -> None:
    names = ["virtio_net", "fs-ext4", "pci:v00001AF4d00001000*", "kernel/drivers/block/*.ko"]
    desk.write({"base.yaml": f"minbuild: 1\nkernel: {{package: linux, modules: {names}}}\n"})
    (component,) = desk.load("extends: [base.yaml]\n").components
    assert [name.text for name in component.modules] == names


def test_dlopen_is_one_word_for_all_or_a_line_for_each_glob(desk: Desk) -> None:
    (rule,) = desk.load("dlopen: recommended\n").dlopen
    assert (rule.path, rule.priority) == ("/**", Priority.RECOMMENDED)
    rules = desk.load("dlopen: {/usr/**: suggested, /usr/bin/a: required}\n").dlopen
    assert [(rule.path, str(rule.priority)) for rule in rules] == [
        ("/usr/**", "suggested"),
        ("/usr/bin/a", "required"),
    ]


def test_an_unknown_priority_is_a_problem(desk: Desk) -> None:
    assert desk.problems("dlopen: {/usr/**: sugested}\n")[0][2] == "did you mean suggested?"
