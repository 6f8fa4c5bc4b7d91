"""Statements about a build for those who did not see it: provenance, and signed sums.

Source: in-toto Attestation Framework, Statement v1; SLSA Provenance v1.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from minbuild import __version__
from minbuild.archive import lockfile, openpgp
from minbuild.archive.types import Lock
from minbuild.build import state
from minbuild.build.inputs import inputs_of, settings_digest
from minbuild.build.request import Request
from minbuild.build.sums import require_sums, write, write_sums
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.footprint.types import Inputs
from minbuild.foreign import read_text
from minbuild.image.outputs import SUMS
from minbuild.manifest.types import Manifest
from minbuild.store import Store
from minbuild.supply.purl import purl

NAME = "provenance.json"
SIGNATURE = f"{SUMS}.asc"
FOOTPRINT = "footprint.json"
LARGEST = 256 << 20
"""Bytes of the largest footprint."""
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
_TYPE = "urn:minbuild:build:1"
_BUILDER = "urn:minbuild:builder"
Row = Mapping[str, object]


def provenance(request: Request, manifest: Manifest, directory: Path) -> Path:
    """Write `provenance.json` beside the outputs of a build, and add it to their sums.

    It names the inputs that the build itself recorded. The same build gives the same bytes.
    Raises: UsageError when an output is not what SHA256SUMS says, when there is no build, or when
    the manifest has changed since.
    """
    subjects = require_sums(directory, but=NAME)
    if f"{manifest.name}.lock" not in subjects:
        raise _no_inputs(directory, f"SHA256SUMS does not list {manifest.name}.lock")
    lock = lockfile.read(directory / f"{manifest.name}.lock")
    inputs = _inputs(directory, subjects)
    _require_same(inputs, request, manifest, directory)
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": it}} for name, it in subjects.items()],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _TYPE,
                "externalParameters": {
                    "manifest": manifest.name,
                    "arch": inputs.arch,
                    "cell": inputs.cell,
                    "formats": list(inputs.formats),
                    "compression": inputs.compression,
                    "settings": dict(sorted(request.settings.items())),
                },
                "internalParameters": {"sourceDateEpoch": lock.epoch},
                "resolvedDependencies": dependencies(inputs, lock),
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"minbuild": __version__}},
            },
        },
    }
    data = (json.dumps(statement, indent=1, sort_keys=True) + "\n").encode()
    made = write(directory / NAME, data)
    write_sums(directory, {**subjects, NAME: hashlib.sha256(data).hexdigest()})
    return made


def sign(directory: Path, key: Path) -> Path:
    """Write `SHA256SUMS.asc`, a detached OpenPGP signature of the sums by a private key.

    Raises: UsageError for outputs that differ from their sums; ArchiveError for a key that is none.
    """
    require_sums(directory)
    data = (directory / SUMS).read_bytes()
    return write(directory / SIGNATURE, openpgp.signature(data, key))


def dependencies(inputs: Inputs, lock: Lock) -> list[Row]:
    """What a build was made from: documents and templates, Releases, packages, tools; sorted."""
    rows = [_row(one.uri, one.sha256, "manifest") for one in inputs.files]
    rows += [
        _row(f"urn:minbuild:release:{suite.root}/{suite.name}", suite.sha256, "archive")
        for suite in lock.suites
    ]
    for part, packages in (("host", lock.packages), ("toolbox", lock.toolbox)):
        rows += [_row(purl(one), "" if one.installed else one.sha256, part) for one in packages]
    return sorted(rows, key=lambda row: (str(row["annotations"]), str(row["uri"])))


def _inputs(directory: Path, sums: Mapping[str, str]) -> Inputs:
    if FOOTPRINT not in sums:
        raise _no_inputs(directory, f"SHA256SUMS does not list {FOOTPRINT}")
    place = directory / FOOTPRINT
    inputs = document.read(read_text(place, LARGEST), str(place)).inputs
    if inputs is None:
        raise _no_inputs(directory, f"{FOOTPRINT} does not say what the build was made from")
    return inputs


def _require_same(inputs: Inputs, request: Request, manifest: Manifest, directory: Path) -> None:
    """Accept the manifest that was built, and no other. Raises: UsageError."""
    now = inputs_of(request, manifest)
    changed = sorted({one.uri for one in {*inputs.files} ^ {*now.files}})
    if inputs.settings != settings_digest(request):
        changed.append("the settings (--set)")
    if (inputs.arch, inputs.cell) != (now.arch, now.cell):
        changed.append("the architecture or the combination of its matrix")
    if changed:
        raise UsageError(
            f"the build in this directory was made from other inputs: {', '.join(changed[:5])}",
            where=str(directory),
            fix="build again (minbuild make), or give the options and the manifest of that build",
        )


def _no_inputs(directory: Path, why: str) -> UsageError:
    return UsageError(
        f"nobody can vouch for this build: {why}", where=str(directory),
        fix="build again with this minbuild, which records every input",
    )  # fmt: skip


def _row(uri: str, sha256: str, part: str) -> Row:
    digest = {"digest": {"sha256": sha256}} if sha256 else {}
    return {"uri": uri, **digest, "annotations": {"part": part}}


def attest(
    request: Request, manifest: Manifest, directory: Path, keys: Sequence[Path], store: Store
) -> tuple[Path, ...]:
    """Write the provenance, and a signature of the sums when a key is given.

    The store keeps in mind that the sums were written again, so that `make` does not build anew.
    """
    made = [provenance(request, manifest, directory)]
    made += [sign(directory, key) for key in keys]
    state.restamp(store, directory, SUMS)
    return tuple(made)
