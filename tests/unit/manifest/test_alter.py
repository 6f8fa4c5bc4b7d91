"""Lists that a manifest takes away from, or replaces."""

import re
from pathlib import Path

import jsonschema
import pytest

from minbuild.manifest.extends import find_alterable_lists
from minbuild.manifest.grammar import DocumentKind, build_json_schema
from minbuild.manifest.image_settings import ImageFormat
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest
from tests.unit.manifest.conftest import Desk

BASE = (
    "minbuild: 1\nkernel: {package: linux-base, cmdline: [quiet, ro, quiet]}\n"
    "network: {use: [two, one]}\nimage: {formats: [raw, uki]}\n"
    "archive: {suites: [trixie, trixie-updates]}\n"
    "keep: [{package: aa, paths: [/a]}, {package: bb, paths: [/b]}]\n"
)


@pytest.fixture
def based(desk: Desk) -> Desk:
    desk.component("network/one")
    desk.component("network/two", "needs: [one]\n")
    desk.component("network/three")
    desk.component("services/top", "needs: [network/two]\n")
    desk.write({"base.yaml": BASE})
    return desk


def test_items_are_removed_added_and_replaced(based: Desk) -> None:
    manifest = based.load(
        "extends: [base.yaml]\nnetwork: {use: {remove: [network/two], add: [three]}}\n"
        "image: {formats: {replace: [qcow2]}}\narchive: {suites: {replace: [forky]}}\n"
        "keep: {remove: [{package: aa, paths: [/a]}]}\n"
    )
    names = [one.name for one in manifest.components]
    assert names == ["network/one", "network/three", "services/manifest"]
    assert manifest.image.formats == (ImageFormat.QCOW2,)
    assert manifest.archive.suites == ("forky",)
    assert [one.package for one in manifest.components[-1].packages] == ["bb"]


def test_what_one_manifest_removes_its_heirs_lack_until_they_use_it(based: Desk) -> None:
    based.write(
        {
            "middle.yaml": "minbuild: 1\nextends: [base.yaml]\nnetwork: {use: {remove: [two]}}\n"
            "kernel: {cmdline: {remove: [quiet], add: [debug]}}\n"
        }
    )
    manifest = based.load("extends: [middle.yaml]\n")
    assert _names(manifest) == ["network/one"]
    assert manifest.kernel.cmdline == ("ro", "debug")
    again = based.load("extends: [middle.yaml]\nservices: {use: [top]}\nnetwork: {use: [two]}\n")
    assert _names(again) == ["network/one", "network/two", "services/top"]


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("network: {use: {remove: [tow]}}", ("cannot remove network/tow: none of the extended "
         "manifests uses it"), "did you mean two?"),
        ("network: {use: {remove: [three]}}", ("cannot remove network/three: none of the extended "
         "manifests uses it"), "write one of: one, two"),
        ("services: {use: {remove: [top]}}", ("cannot remove services/top: none of the extended "
         "manifests uses it"), "remove that line"),
        ("image: {formats: {remove: [qcow2]}}", ("cannot remove qcow2: image.formats of the "
         "extended manifests does not contain it"), "write one of: raw, uki"),
        ("network: {use: {remove: [one]}}", "cannot remove network/one: network/two needs it",
         "remove network/two too, or keep network/one"),
        ("services: {use: [top]}\nnetwork: {use: {remove: [two]}}",
         "cannot remove network/two: services/top needs it",
         "remove services/top too, or keep network/two"),
        ("image: {formats: {remove: [raw, uki]}}", "formats is empty",
         "list something, or remove the key"),
        ("image: {formats: {replace: [raw], add: [uki]}}",
         "replace cannot be combined with add or remove",
         "write the whole list below replace"),
        ("network: {use: {remvoe: [two]}}", "unknown key 'remvoe'", "did you mean remove?"),
        ("network: {use: {remove: two}}", "remove is text, not a list",
         "write it as a list: [a, b]"),
        ("network: {use: {}}", "use changes nothing",
         "give remove, add or replace"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(based: Desk, text: str, what: str, fix: str) -> None:
    found = based.problems(f"extends: [base.yaml]\n{text}\n")
    assert [(said, way) for _, said, way in found] == [(what, fix)]
    assert found[0][0].startswith("host.yaml:")


def test_nothing_is_extended_and_so_nothing_can_be_removed(based: Desk) -> None:
    ((where, what, _),) = based.problems("network: {use: {remove: [one]}}\n")
    assert (where, what) == (
        "host.yaml:3:26 (network.use.remove[0])",
        "cannot remove network/one: none of the extended manifests uses it",
    )


def test_a_list_that_replaces_components_brings_what_they_need(based: Desk) -> None:
    manifest = based.load("extends: [base.yaml]\nnetwork: {use: {replace: [two]}}\n")
    assert _names(manifest) == ["network/one", "network/two"]


def test_every_list_that_can_be_altered_is_so_in_the_schema() -> None:
    assert {"network.use", "kernel.use", "image.formats", "archive.suites"} <= set(
        find_alterable_lists()
    )
    checks = jsonschema.Draft202012Validator(build_json_schema(DocumentKind.MANIFEST))
    for path in find_alterable_lists():
        document: object = {"replace": ["x"], "add": ["x"]}
        for key in reversed(path.split(".")):
            document = {key: document}
        errors = list(checks.iter_errors({"minbuild": 1, **document}))  # type: ignore[dict-item]
        assert errors, f"{path}: replace and add go together"
    given = {"minbuild": 1, "network": {"use": {"remove": ["dhcp"], "add": ["static"]}}}
    checks.validate(given)


def test_the_example_of_the_reference_is_a_host_without_dhcp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "manifest.md"
    (text,) = re.findall(r"```yml\n(minbuild: 1\nname: rack\n.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("rack.yaml").write_text(text)
    manifest = read_manifest(Path("rack.yaml"), settings={}, components=[])
    names = [one.name for one in manifest.components]
    assert "network/dhcp" not in names
    assert {"network/static", "services/time"} <= set(names)
    assert manifest.image.formats == (ImageFormat.UKI,)


def _names(manifest: Manifest) -> list[str]:
    """The components, without what the manifest itself keeps."""
    return [one.name for one in manifest.components if one.name != "services/manifest"]
