"""What ships: every document loads and fits its schema; names are found; a starter starts."""

from pathlib import Path

import jsonschema
import pytest

from minbuild.errors import ManifestError
from minbuild.manifest.components import listing
from minbuild.manifest.document import parse
from minbuild.manifest.find import manifest_file
from minbuild.manifest.load import load
from minbuild.manifest.nodes import plain
from minbuild.manifest.problems import Problems
from minbuild.manifest.schema import DocumentKind, schema
from minbuild.manifest.starter import starter
from minbuild.manifest.tools import load_tools
from minbuild.shipped import shipped
from tests.unit.manifest.conftest import Desk

_MANIFESTS = shipped("manifests")
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
    node = parse(path.read_bytes(), path.name, Problems())
    assert node is not None
    jsonschema.Draft202012Validator(schema(kind)).validate(plain(node))


@pytest.mark.parametrize("kind", DocumentKind)
def test_each_schema_is_one(kind: DocumentKind) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize("path", sorted(_MANIFESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_manifest_loads(path: Path) -> None:
    manifest = load(path, settings={}, components=[])
    assert manifest.name == path.stem


def test_every_shipped_component_loads_and_is_listed() -> None:
    assert {one.name for one in listing([])} >= {"services/busybox", "hypervisor/qemu-microvm"}


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
    assert [one.where for one in (raised.value, *raised.value.others)] == [
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
    desk.write({"host.yaml": starter(name)})
    manifest = load(Path("host.yaml"), settings={}, components=[])
    motd = next(file for file in manifest.components[-1].files if file.path == "/etc/motd")
    assert motd.content == f"Welcome to {manifest.name}\n".encode()


def test_a_manifest_is_found_as_given_or_among_the_shipped(desk: Desk) -> None:
    host = _MANIFESTS / "host.yaml"
    assert manifest_file("host.yaml") == host
    assert manifest_file("host") == host
    desk.write({"host.yaml": "mine", "sub/x.yaml": ""})
    assert manifest_file("host.yaml") == Path("host.yaml")
    assert manifest_file("sub/x.yaml") == Path("sub/x.yaml")


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("hots.yaml", "there is no such manifest", "did you mean host.yaml?"),
        ("sub/y.yaml", "there is no such manifest", "did you mean x.yaml?"),
        ("sub", "a directory, not a manifest", "did you mean x.yaml?"),
    ],
)
def test_a_manifest_that_is_not_there_has_a_nearest_name(
    desk: Desk, name: str, what: str, fix: str
) -> None:
    desk.write({"sub/x.yaml": ""})
    with pytest.raises(ManifestError) as raised:
        manifest_file(name)
    assert (raised.value.where, raised.value.what) == (name, what)
    assert name == "sub" or raised.value.fix == fix
