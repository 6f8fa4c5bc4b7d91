"""What is said of a build to those who did not see it."""

import json
import shutil
from pathlib import Path

import jsonschema
import pysequoia
import pytest

from minbuild.archive import lockfile
from minbuild.archive.types import Lock, Package
from minbuild.build.attest import sign
from minbuild.errors import ArchiveError, UsageError
from minbuild.image.outputs import open_outputs
from tests.trust.world import run
from tests.whole.small import Small


@pytest.fixture
def built(small: Small) -> Path:
    """The small host's lock in a directory of outputs, as a build leaves it."""
    assert run(small, "lock", "small.yaml").code == 0
    directory = small.directory / "build" / "small"
    with open_outputs(directory) as outputs:
        outputs.place("small.efi").write_bytes(b"image")
        outputs.place("small.lock").write_bytes((small.directory / "small.lock").read_bytes())
        outputs.publish()
    return directory


def test_a_statement_names_outputs_documents_releases_packages_and_tools(
    small: Small, built: Path
) -> None:
    ended = run(small, "attest", "small.yaml")
    assert ended.code == 0, ended.err
    text = (built / "provenance.json").read_text()
    statement = json.loads(text)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [one["name"] for one in statement["subject"]] == ["small.efi", "small.lock"]
    rows = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    parts = {row["annotations"]["part"] for row in rows}
    assert parts == {"archive", "host", "manifest", "toolbox"}
    assert "pkg:deb/debian/hello@1.0?arch=amd64&distro=trixie" in [row["uri"] for row in rows]
    assert all(len(row["digest"]["sha256"]) == 64 for row in rows)
    assert str(small.directory) not in text
    assert run(small, "attest", "small.yaml").code == 0
    assert (built / "provenance.json").read_text() == text


RESOURCE = {
    "type": "object",
    "properties": {
        "uri": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:"},
        "name": {"type": "string"},
        "digest": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "string"},
        },
        "downloadLocation": {"type": "string"},
        "mediaType": {"type": "string"},
        "content": {"type": "string"},
        "annotations": {"type": "object"},
    },
    "anyOf": [{"required": [key]} for key in ("uri", "digest", "content")],
    "additionalProperties": False,
}
SLSA = {
    "type": "object",
    "required": ["_type", "subject", "predicateType", "predicate"],
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {
            "type": "array",
            "minItems": 1,
            "items": {**RESOURCE, "required": ["name", "digest"]},
        },
        "predicateType": {"const": "https://slsa.dev/provenance/v1"},
        "predicate": {
            "type": "object",
            "required": ["buildDefinition", "runDetails"],
            "properties": {
                "buildDefinition": {
                    "type": "object",
                    "required": ["buildType", "externalParameters"],
                    "properties": {
                        "buildType": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:"},
                        "externalParameters": {"type": "object"},
                        "internalParameters": {"type": "object"},
                        "resolvedDependencies": {"type": "array", "items": RESOURCE},
                    },
                    "additionalProperties": False,
                },
                "runDetails": {
                    "type": "object",
                    "required": ["builder"],
                    "properties": {
                        "builder": {
                            "type": "object",
                            "required": ["id"],
                            "properties": {
                                "id": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:"},
                                "version": {"additionalProperties": {"type": "string"}},
                                "builderDependencies": {"type": "array", "items": RESOURCE},
                            },
                            "additionalProperties": False,
                        },
                        "metadata": {"type": "object"},
                        "byproducts": {"type": "array", "items": RESOURCE},
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
"""Source: in-toto Attestation Framework, Statement v1 and ResourceDescriptor v1; SLSA Provenance v1,
provenance.proto."""


def test_a_statement_has_the_shape_of_slsas_specification(small: Small, built: Path) -> None:
    assert run(small, "attest", "small.yaml").code == 0
    statement = json.loads((built / "provenance.json").read_text())
    jsonschema.Draft202012Validator(SLSA).validate(statement)
    parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["manifest"] == "small"


def test_a_statement_of_another_place_is_the_same(
    small: Small, built: Path, tmp_path: Path
) -> None:
    assert run(small, "attest", "small.yaml").code == 0
    place = tmp_path / "far" / "away"
    shutil.copytree(small.directory, place, ignore=shutil.ignore_patterns("store"))
    (place / "build/small/provenance.json").unlink()
    assert run(small, "attest", "small.yaml", cwd=place).code == 0
    text = (built / "provenance.json").read_text()
    assert (place / "build/small/provenance.json").read_text() == text
    rows = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
    documents = {row["uri"] for row in rows if row["annotations"]["part"] == "manifest"}
    assert "file:small.yaml" in documents
    assert all(uri.startswith(("file:", "urn:minbuild:manifests/")) for uri in documents)
    assert not any("/" in uri for uri in documents if uri.startswith("file:"))


def test_an_rpm_of_an_installed_root_has_its_epoch_beside_its_version(
    small: Small, built: Path
) -> None:
    rpm = Package("c++", "1:5.2~rc-3", "x86_64", "", "installed/rpm/fedora", 0, "1" * 64, "40")
    with open_outputs(built) as outputs:
        lockfile.write(outputs.place("small.lock"), Lock("amd64", (), (rpm,), ()))
        outputs.publish()
    assert run(small, "attest", "small.yaml").code == 0
    statement = json.loads((built / "provenance.json").read_text())
    rows = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    uris = [row["uri"] for row in rows if row["annotations"]["part"] == "host"]
    assert uris == ["pkg:rpm/fedora/c%2B%2B@5.2~rc-3?arch=x86_64&distro=40&epoch=1"]


def test_outputs_that_differ_from_their_sums_are_not_vouched_for(small: Small, built: Path) -> None:
    (built / "small.efi").write_bytes(b"other")
    ended = run(small, "attest", "small.yaml")
    assert ended.code == 2
    assert "small.efi is not what SHA256SUMS says" in ended.err
    assert not (built / "provenance.json").exists()


def test_a_directory_without_a_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no build"):
        sign(tmp_path, tmp_path / "key")


def test_sums_are_signed_by_the_key_that_is_given(built: Path, tmp_path: Path) -> None:
    key = pysequoia.Tsk.generate("A release <release@example.org>")
    (tmp_path / "key.asc").write_text(str(key))
    made = sign(built, tmp_path / "key.asc")
    signature = pysequoia.Sig.from_file(str(made))
    data = (built / "SHA256SUMS").read_bytes()
    certificate = key.extract_certificate()
    assert pysequoia.verify(data, lambda _: [certificate], signature=signature)
    (tmp_path / "bad.asc").write_text("no key")
    with pytest.raises(ArchiveError, match="private key"):
        sign(built, tmp_path / "bad.asc")
