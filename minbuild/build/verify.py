"""Whether what somebody handed over is one build: sums, signature, provenance, lock, footprint, image.

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
from minbuild.archive.types import Lock
from minbuild.build.attest import (
    FOOTPRINT,
    NAME,
    PREDICATE,
    SIGNATURE,
    STATEMENT,
    dependencies,
)
from minbuild.build.sums import read_sums, sha256, wrong
from minbuild.errors import MinbuildError, UsageError
from minbuild.facts.root.types import Reach
from minbuild.footprint import document
from minbuild.footprint.types import Footprint
from minbuild.foreign import read_bytes
from minbuild.image.outputs import SUMS
from minbuild.subject.belongs import require_own

LARGEST = 64 << 20
"""Bytes of the largest document."""


class Verdict(StrEnum):
    OK = "ok"
    FAILED = "FAIL"
    OPEN = "open"
    """Nobody looked, or there is nothing to look at: the reader decides."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one part."""

    part: str
    verdict: Verdict
    said: str


class _Wrong(Exception):
    """A part that does not agree, with the reason."""


@dataclass(frozen=True, slots=True)
class _Build:
    directory: Path
    image: str
    """The one file that is asked about; "" for all of them."""
    key: Path | None
    reach: Reach
    sums: Mapping[str, str]


def verify(place: Path, reach: Reach, key: Path | None = None) -> tuple[Finding, ...]:
    """Hold the parts of a build against each other; `place` is its directory or one image in it.

    Raises: UsageError when no build lies there.
    """
    directory = place if place.is_dir() else place.parent
    image = "" if place.is_dir() else place.name
    build = _Build(directory, image, key, reach, read_sums(directory))
    if image and image not in build.sums:
        raise UsageError(
            f"SHA256SUMS does not list {image}", where=str(directory),
            fix="name a file of the build, or its directory",
        )  # fmt: skip
    parts: dict[str, Callable[[_Build], Finding]] = {
        "sums": _sums, "signature": _signature, "provenance": _provenance, "lock": _lock,
        "footprint": _footprint, "image": _image,
    }  # fmt: skip
    return tuple(_looked(name, part, build) for name, part in parts.items())


def _looked(name: str, part: Callable[[_Build], Finding], build: _Build) -> Finding:
    try:
        return part(build)
    except _Wrong as error:
        return Finding(name, Verdict.FAILED, str(error))
    except MinbuildError as error:
        return Finding(name, Verdict.FAILED, f"{error.what}{error.where and f' ({error.where})'}")


def _sums(build: _Build) -> Finding:
    differ, missing = wrong(build.directory, build.sums)
    if build.image:
        missing = [name for name in missing if name == build.image]
        differ = [name for name in differ if name in {build.image, FOOTPRINT, NAME} or name.endswith(".lock")]  # fmt: skip
    faults = [f"{name} is another" for name in differ] + [
        f"{name} is not there" for name in missing
    ]
    if faults:
        raise _Wrong(", ".join(faults[:5]))
    held = [name for name in build.sums if not build.image or name == build.image]
    beside = sorted(
        path.relative_to(build.directory).as_posix()
        for path in build.directory.rglob("*")
        if not path.is_dir()
    )
    more = [name for name in beside if name not in {*build.sums, SUMS, SIGNATURE}]
    told = (
        f"; in no sum: {', '.join(more[:5])}{' and more' if len(more) > 5 else ''}" if more else ""
    )
    return Finding("sums", Verdict.OK, f"{len(held)} files are as {SUMS} says{told}")


def _signature(build: _Build) -> Finding:
    place = build.directory / SIGNATURE
    if not place.exists():
        if build.key is not None:
            raise _Wrong(f"there is no {SIGNATURE}")
        return Finding("signature", Verdict.OPEN, "there is none")
    if build.key is None:
        return Finding(
            "signature", Verdict.OPEN, f"there is {SIGNATURE}, and no --key to check it by"
        )
    data = _read(build.directory / SUMS)
    who = openpgp.signer(data, _read(place), build.key)
    return Finding("signature", Verdict.OK, f"{SUMS} is signed by {who}")


def _provenance(build: _Build) -> Finding:
    if not (build.directory / NAME).exists():
        if NAME in build.sums:
            raise _Wrong(f"{NAME} is not there")
        return Finding("provenance", Verdict.OPEN, "there is none (minbuild attest writes it)")
    if NAME not in build.sums:
        raise _Wrong(f"{NAME} is in no sum, so no signature covers it")
    _require_summed(build, NAME)
    footprint, lock = _footprint_of(build), _lock_of(build)
    try:
        found = json.loads(_read(build.directory / NAME))
        definition = found["predicate"]["buildDefinition"]
        _require_statement(found, definition, build, footprint, lock)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Wrong(
            f"{NAME} is no statement of minbuild: {type(error).__name__} {error}"
        ) from error
    count = len(definition["resolvedDependencies"])
    return Finding(
        "provenance", Verdict.OK, f"names these outputs and the {count} inputs of this build"
    )


def _require_statement(
    found: Any, definition: Any, build: _Build, footprint: Footprint, lock: Lock
) -> None:
    if (found["_type"], found["predicateType"]) != (STATEMENT, PREDICATE):
        raise _Wrong(f"{NAME} is a statement of another kind")
    subjects = {one["name"]: one["digest"]["sha256"] for one in found["subject"]}
    if subjects != {name: digest for name, digest in build.sums.items() if name != NAME}:
        raise _Wrong(f"{NAME} names other outputs than {SUMS}")
    inputs = footprint.inputs
    if inputs is None:
        raise _Wrong(f"{FOOTPRINT} does not say what the build was made from")
    if definition["resolvedDependencies"] != dependencies(inputs, lock):
        raise _Wrong(f"{NAME} names other inputs than the footprint and the lock")
    said = definition["externalParameters"]
    settings = json.dumps(dict(sorted(said["settings"].items())), sort_keys=True).encode()
    own = (footprint.name, inputs.arch, inputs.cell, inputs.compression, list(inputs.formats))
    told = tuple(said[name] for name in ("manifest", "arch", "cell", "compression", "formats"))
    if told != own or hashlib.sha256(settings).hexdigest() != inputs.settings:
        raise _Wrong(f"{NAME} names other parameters than the footprint")
    if definition["internalParameters"]["sourceDateEpoch"] != lock.epoch:
        raise _Wrong(f"{NAME} names another time than the lock")


def _lock(build: _Build) -> Finding:
    footprint, lock = _footprint_of(build), _lock_of(build)
    known = {one.name: one.version for one in lock.packages}
    faults = [
        f"{row.name} {row.version}"
        for row in footprint.packages
        if row.files and row.name and known.get(row.name) != row.version
    ]
    if faults:
        raise _Wrong(f"it does not pin what the footprint names: {', '.join(faults[:5])}")
    return Finding("lock", Verdict.OK, f"pins the {len(lock.packages)} packages of the image")


def _footprint(build: _Build) -> Finding:
    footprint = _footprint_of(build)
    return Finding("footprint", Verdict.OK, f"adds up: {footprint.totals.files} files, "
                   f"{footprint.totals.packed:,} bytes packed")  # fmt: skip


def _image(build: _Build) -> Finding:
    proof = require_own(_footprint_of(build), build.directory, build.reach, only=build.image)
    if not proof.measured:
        raise _Wrong("none was measured: " + (", ".join(proof.unread) or "none is there"))
    more = f"; not read here: {', '.join(proof.unread)}" if proof.unread else ""
    verdict = Verdict.OPEN if proof.unread else Verdict.OK
    return Finding("image", verdict, f"{', '.join(proof.measured)}: files, modes, kernel and command "
                   f"line are those of the footprint{more}")  # fmt: skip


def _footprint_of(build: _Build) -> Footprint:
    _require_summed(build, FOOTPRINT)
    place = build.directory / FOOTPRINT
    return document.read(_read(place).decode("utf-8", "replace"), str(place))


def _lock_of(build: _Build) -> Lock:
    name = f"{_footprint_of(build).name}.lock"
    _require_summed(build, name)
    return lockfile.read(build.directory / name)


def _require_summed(build: _Build, name: str) -> None:
    """Accept a document that the sums vouch for."""
    if name not in build.sums:
        raise _Wrong(f"{SUMS} does not list {name}")
    held = sha256(build.directory, name)
    if held != build.sums[name]:
        raise _Wrong(f"{name} is {'another' if held else 'not there'}")


def _read(place: Path) -> bytes:
    try:
        return read_bytes(place, LARGEST)
    except OSError as error:
        raise _Wrong(f"{place.name} cannot be read: {error.strerror}") from error
