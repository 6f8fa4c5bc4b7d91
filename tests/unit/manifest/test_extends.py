"""Manifests that extend others."""

from pathlib import Path

import pytest

from minbuild.manifest.image_settings import ImageFormat
from tests.unit.manifest.conftest import Desk


def test_lists_are_joined_without_repeats_and_later_scalars_win(desk: Desk) -> None:
    for name in ("one", "two", "three"):
        desk.component(f"network/{name}")
    desk.write(
        {
            "base.yaml": "minbuild: 1\nname: base\nsummary: base\narch: arm64\n"
            "kernel: {package: linux-base, cmdline: [quiet, ro]}\n"
            "network: {use: [one, two]}\nbudget: {files: 9}\nimage: {formats: [raw]}\n"
        }
    )
    manifest = desk.load(
        "extends: [base.yaml]\nnetwork: {use: [two, three]}\nbudget: {packed: 5}\n"
        "image: {formats: [uki, raw]}\n"
    )
    assert (manifest.name, manifest.summary, manifest.arch) == ("host", "base", "arm64")
    assert manifest.kernel.package == "linux-image-cloud-amd64"
    assert manifest.kernel.cmdline == ("quiet", "ro")
    assert [one.name for one in manifest.components] == [
        "network/one",
        "network/two",
        "network/three",
    ]
    totals = manifest.budget.totals
    assert totals.files is not None
    assert totals.packed is not None
    assert (totals.files.value, totals.packed.value) == (9, 5)
    assert totals.files.where.file.endswith("base.yaml")
    assert totals.packed.where.file.endswith("host.yaml")
    assert manifest.image.formats == (ImageFormat.RAW, ImageFormat.UKI)


def test_several_are_merged_in_order(desk: Desk) -> None:
    desk.write(
        {
            "a.yaml": "minbuild: 1\nsummary: a\nvars: {x: a, y: a}\n",
            "b.yaml": "minbuild: 1\nsummary: b\nvars: {x: b}\n",
        }
    )
    manifest = desk.load(
        "extends: [a.yaml, b.yaml]\nkeep: [{package: xx, paths: ['/{{ x }}{{ y }}']}]\n"
    )
    assert manifest.summary == "b"
    assert (manifest.variables["x"], manifest.variables["y"]) == ("b", "a")


def test_a_file_or_variable_is_replaced_whole(desk: Desk) -> None:
    desk.write(
        {
            "lib/base.yaml": "minbuild: 1\nvars: {ntp: [a, b]}\n"
            'files: {/x: {template: x.j2, mode: "0600"}, /y: {content: y}}\n',
            "lib/x.j2": "x",
        }
    )
    manifest = desk.load(
        "extends: [lib/base.yaml]\nvars: {ntp: [c]}\nfiles: {/x: {content: '{{ ntp[0] }}'}}\n"
    )
    assert manifest.variables["ntp"] == ("c",)
    assert [(file.path, file.content, file.mode) for file in manifest.components[-1].files] == [
        ("/x", b"c", 0o644),
        ("/y", b"y", 0o644),
    ]


def test_local_files_lie_beside_the_document_that_names_them(desk: Desk) -> None:
    desk.write(
        {
            "lib/base.yaml": "minbuild: 1\nfiles: {/x: {template: x.j2}}\n"
            "archive: {signed-by: own.pgp}\n",
            "lib/x.j2": "{{ name }}",
            "lib/own.pgp": "",
        }
    )
    manifest = desk.load("extends: [lib/base.yaml]\n")
    assert manifest.components[-1].files[0].content == b"host"
    assert manifest.archive.signed_by == "lib/own.pgp"
    assert str(desk.directory / "lib/own.pgp") in manifest.inputs


def test_components_beside_an_extended_manifest_are_found(desk: Desk) -> None:
    desk.write(
        {
            "lib/base.yaml": "minbuild: 1\nnetwork: {use: [mine]}\n",
            "lib/components/network/mine.yaml": "summary: mine\n",
        }
    )
    manifest = desk.load("extends: [lib/base.yaml]\n")
    assert manifest.components[0].where.file == "lib/components/network/mine.yaml"


def test_one_that_two_extend_is_taken_once(desk: Desk) -> None:
    desk.write(
        {
            "base.yaml": "minbuild: 1\nsummary: base\n",
            "a.yaml": "minbuild: 1\nextends: [base.yaml]\nsummary: a\n",
            "b.yaml": "minbuild: 1\nextends: [base.yaml]\n",
        }
    )
    assert desk.load("extends: [a.yaml, b.yaml]\n").summary == "a"


def test_a_circle_names_the_chain(desk: Desk) -> None:
    desk.write({"a.yaml": "minbuild: 1\nextends: [b.yaml]\n"})
    desk.write({"b.yaml": "minbuild: 1\nextends: [host.yaml]\n"})
    assert desk.problems("extends: [a.yaml]\n") == [
        (
            "b.yaml:2:11 (extends[0])",
            "manifests extend each other in a circle: host.yaml → a.yaml → b.yaml → host.yaml",
            "remove this one from extends:",
        )
    ]


def test_one_that_extends_itself_is_a_circle(desk: Desk) -> None:
    ((where, what, _),) = desk.problems("extends: [host.yaml]\n")
    assert where == "host.yaml:3:11 (extends[0])"
    assert what == "manifests extend each other in a circle: host.yaml → host.yaml"


def test_a_missing_one_is_told_with_the_nearest_name_and_hides_no_other_problem(desk: Desk) -> None:
    desk.write({"base.yaml": "minbuild: 1\n"})
    assert desk.problems("extends: [bsae.yaml]\nsumary: x\nfiles: {/x: {content: '{{ of_base }}'}}\n") == [
        ("host.yaml:3:11 (extends[0])", "there is no manifest bsae.yaml", "did you mean base.yaml?"),
        ("host.yaml:4:1 (sumary)", "unknown key 'sumary'", "did you mean summary?"),
    ]  # fmt: skip


def test_a_problem_of_an_extended_one_is_told_even_when_the_value_is_replaced(desk: Desk) -> None:
    desk.write({"base.yaml": "minbuild: 1\narch: [x]\n"})
    ((where, what, _),) = desk.problems("extends: [base.yaml]\narch: amd64\n")
    assert (where, what) == ("base.yaml:2:7 (arch)", "arch is a list, not architecture")


def test_a_shipped_manifest_is_extended_by_its_name(desk: Desk, tmp_path: Path) -> None:
    manifest = desk.load("extends: [host]\nname: mine\n")
    assert manifest.name == "mine"
    assert any(part.name == "hypervisor/qemu-microvm" for part in manifest.components)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("hots", "did you mean host?"),
        ("edg.yaml", "did you mean edge?"),
        ("lib/bsae.yaml", "did you mean lib/base.yaml?"),
        ("zzz", "write a file next to this one, or a shipped manifest: builder, debug, edge, "),
    ],
)
def test_a_name_that_is_none_is_told_with_files_and_what_ships(
    desk: Desk, name: str, fix: str
) -> None:
    desk.write({"lib/base.yaml": "minbuild: 1\n"})
    ((where, what, said),) = desk.problems(f"extends: [{name}]\n")
    assert (where, what) == ("host.yaml:3:11 (extends[0])", f"there is no manifest {name}")
    assert said.startswith(fix)
