"""Statements about a build for those who did not see it: provenance, and signed sums.

Source: in-toto Attestation Framework, Statement v1; SLSA Provenance v1.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from minbuild import __version__
from minbuild.archive import lockfile, openpgp
from minbuild.archive.types import Lock
from minbuild.build.request import Request
from minbuild.errors import UsageError, together
from minbuild.image.outputs import SUMS
from minbuild.manifest.types import Manifest
from minbuild.records import full_disk
from minbuild.shipped import shipped
from minbuild.supply.purl import purl

NAME = "provenance.json"
SIGNATURE = f"{SUMS}.asc"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_TYPE = "urn:minbuild:build:1"
_BUILDER = "urn:minbuild:builder"


def provenance(request: Request, manifest: Manifest, directory: Path) -> Path:
    """Write `provenance.json` beside the outputs of a build; the same build gives the same bytes.

    Raises: UsageError when an output is not what SHA256SUMS says, or there is no build.
    """
    subjects = _subjects(directory)
    lock = lockfile.read(directory / f"{manifest.name}.lock")
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": it}} for name, it in subjects.items()],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _TYPE,
                "externalParameters": _parameters(request, manifest),
                "internalParameters": {"sourceDateEpoch": lock.epoch},
                "resolvedDependencies": _dependencies(manifest, lock),
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"minbuild": __version__}},
            },
        },
    }
    text = json.dumps(statement, indent=1, sort_keys=True) + "\n"
    return _write(directory / NAME, text.encode())


def sign(directory: Path, key: Path) -> Path:
    """Write `SHA256SUMS.asc`, a detached OpenPGP signature of the sums by a private key.

    Raises: UsageError for outputs that differ from their sums; ArchiveError for a key that is none.
    """
    _subjects(directory)
    data = (directory / SUMS).read_bytes()
    return _write(directory / SIGNATURE, openpgp.signature(data, key))


def _subjects(directory: Path) -> dict[str, str]:
    """Output → SHA-256, each held against the file. Raises: UsageError for all that differ."""
    try:
        lines = (directory / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "this directory holds no build: it has no SHA256SUMS",
            where=str(directory),
            fix="build first: minbuild make host.yaml",
        ) from error
    found = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    problems = [
        UsageError(f"{name} is not what SHA256SUMS says", where=str(directory), fix="build again")
        for name, digest in sorted(found.items())
        if _sha256(directory / name) != digest
    ]
    if problems:
        raise together(problems)
    return dict(sorted(found.items()))


def _parameters(request: Request, manifest: Manifest) -> Mapping[str, object]:
    return {
        "manifest": manifest.name,
        "arch": manifest.arch,
        "formats": [str(one) for one in manifest.image.formats],
        "compression": str(manifest.image.compression),
        "settings": dict(sorted(request.settings.items())),
    }


def _dependencies(manifest: Manifest, lock: Lock) -> list[Mapping[str, object]]:
    """What the build was made from: documents and templates, Releases, packages, tools."""
    rows: list[Mapping[str, object]] = []
    sign = manifest.image.sign
    secret = {sign.key, sign.module} if sign else set()
    for path, digest in manifest.inputs.items():
        if digest and path not in secret:
            rows.append(_row(_document(Path(path), manifest), digest, "manifest"))
    rows += [
        _row(f"urn:minbuild:release:{suite.root}/{suite.name}", suite.sha256, "archive")
        for suite in lock.suites
    ]
    for part, packages in (("host", lock.packages), ("toolbox", lock.toolbox)):
        rows += [_row(purl(one), "" if one.installed else one.sha256, part) for one in packages]
    return sorted(rows, key=lambda row: (str(row["annotations"]), str(row["uri"])))


def _document(path: Path, manifest: Manifest) -> str:
    """A document's name wherever it lies: minbuild's own, beside the manifest, or elsewhere."""
    from urllib.parse import quote

    top = Path(manifest.file).absolute().parent
    if path.is_relative_to(shipped("manifests")):
        own = path.relative_to(shipped("manifests")).as_posix()
        return f"urn:minbuild:manifests/{quote(own)}"
    place = path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name
    return f"file:{quote(place)}"


def _row(uri: str, sha256: str, part: str) -> Mapping[str, object]:
    digest = {"digest": {"sha256": sha256}} if sha256 else {}
    return {"uri": uri, **digest, "annotations": {"part": part}}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _write(place: Path, data: bytes) -> Path:
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    with full_disk(place.parent):
        try:
            beside.write_bytes(data)
            os.replace(beside, place)
        finally:
            beside.unlink(missing_ok=True)
    return place


def attest(
    request: Request, manifest: Manifest, directory: Path, keys: Sequence[Path]
) -> tuple[Path, ...]:
    """Write the provenance, and a signature of the sums when a key is given."""
    made = [provenance(request, manifest, directory)]
    made += [sign(directory, key) for key in keys]
    return tuple(made)
