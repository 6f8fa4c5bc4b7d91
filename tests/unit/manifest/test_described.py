"""One component as people read about it."""

import json
from pathlib import Path

import jsonschema
import pytest

from minbuild.errors import UsageError
from minbuild.manifest.component_description import build_manifest_schema, describe_component
from minbuild.manifest.components import list_components
from minbuild.manifest.grammar import DocumentKind, build_json_schema
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import copy_shipped
from minbuild.report.component import component_to_json, render_component
from tests.e2e.small_host import minbuild

TEXT = """\
summary: One of mine
# It does this,
# and that.
needs: [other, network/bridge]
vars:
  plain: a#b            # how # it is
  quoted: "x # y"       # said 'so'
  single: 'it''s # z'     # well
  none: 5
  many: [a, b]  # two
  off: false
  empty: ""
# not of the head
packages: {tool: [/usr/bin/tool, /usr/bin/tock]}
applets: [sh, cat]
files: {/etc/x: {content: "# no comment"}}
probe: {console: x, means: nobody answered}
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    for name, text in {"network/mine": TEXT, "boot/ext4": "summary: x\n"}.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_variables_have_the_meaning_of_their_comments(shelf: Path) -> None:
    one = describe_component("mine", [shelf])
    assert one.comments == "It does this, and that."
    assert one.needs == ("network/other", "network/bridge")
    assert tuple((v.name, v.declaration.default, v.meaning) for v in one.variables) == (
        ("plain", "a#b", "how # it is"),
        ("quoted", "x # y", "said 'so'"),
        ("single", "it's # z", "well"),
        ("none", 5, ""),
        ("many", ("a", "b"), "two"),
        ("off", False, ""),
        ("empty", "", ""),
    )
    assert one.contents["packages"] == ("tool: /usr/bin/tool", "tool: /usr/bin/tock")
    assert one.probes == (("mine", "nobody answered"),)


def test_a_page_and_a_document_say_the_same(shelf: Path) -> None:
    one = describe_component("network/mine", [shelf])
    page = render_component(one, 60)
    for part in ('quoted: x # y', "said 'so'", "off: false", 'empty: ""', "many: [a, b]",
                 "  sh, cat", "/etc/x", "fails: nobody answered", str(shelf)):  # fmt: skip
        assert part in page
    assert max(map(len, page.splitlines()[:-1])) <= 60
    document = component_to_json(one)
    assert document["schema"] == "minbuild.component/1"
    many = {
        "name": "many",
        "type": "text",
        "default": ["a", "b"],
        "meaning": "two",
        "required": False,
    }
    assert many in document["variables"]  # type: ignore[operator]
    assert document["modules"] == []


@pytest.mark.parametrize(
    ("word", "fix"),
    [
        ("sshh", "did you mean ssh?"),
        ("network/brigde", "did you mean network/bridge?"),
        ("zzzzzz", "`minbuild components` lists them"),
        ("ext4", "write one of: filesystem/ext4, boot/ext4"),
    ],
)
def test_a_word_that_means_no_one_component_is_refused(shelf: Path, word: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe_component(word, [shelf])
    assert caught.value.fix == fix


def test_the_schema_of_manifests_describes_every_variable_that_ships() -> None:
    schema = build_manifest_schema()
    described = schema["properties"]["vars"]["properties"]  # type: ignore[index]
    assert described["address"] == {
        "default": "",
        "description": "192.0.2.10/24 (address/prefix, at boot too, required; network/static)",
    }
    assert described["ssh_port"]["default"] == 22
    jsonschema.Draft7Validator.check_schema(schema)
    document = {"minbuild": 1, "vars": {"address": "{{ x }}", "mine": 5}}
    assert jsonschema.Draft7Validator(schema).is_valid(document)


def test_every_component_that_ships_can_be_described() -> None:
    for one in list_components([]):
        page = render_component(describe_component(one.name, []), 80)
        assert page.startswith(f"{one.name}: {one.summary}\n")


def test_the_command_prints_a_page_and_json(tmp_path: Path) -> None:
    words = ("components", "services/ssh")
    said = minbuild(*words, cwd=tmp_path).out
    assert "ssh_keys: []" in said
    assert "lines of authorized_keys" in said
    assert json.loads(minbuild(*words, "--json", cwd=tmp_path).out)["name"] == "services/ssh"


@pytest.mark.parametrize("name", ["edge", "host", "debug", "host-full"])
def test_a_manifest_that_ships_is_copied_under_another_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(copy_shipped(name, "mine"))
    made, shipped = (
        read_manifest(one, settings={}, components=[])
        for one in (path, Path(__file__).parents[3] / f"manifests/{name}.yaml")
    )
    assert made.name == "mine"
    assert [one.name for one in made.components] == [one.name for one in shipped.components]


def test_init_prints_and_writes_a_manifest_that_ships(tmp_path: Path) -> None:
    words = ("init", "--from", "edge")
    printed = minbuild(*words, "-", cwd=tmp_path).out
    modeline, _, rest = printed.partition("\n")
    assert modeline == "# yaml-language-server: $schema=minbuild.schema.json"
    assert rest.startswith("minbuild: 1\nname: edge\n")
    assert not list(tmp_path.iterdir())
    assert minbuild(*words, cwd=tmp_path).code == 0
    assert (tmp_path / "edge.yaml").read_text() == printed
    again = minbuild(*words, cwd=tmp_path)
    assert again.code == 2
    assert "init does not replace it" in again.err
    assert "did you mean edge?" in minbuild(*words[:-1], "egde", cwd=tmp_path).err


def test_init_writes_the_schema_beside_and_replaces_no_other_file(tmp_path: Path) -> None:
    assert minbuild("init", "sub.yaml", cwd=tmp_path).code == 0
    schema = tmp_path / "minbuild.schema.json"
    written = schema.read_text()
    assert json.loads(written) == build_manifest_schema()
    schema.write_text(written.replace("one host", "ten hosts"))
    assert minbuild("init", "b.yaml", cwd=tmp_path).code == 0
    assert schema.read_text() == written
    schema.write_text("mine")
    assert minbuild("init", "c.yaml", cwd=tmp_path).code == 0
    assert schema.read_text() == "mine"


def test_the_schema_is_in_the_form_that_schemastore_takes() -> None:
    for kind in DocumentKind:
        schema = build_json_schema(kind)
        assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
        jsonschema.Draft7Validator.check_schema(schema)
