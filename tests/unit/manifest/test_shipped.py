"""What ships: every document loads and fits its schema; names are found; a starter starts."""

from pathlib import Path

import jsonschema
import pytest

from minbuild.data import data_directory, is_manifest_name
from minbuild.errors import ManifestError, UsageError
from minbuild.manifest.components import list_components
from minbuild.manifest.document.nodes import Problems, to_plain
from minbuild.manifest.document.yaml_reader import parse_document
from minbuild.manifest.grammar import DocumentKind, build_json_schema
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import (
    clean_host_name,
    find_manifest,
    find_only_manifest,
    load_tools,
    render_starter,
)
from tests.unit.manifest.conftest import Desk

_MANIFESTS = data_directory("manifests")
_DOCUMENTS = [
    *((DocumentKind.MANIFEST, path) for path in sorted(_MANIFESTS.glob("*.yaml"))),
    *(
        (DocumentKind.COMPONENT, path)
        for path in sorted(_MANIFESTS.glob("components/[!r]*/*.yaml"))
    ),
    *((DocumentKind.RULES, path) for path in sorted(_MANIFESTS.glob("components/rules/*.yaml"))),
    *((DocumentKind.TOOL, path) for path in sorted(_MANIFESTS.glob("toolbox/*.yaml"))),
]


@pytest.mark.parametrize(("kind", "path"), _DOCUMENTS, ids=lambda one: getattr(one, "stem", one))
def test_every_shipped_document_fits_its_schema(kind: DocumentKind, path: Path) -> None:
    node = parse_document(path.read_bytes(), path.name, Problems())
    assert node is not None
    jsonschema.Draft202012Validator(build_json_schema(kind)).validate(to_plain(node))


@pytest.mark.parametrize("kind", DocumentKind)
def test_each_schema_is_one(kind: DocumentKind) -> None:
    jsonschema.Draft202012Validator.check_schema(build_json_schema(kind))


@pytest.mark.parametrize("path", sorted(_MANIFESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_manifest_loads(path: Path) -> None:
    manifest = read_manifest(path, settings={}, components=[])
    assert manifest.name == path.stem


def test_every_shipped_component_loads_and_is_listed() -> None:
    assert {one.name for one in list_components([])} >= {
        "services/busybox",
        "hypervisor/qemu-microvm",
    }


def test_every_shipped_tool_loads() -> None:
    tools = load_tools()
    assert [tool.name for tool in tools] == sorted(tool.name for tool in tools)
    assert all(tool.packages and tool.run.startswith("/usr/") for tool in tools)


def test_a_broken_tool_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("summary: a\nrunn: /usr/bin/a\npackages: {aa: [/usr/bin/a]}\n")
    (tmp_path / "b.yaml").write_text("summary: b\nrun: /bin/b\npackages: {bb: [/bin/b]}\nlab: 1\n")
    with pytest.raises(ManifestError) as raised:
        load_tools(Path())
    assert [one.where for one in (raised.value, *raised.value.also)] == [
        "a.yaml:1:1",
        "a.yaml:2:1 (runn)",
        "b.yaml:4:6 (lab)",
    ]


def test_a_tool_is_read(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "summary: b\nrun: /bin/b\npackages: {bb: [/bin/b]}\nlab: true\n"
    )
    (tool,) = load_tools(tmp_path)
    assert (tool.name, tool.run, tool.lab) == ("b", "/usr/bin/b", True)


@pytest.mark.parametrize("name", ["host", "My Host_1", "ÄÖ", "-x", "a.b"])
def test_a_starter_loads(desk: Desk, name: str) -> None:
    desk.write({"host.yaml": render_starter(name)})
    manifest = read_manifest(Path("host.yaml"), settings={}, components=[])
    motd = next(file for file in manifest.components[-1].files if file.path == "/etc/motd")
    assert motd.content == f"Welcome to {clean_host_name(manifest.name)}\n".encode()


def test_a_manifest_is_found_as_given_or_among_the_shipped(desk: Desk) -> None:
    host = _MANIFESTS / "host.yaml"
    assert find_manifest("host.yaml") == host
    assert find_manifest("host") == host
    desk.write({"host.yaml": "mine", "sub/x.yaml": ""})
    assert find_manifest("host.yaml") == Path("host.yaml")
    assert find_manifest("sub/x.yaml") == Path("sub/x.yaml")


def test_a_manifest_may_end_in_yml_wherever_one_is_named(desk: Desk) -> None:
    desk.write({"rack.yml": "minbuild: 1\nextends: [base.yml]\n",
                "base.yml": "minbuild: 1\nextends: [host]\n"})  # fmt: skip
    assert is_manifest_name("rack.yml")
    assert find_manifest("rack.yml") == Path("rack.yml")
    assert read_manifest(Path("rack.yml"), settings={}, components=[]).name == "rack"
    with pytest.raises(ManifestError, match="no such manifest") as raised:
        find_manifest("rock.yml")
    assert raised.value.fix == "did you mean rack.yml?"
    with pytest.raises(UsageError, match=r"there are several manifests: base\.yml, rack\.yml"):
        find_only_manifest(desk.directory)
    Path("base.yml").unlink()
    assert find_only_manifest(Path()) == Path("rack.yml")


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("hots.yaml", "no such manifest", "did you mean host.yaml?"),
        ("sub/y.yaml", "no such manifest", "did you mean x.yaml?"),
        ("sub", "this is a directory, not a manifest", "did you mean x.yaml?"),
    ],
)
def test_a_manifest_that_is_not_there_has_a_nearest_name(
    desk: Desk, name: str, what: str, fix: str
) -> None:
    desk.write({"sub/x.yaml": ""})
    with pytest.raises(ManifestError) as raised:
        find_manifest(name)
    assert (raised.value.where, raised.value.what) == (name, what)
    assert name == "sub" or raised.value.fix == fix
