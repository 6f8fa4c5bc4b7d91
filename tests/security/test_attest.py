"""What is said of a build to those who did not see it."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import jsonschema
import pysequoia
import pytest

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, Package
from minbuild.errors import ArchiveError, UsageError
from minbuild.pipeline.attestation import digest_output, read_sums, sign_sums
from tests.e2e.small_host import Small
from tests.security.finished_builds import make_outputs, rewrite_sums
from tests.security.world import run


@pytest.fixture
def build_directory(small: Small) -> Path:
    """The small host's outputs, as a build leaves them."""
    return make_outputs(small)


def test_a_statement_names_outputs_documents_releases_packages_and_tools(
    small: Small, build_directory: Path
) -> None:
    ended = run(small, "attest", "small.yaml")
    assert ended.code == 0, ended.err
    text = (build_directory / "provenance.json").read_text()
    statement = json.loads(text)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [one["name"] for one in statement["subject"]] == [
        "footprint.json",
        "small.efi",
        "small.lock",
    ]
    rows = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    parts = {row["annotations"]["part"] for row in rows}
    assert parts == {"archive", "host", "manifest", "toolbox"}
    assert "pkg:deb/debian/hello@1.0?arch=amd64&distro=trixie" in [row["uri"] for row in rows]
    assert all(len(row["digest"]["sha256"]) == 64 for row in rows)
    assert str(small.directory) not in text
    assert run(small, "attest", "small.yaml").code == 0
    assert (build_directory / "provenance.json").read_text() == text


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


def test_a_statement_has_the_shape_of_slsas_specification(
    small: Small, build_directory: Path
) -> None:
    assert run(small, "attest", "small.yaml").code == 0
    statement = json.loads((build_directory / "provenance.json").read_text())
    jsonschema.Draft202012Validator(SLSA).validate(statement)
    parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["manifest"] == "small"


def test_a_statement_of_another_place_is_the_same(
    small: Small, build_directory: Path, tmp_path: Path
) -> None:
    assert run(small, "attest", "small.yaml").code == 0
    path = tmp_path / "far" / "away"
    shutil.copytree(small.directory, path, ignore=shutil.ignore_patterns("store"))
    (path / "build/small/provenance.json").unlink()
    assert run(small, "attest", "small.yaml", cwd=path).code == 0
    text = (build_directory / "provenance.json").read_text()
    assert (path / "build/small/provenance.json").read_text() == text
    rows = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
    documents = {row["uri"] for row in rows if row["annotations"]["part"] == "manifest"}
    assert "file:small.yaml" in documents
    assert all(uri.startswith(("file:", "urn:minbuild:manifests/")) for uri in documents)
    assert not any("/" in uri for uri in documents if uri.startswith("file:"))


def test_an_rpm_of_an_installed_root_has_its_epoch_beside_its_version(
    small: Small, build_directory: Path
) -> None:
    rpm = Package("c++", "1:5.2~rc-3", "x86_64", "", "installed/rpm/fedora", 0, "1" * 64, "40")
    lockfile.write_lock(build_directory / "small.lock", Lock("amd64", (), (rpm,), ()))
    rewrite_sums(build_directory)
    assert run(small, "attest", "small.yaml").code == 0
    statement = json.loads((build_directory / "provenance.json").read_text())
    rows = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    uris = [row["uri"] for row in rows if row["annotations"]["part"] == "host"]
    assert uris == ["pkg:rpm/fedora/c%2B%2B@5.2~rc-3?arch=x86_64&distro=40&epoch=1"]


def test_outputs_that_differ_from_their_sums_are_not_vouched_for(
    small: Small, build_directory: Path
) -> None:
    (build_directory / "small.efi").write_bytes(b"other")
    ended = run(small, "attest", "small.yaml")
    assert ended.code == 2
    assert "small.efi is not what SHA256SUMS says" in ended.err
    assert not (build_directory / "provenance.json").exists()


def test_a_manifest_that_changed_since_is_not_vouched_for(
    small: Small, build_directory: Path
) -> None:
    small.write("# another\n")
    ended = run(small, "attest", "small.yaml")
    assert ended.code == 2
    assert "was made from other inputs: file:small.yaml" in ended.err
    assert not (build_directory / "provenance.json").exists()


@pytest.mark.parametrize("lack", ["footprint.json", "small.lock", "inputs"])
def test_a_build_that_recorded_nothing_is_not_vouched_for(
    small: Small, build_directory: Path, lack: str
) -> None:
    if lack == "inputs":
        document = json.loads((build_directory / "footprint.json").read_text())
        del document["inputs"]
        (build_directory / "footprint.json").write_text(json.dumps(document))
    rewrite_sums(build_directory, *{"footprint.json", "small.efi", "small.lock"} - {lack})
    ended = run(small, "attest", "small.yaml")
    assert ended.code == 2
    assert "nobody can vouch for this build" in ended.err


def test_the_statement_is_in_the_sums_and_so_under_the_signature(
    small: Small, build_directory: Path
) -> None:
    before = (build_directory / "SHA256SUMS").read_text()
    assert run(small, "attest", "small.yaml").code == 0
    after = (build_directory / "SHA256SUMS").read_text()
    digest = hashlib.sha256((build_directory / "provenance.json").read_bytes()).hexdigest()
    assert set(after.splitlines()) == {*before.splitlines(), f"{digest}  provenance.json"}
    assert run(small, "attest", "small.yaml").code == 0
    assert (build_directory / "SHA256SUMS").read_text() == after


@pytest.mark.parametrize(
    "line",
    [f"{'0' * 64}  {name}" for name in (
        "../a", "/etc/passwd", "host.pxe/../../a", ".hidden", "a\\b", "a//b", "a/", "", "a b", "b",
    )] + [f"{'0' * 63}  a", f"{'0' * 64} a", f"{'0' * 64} *a", "\x85"],
)  # fmt: skip
def test_sums_hold_names_in_the_directory_and_nothing_else(tmp_path: Path, line: str) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{'1' * 64}  b\n{line}\n", encoding="latin-1")
    with pytest.raises(UsageError, match=r"no digest and name of an output|no SHA256SUMS"):
        read_sums(tmp_path)


def test_only_a_file_that_is_no_link_has_a_sum(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("folder/a")
    (tmp_path / "way").symlink_to("folder")
    os.mkfifo(tmp_path / "pipe")
    assert digest_output(tmp_path, "folder/a") == hashlib.sha256(b"a").hexdigest()
    for name in ("link", "way/a", "pipe", "folder", "gone", "folder/a/b"):
        assert digest_output(tmp_path, name) is None


def test_a_directory_without_a_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no build"):
        sign_sums(tmp_path, tmp_path / "key")


def test_sums_are_signed_by_the_key_that_is_given(build_directory: Path, tmp_path: Path) -> None:
    key = pysequoia.Tsk.generate("A release <release@example.org>")
    (tmp_path / "key.asc").write_text(str(key))
    result = sign_sums(build_directory, tmp_path / "key.asc")
    signature = pysequoia.Sig.from_file(str(result))
    data = (build_directory / "SHA256SUMS").read_bytes()
    certificate = key.extract_certificate()
    verified = pysequoia.verify(data, lambda _: [certificate], signature=signature)
    assert [each.certificate for each in verified.valid_sigs] == [certificate.fingerprint]
    (tmp_path / "bad.asc").write_text("no key")
    with pytest.raises(ArchiveError, match="private key"):
        sign_sums(build_directory, tmp_path / "bad.asc")
