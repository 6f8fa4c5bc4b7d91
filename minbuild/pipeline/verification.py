"""Verification that files are of one build: sums, signature, provenance, lock, footprint, image.

Each is held against the others; nothing is fetched, and nothing of the build is run.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from minbuild.archive import lockfile, openpgp
from minbuild.archive.model import Lock
from minbuild.errors import MinbuildError, UsageError
from minbuild.file_io import read_regular_file
from minbuild.footprint import document
from minbuild.footprint.model import Footprint
from minbuild.image.publish import SUMS_FILE
from minbuild.pipeline.attestation import (
    FOOTPRINT,
    PREDICATE_TYPE,
    PROVENANCE,
    SIGNATURE,
    STATEMENT_TYPE,
    compare_sums,
    digest_output,
    list_dependencies,
    read_sums,
)
from minbuild.roots.image_verification import verify_images
from minbuild.roots.model import GetReaders

MAX_DOCUMENT_SIZE = 64 << 20
"""Bytes of the largest document."""


class PartStatus(StrEnum):
    OK = "ok"
    FAILED = "FAIL"
    OPEN = "open"
    """Nobody looked, or there is nothing to look at: the reader decides."""


@dataclass(frozen=True, slots=True)
class PartResult:
    """What came of one part."""

    part: str
    status: PartStatus
    message: str


class _Mismatch(Exception):
    """A part that does not agree, with the reason."""


@dataclass(frozen=True, slots=True)
class _BuildFiles:
    directory: Path
    image: str
    """The one file that is asked about; "" for all of them."""
    key: Path | None
    get_readers: GetReaders
    sums: Mapping[str, str]


def verify_build(
    path: Path, get_readers: GetReaders, key: Path | None = None
) -> tuple[PartResult, ...]:
    """Hold the parts of a build against each other; `place` is its directory or one image in it.

    Raises: UsageError when no build lies there.
    """
    directory = path if path.is_dir() else path.parent
    image = "" if path.is_dir() else path.name
    build = _BuildFiles(directory, image, key, get_readers, read_sums(directory))
    if image and image not in build.sums:
        raise UsageError(
            f"SHA256SUMS does not list {image}", where=str(directory),
            fix="name a file of the build, or its directory",
        )  # fmt: skip
    parts: dict[str, Callable[[_BuildFiles], PartResult]] = {
        "sums": _check_sums, "signature": _check_signature, "provenance": _check_provenance, "lock": _check_lock,
        "footprint": _check_footprint, "image": _check_image,
    }  # fmt: skip
    return tuple(_check_part(name, part, build) for name, part in parts.items())


def _check_part(
    name: str, part: Callable[[_BuildFiles], PartResult], build: _BuildFiles
) -> PartResult:
    try:
        return part(build)
    except _Mismatch as error:
        return PartResult(name, PartStatus.FAILED, str(error))
    except MinbuildError as error:
        return PartResult(
            name, PartStatus.FAILED, f"{error.what}{error.where and f' ({error.where})'}"
        )


def _check_sums(build: _BuildFiles) -> PartResult:
    differ, missing = compare_sums(build.directory, build.sums)
    if build.image:
        missing = [name for name in missing if name == build.image]
        differ = [name for name in differ if name in {build.image, FOOTPRINT, PROVENANCE} or name.endswith(".lock")]  # fmt: skip
    faults = [f"{name} is another" for name in differ] + [
        f"{name} is not there" for name in missing
    ]
    if faults:
        raise _Mismatch(", ".join(faults[:5]))
    listed = [name for name in build.sums if not build.image or name == build.image]
    present = sorted(
        path.relative_to(build.directory).as_posix()
        for path in build.directory.rglob("*")
        if not path.is_dir()
    )
    unlisted = [name for name in present if name not in {*build.sums, SUMS_FILE, SIGNATURE}]
    note = (
        f"; in no sum: {', '.join(unlisted[:5])}{' and more' if len(unlisted) > 5 else ''}"
        if unlisted
        else ""
    )
    return PartResult("sums", PartStatus.OK, f"{len(listed)} files are as {SUMS_FILE} says{note}")


def _check_signature(build: _BuildFiles) -> PartResult:
    signature_path = build.directory / SIGNATURE
    if not signature_path.exists():
        if build.key is not None:
            raise _Mismatch(f"there is no {SIGNATURE}")
        return PartResult("signature", PartStatus.OPEN, "there is none")
    if build.key is None:
        return PartResult(
            "signature", PartStatus.OPEN, f"there is {SIGNATURE}, and no --key to check it by"
        )
    data = _read_document(build.directory / SUMS_FILE)
    signer = openpgp.verify_detached(data, _read_document(signature_path), build.key)
    return PartResult("signature", PartStatus.OK, f"{SUMS_FILE} is signed by {signer}")


def _check_provenance(build: _BuildFiles) -> PartResult:
    if not (build.directory / PROVENANCE).exists():
        if PROVENANCE in build.sums:
            raise _Mismatch(f"{PROVENANCE} is not there")
        return PartResult(
            "provenance", PartStatus.OPEN, "there is none (minbuild attest writes it)"
        )
    if PROVENANCE not in build.sums:
        raise _Mismatch(f"{PROVENANCE} is in no sum, so no signature covers it")
    _require_sum(build, PROVENANCE)
    footprint, lock = _read_footprint(build), _read_lock(build)
    try:
        statement = json.loads(_read_document(build.directory / PROVENANCE))
        definition = statement["predicate"]["buildDefinition"]
        _require_statement(statement, definition, build, footprint, lock)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Mismatch(
            f"{PROVENANCE} is no statement of minbuild: {type(error).__name__} {error}"
        ) from error
    count = len(definition["resolvedDependencies"])
    return PartResult(
        "provenance", PartStatus.OK, f"names these outputs and the {count} inputs of this build"
    )


def _require_statement(
    statement: Any, definition: Any, build: _BuildFiles, footprint: Footprint, lock: Lock
) -> None:
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise _Mismatch(f"{PROVENANCE} is a statement of another kind")
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    if subjects != {name: digest for name, digest in build.sums.items() if name != PROVENANCE}:
        raise _Mismatch(f"{PROVENANCE} names other outputs than {SUMS_FILE}")
    inputs = footprint.inputs
    if inputs is None:
        raise _Mismatch(f"{FOOTPRINT} does not say what the build was made from")
    if definition["resolvedDependencies"] != list_dependencies(inputs, lock):
        raise _Mismatch(f"{PROVENANCE} names other inputs than the footprint and the lock")
    parameters = definition["externalParameters"]
    settings = json.dumps(dict(sorted(parameters["settings"].items())), sort_keys=True).encode()
    expected = (footprint.name, inputs.arch, inputs.cell, inputs.compression, list(inputs.formats))
    actual = tuple(
        parameters[name] for name in ("manifest", "arch", "cell", "compression", "formats")
    )
    if actual != expected or hashlib.sha256(settings).hexdigest() != inputs.settings:
        raise _Mismatch(f"{PROVENANCE} names other parameters than the footprint")
    if definition["internalParameters"]["sourceDateEpoch"] != lock.epoch:
        raise _Mismatch(f"{PROVENANCE} names another time than the lock")


def _check_lock(build: _BuildFiles) -> PartResult:
    footprint, lock = _read_footprint(build), _read_lock(build)
    versions = {one.name: one.version for one in lock.packages}
    faults = [
        f"{row.name} {row.version}"
        for row in footprint.packages
        if row.files and row.name and versions.get(row.name) != row.version
    ]
    if faults:
        raise _Mismatch(f"it does not pin what the footprint names: {', '.join(faults[:5])}")
    return PartResult("lock", PartStatus.OK, f"pins the {len(lock.packages)} packages of the image")


def _check_footprint(build: _BuildFiles) -> PartResult:
    footprint = _read_footprint(build)
    return PartResult("footprint", PartStatus.OK, f"adds up: {footprint.totals.files} files, "
                   f"{footprint.totals.packed:,} bytes packed")  # fmt: skip


def _check_image(build: _BuildFiles) -> PartResult:
    proof = verify_images(
        _read_footprint(build), build.directory, build.get_readers, only=build.image
    )
    if not proof.measured:
        raise _Mismatch("none was measured: " + (", ".join(proof.unread) or "none is there"))
    note = f"; not read here: {', '.join(proof.unread)}" if proof.unread else ""
    status = PartStatus.OPEN if proof.unread else PartStatus.OK
    return PartResult("image", status, f"{', '.join(proof.measured)}: files, modes, kernel and command "
                   f"line are those of the footprint{note}")  # fmt: skip


def _read_footprint(build: _BuildFiles) -> Footprint:
    _require_sum(build, FOOTPRINT)
    footprint_path = build.directory / FOOTPRINT
    return document.read_footprint(
        _read_document(footprint_path).decode("utf-8", "replace"), str(footprint_path)
    )


def _read_lock(build: _BuildFiles) -> Lock:
    name = f"{_read_footprint(build).name}.lock"
    _require_sum(build, name)
    return lockfile.read_lock(build.directory / name)


def _require_sum(build: _BuildFiles, name: str) -> None:
    """Accept a document that the sums vouch for."""
    if name not in build.sums:
        raise _Mismatch(f"{SUMS_FILE} does not list {name}")
    actual = digest_output(build.directory, name)
    if actual != build.sums[name]:
        raise _Mismatch(f"{name} is {'another' if actual else 'not there'}")


def _read_document(path: Path) -> bytes:
    try:
        return read_regular_file(path, MAX_DOCUMENT_SIZE)
    except OSError as error:
        raise _Mismatch(f"{path.name} cannot be read: {error.strerror}") from error
