"""Statements about a build for those who did not see it: provenance, and signed sums.

Source: in-toto Attestation Framework, Statement v1; SLSA Provenance v1.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from minbuild import __version__
from minbuild.archive import lockfile, openpgp
from minbuild.archive.model import Lock
from minbuild.cache.store import Store
from minbuild.compliance.built_image import make_purl
from minbuild.data import data_directory
from minbuild.dib.elements import digest_elements
from minbuild.errors import UsageError, combine
from minbuild.file_io import (
    hash_open_file,
    open_beneath,
    read_regular_file,
    read_regular_text,
    write_atomic,
)
from minbuild.footprint import document
from minbuild.footprint.model import BuildInput, BuildInputs
from minbuild.image.publish import SUMS_FILE
from minbuild.manifest.model import Manifest
from minbuild.pipeline import up_to_date
from minbuild.pipeline.session import BuildRequest


def collect_inputs(request: BuildRequest, manifest: Manifest) -> BuildInputs:
    """Every document, template and file that a manifest took, and what the command line said.

    Settings are kept as one digest: they may be secret. Keys are not named at all.
    """
    image = manifest.image
    return BuildInputs(
        arch=manifest.arch,
        cell=request.cell,
        compression=str(image.compression),
        formats=tuple(str(one) for one in image.formats),
        settings=digest_settings(request),
        files=tuple(sorted({*_list_documents(manifest), *_list_elements(manifest)})),
    )


def digest_settings(request: BuildRequest) -> str:
    """SHA-256 of what --set says, in one order."""
    text = json.dumps(dict(sorted(request.settings.items())), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _list_documents(manifest: Manifest) -> set[BuildInput]:
    sign = manifest.image.sign
    secret = {sign.key, sign.module} if sign else set()
    return {
        BuildInput(_make_document_uri(Path(path), manifest), digest)
        for path, digest in manifest.inputs.items()
        if digest and path not in secret
    }


def _list_elements(manifest: Manifest) -> set[BuildInput]:
    if not manifest.image.dib:
        return set()
    return {
        BuildInput(f"urn:minbuild:element/{quote(name)}", digest)
        for dib_settings in manifest.image.dib
        for name, digest in digest_elements(dib_settings.elements).items()
    }


def _make_document_uri(path: Path, manifest: Manifest) -> str:
    """A document's name wherever it lies: minbuild's own, beside the manifest, or elsewhere."""
    top = Path(manifest.file).absolute().parent
    if path.is_relative_to(data_directory("manifests")):
        shipped_name = path.relative_to(data_directory("manifests")).as_posix()
        return f"urn:minbuild:manifests/{quote(shipped_name)}"
    file_name = path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name
    return f"file:{quote(file_name)}"


MAX_SUMS_SIZE = 1 << 20
"""Bytes of the largest SHA256SUMS."""
_SUMS_LINE = re.compile(
    r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9._+@~=-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+@~=-]*)*)"
)


def read_sums(directory: Path) -> dict[str, str]:
    """Output → SHA-256 as SHA256SUMS says; sorted.

    A name is a path below the directory: none that is absolute, climbs, or begins with a dot.
    Raises: UsageError when there is none, or it holds anything else.
    """
    sums_path = directory / SUMS_FILE
    try:
        lines = read_regular_file(sums_path, MAX_SUMS_SIZE).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "this directory holds no build: it has no SHA256SUMS",
            where=str(directory),
            fix="build first: minbuild make host.yaml",
        ) from error
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _SUMS_LINE.fullmatch(line)
        if match is None or match[2] in sums:
            raise UsageError(
                "a line of SHA256SUMS is no digest and name of an output",
                where=f"{sums_path}:{number}",
                fix="build again: every name lies in the directory, and stands there once",
            )
        sums[match[2]] = match[1]
    return dict(sorted(sums.items()))


def compare_sums(directory: Path, sums: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Outputs that are not what their sums say, and those that are not there."""
    differ, missing = [], []
    for name, digest in sums.items():
        actual = digest_output(directory, name)
        if actual is None:
            missing.append(name)
        elif actual != digest:
            differ.append(name)
    return differ, missing


def require_sums(directory: Path, *, but: str = "") -> dict[str, str]:
    """The sums of a build whose every output is as they say, `but` one.

    Raises: UsageError for all that differ.
    """
    sums = {name: digest for name, digest in read_sums(directory).items() if name != but}
    differ, missing = compare_sums(directory, sums)
    problems = [
        UsageError(f"{name} is not what SHA256SUMS says", where=str(directory), fix="build again")
        for name in sorted((*differ, *missing))
    ]
    if problems:
        raise combine(problems)
    return sums


def digest_output(directory: Path, name: str) -> str | None:
    """The SHA-256 of a regular file below a directory, no link followed; None where there is none."""
    try:
        with os.fdopen(open_beneath(directory.resolve(), name), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            return hash_open_file(file)
    except OSError:
        return None


def write_sums(directory: Path, sums: Mapping[str, str]) -> Path:
    """Write SHA256SUMS anew, sorted by name."""
    text = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return write_atomic(directory / SUMS_FILE, text.encode("ascii"))


PROVENANCE = "provenance.json"
SIGNATURE = f"{SUMS_FILE}.asc"
FOOTPRINT = "footprint.json"
MAX_FOOTPRINT_SIZE = 256 << 20
"""Bytes of the largest footprint."""
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:minbuild:build:1"
_BUILDER_ID = "urn:minbuild:builder"
Dependency = Mapping[str, object]


def write_provenance(request: BuildRequest, manifest: Manifest, directory: Path) -> Path:
    """Write `provenance.json` beside the outputs of a build, and add it to their sums.

    It names the inputs that the build itself recorded. The same build gives the same bytes.
    Raises: UsageError when an output is not what SHA256SUMS says, when there is no build, or when
    the manifest has changed since.
    """
    subjects = require_sums(directory, but=PROVENANCE)
    if f"{manifest.name}.lock" not in subjects:
        raise _explain_unrecorded_inputs(
            directory, f"SHA256SUMS does not list {manifest.name}.lock"
        )
    lock = lockfile.read_lock(directory / f"{manifest.name}.lock")
    inputs = _read_inputs(directory, subjects)
    _require_same_inputs(inputs, request, manifest, directory)
    statement = _make_statement(subjects, inputs, lock, manifest.name, request.settings)
    data = (json.dumps(statement, indent=1, sort_keys=True) + "\n").encode()
    path = write_atomic(directory / PROVENANCE, data)
    write_sums(directory, {**subjects, PROVENANCE: hashlib.sha256(data).hexdigest()})
    return path


def _make_statement(
    subjects: Mapping[str, str],
    inputs: BuildInputs,
    lock: Lock,
    name: str,
    settings: Mapping[str, str],
) -> Mapping[str, object]:
    """An in-toto statement with SLSA's provenance. Source: https://slsa.dev/provenance/v1."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": it}} for name, it in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "manifest": name,
                    "arch": inputs.arch,
                    "cell": inputs.cell,
                    "formats": list(inputs.formats),
                    "compression": inputs.compression,
                    "settings": dict(sorted(settings.items())),
                },
                "internalParameters": {"sourceDateEpoch": lock.epoch},
                "resolvedDependencies": list_dependencies(inputs, lock),
            },
            "runDetails": {
                "builder": {"id": _BUILDER_ID, "version": {"minbuild": __version__}},
            },
        },
    }


def sign_sums(directory: Path, key: Path) -> Path:
    """Write `SHA256SUMS.asc`, a detached OpenPGP signature of the sums by a private key.

    Raises: UsageError for outputs that differ from their sums; ArchiveError for a key that is none.
    """
    require_sums(directory)
    data = (directory / SUMS_FILE).read_bytes()
    return write_atomic(directory / SIGNATURE, openpgp.sign_detached(data, key))


def list_dependencies(inputs: BuildInputs, lock: Lock) -> list[Dependency]:
    """What a build was made from: documents and templates, Releases, packages, tools; sorted."""
    rows = [_make_dependency(one.uri, one.sha256, "manifest") for one in inputs.files]
    rows += [
        _make_dependency(f"urn:minbuild:release:{suite.root}/{suite.name}", suite.sha256, "archive")
        for suite in lock.suites
    ]
    for part, packages in (("host", lock.packages), ("toolbox", lock.toolbox)):
        rows += [
            _make_dependency(make_purl(one), "" if one.installed_origin else one.sha256, part)
            for one in packages
        ]
    return sorted(rows, key=lambda row: (str(row["annotations"]), str(row["uri"])))


def _read_inputs(directory: Path, sums: Mapping[str, str]) -> BuildInputs:
    if FOOTPRINT not in sums:
        raise _explain_unrecorded_inputs(directory, f"SHA256SUMS does not list {FOOTPRINT}")
    footprint_path = directory / FOOTPRINT
    inputs = document.read_footprint(
        read_regular_text(footprint_path, MAX_FOOTPRINT_SIZE), str(footprint_path)
    ).inputs
    if inputs is None:
        raise _explain_unrecorded_inputs(
            directory, f"{FOOTPRINT} does not say what the build was made from"
        )
    return inputs


def _require_same_inputs(
    inputs: BuildInputs, request: BuildRequest, manifest: Manifest, directory: Path
) -> None:
    """Accept the manifest that was built, and no other. Raises: UsageError."""
    current_inputs = collect_inputs(request, manifest)
    changed = sorted({one.uri for one in {*inputs.files} ^ {*current_inputs.files}})
    if inputs.settings != digest_settings(request):
        changed.append("the settings (--set)")
    if (inputs.arch, inputs.cell) != (current_inputs.arch, current_inputs.cell):
        changed.append("the architecture or the combination of its matrix")
    if changed:
        raise UsageError(
            f"the build in this directory was made from other inputs: {', '.join(changed[:5])}",
            where=str(directory),
            fix="build again (minbuild make), or give the options and the manifest of that build",
        )


def _explain_unrecorded_inputs(directory: Path, reason: str) -> UsageError:
    return UsageError(
        f"nobody can vouch for this build: {reason}", where=str(directory),
        fix="build again with this minbuild, which records every input",
    )  # fmt: skip


def _make_dependency(uri: str, sha256: str, part: str) -> Dependency:
    digest = {"digest": {"sha256": sha256}} if sha256 else {}
    return {"uri": uri, **digest, "annotations": {"part": part}}


def write_attestation(
    request: BuildRequest, manifest: Manifest, directory: Path, keys: Sequence[Path], store: Store
) -> tuple[Path, ...]:
    """Write the provenance, and a signature of the sums when a key is given.

    The store keeps in mind that the sums were written again, so that `make` does not build anew.
    """
    paths = [write_provenance(request, manifest, directory)]
    paths += [sign_sums(directory, key) for key in keys]
    up_to_date.update_stamp(store, directory, SUMS_FILE)
    return tuple(paths)
