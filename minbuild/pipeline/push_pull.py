"""The steps of push and pull: builds to a layout and a registry, and a host back from there."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.archive.lockfile import read_lock
from minbuild.archive.model import Lock
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.distribution.model import (
    REFERRER_TYPES,
    SIGNATURE_TYPE,
    ContentSource,
    ForeignContent,
    PartMissing,
)
from minbuild.distribution.oci_layout import Layout
from minbuild.distribution.publication import (
    HostFiles,
    PublishedHost,
    PublishedRelease,
    copy_to_registry,
    default_layout,
    tag_hosts,
    write_host,
)
from minbuild.distribution.recipe import Recipe
from minbuild.distribution.reference import Reference
from minbuild.distribution.registry import Registry
from minbuild.distribution.registry_credentials import find_credentials
from minbuild.distribution.retrieval import (
    FoundHost,
    SeenVersion,
    find_host,
    iter_parts,
    iter_referrer_files,
    require_current,
    require_host,
    require_progress,
    require_signature,
)
from minbuild.distribution.signify import PublicKey, SecretKey
from minbuild.errors import UsageError
from minbuild.file_io import (
    open_atomic,
    read_regular_file,
    read_regular_text,
    translate_disk_errors,
    write_atomic,
)
from minbuild.footprint import document
from minbuild.formats.uki import MAX_UKI_SIZE, read_uki_sections
from minbuild.pipeline.attestation import FOOTPRINT, MAX_FOOTPRINT_SIZE, require_sums
from minbuild.progress import Progress

_IMAGE_VERSION = re.compile(rb'(?m)^IMAGE_VERSION="?([0-9]{1,15})"?$')
"""Of os-release in the image, where boot/update has it. Source: os-release(5)."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What `push` is asked for."""

    reference: Reference
    builds: tuple[Path, ...]
    """Build directories, one for each architecture."""
    layout: Path | None = None
    name: str = ""
    """"": the last word of the repository, of a layout the build's name."""
    version: int = 0
    """0: that of the image (boot/update), else the date of the newest Release of the builds' locks, seconds UTC."""
    expires: int = 0
    keys: tuple[SecretKey, ...] = ()
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class PushResult:
    """What was published."""

    digest: str
    """Of the index that has the tag."""
    layout: Path
    hosts: tuple[PublishedHost, ...]
    sent: int
    """Bytes that the registry lacked; 0 for a layout alone."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What `pull` is asked for."""

    reference: Reference
    directory: Path
    arch: str
    name: str = ""
    keys: tuple[PublicKey, ...] = ()
    """Any one of them must have signed; without one nothing is believed or refused by signature."""
    now: int = 0
    """Seconds UTC."""
    allow_downgrade: bool = False
    with_referrers: bool = False
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class PullResult:
    """What was fetched."""

    recipe: Recipe
    files: tuple[Path, ...]
    signer: PublicKey | None
    fetched: int
    """Bytes of parts that were not here."""


@dataclass(frozen=True, slots=True)
class _Build:
    """A build directory that is published."""

    directory: Path
    name: str
    lock: Lock

    @property
    def uki_path(self) -> Path:
        return self.directory / f"{self.name}.efi"


def push_builds(request: PushRequest, environment: Mapping[str, str], progress: Progress) -> PushResult:  # fmt: skip
    """Write builds to a layout, and send them to the registry.

    Raises: UsageError for what is no build; ArchiveError; ToolError; RolledBack and VersionReused
    when the tag has a newer version, or another file with this number.
    """
    builds = [_read_build(build) for build in request.builds]
    created = max(build.lock.epoch for build in builds)
    release = _make_release(request, builds, created)
    directory = request.reference.layout or request.layout or default_layout(request.builds[0])
    layout = Layout(directory)
    layout.create()
    target = _open_registry(request.reference, environment, plain_http=request.plain_http)
    hosts = []
    for build in builds:
        progress.step(f"cutting {build.name}.efi into parts")
        host = write_host(layout, _collect_files(build), release)
        _require_new(target or layout, request.reference.tag, host.recipe)
        hosts.append(host)
    top = tag_hosts(layout, hosts, request.reference.tag, release, created)
    if target is not None:
        progress.step(f"sending to {target.name}")
        copy_to_registry(layout, top, target, request.reference.tag)
    return PushResult(top.digest, directory, tuple(hosts), target.sent if target else 0)


def pull_host(
    request: PullRequest, store: Store, environment: Mapping[str, str], progress: Progress
) -> PullResult:
    """Fetch a host's file, of which parts that the store has are not fetched again.

    Raises: ArchiveError, one class for each way in which a registry may not be believed: see
    minbuild/distribution/retrieval.py; ToolError.
    """
    reference = request.reference
    source: ContentSource = _open_registry(
        reference, environment, plain_http=request.plain_http
    ) or Layout(reference.layout or Path())
    host = find_host(source, reference.tag, request.arch)
    recipe = host.recipe
    signer = require_signature(source, host, request.keys) if request.keys else None
    require_host(recipe, request.name or reference.name, request.arch, source.name)
    require_current(recipe, request.now, source.name)
    memory = _name_memories(request, recipe)
    if not request.allow_downgrade:
        for key in memory:
            require_progress(recipe, _recall(store, key), source.name)
    with translate_disk_errors(request.directory):
        request.directory.mkdir(parents=True, exist_ok=True)
    progress.step(f"fetching {recipe.name}.efi")
    path = request.directory / f"{recipe.name}.efi"
    fetched = _write_parts(source, host, store, path)
    _remember(store, memory, recipe)
    files = [path, write_atomic(request.directory / f"{recipe.name}.recipe", host.signed)]
    if request.with_referrers:
        files += _write_referrers(source, host, request.directory)
    return PullResult(recipe, tuple(files), signer, fetched)


def _read_build(directory: Path) -> _Build:
    """Read a build whose outputs are as its sums say. Raises: UsageError."""
    sums = require_sums(directory)
    path = directory / FOOTPRINT
    if FOOTPRINT not in sums:
        raise UsageError(
            f"SHA256SUMS does not list {FOOTPRINT}",
            where=str(directory),
            fix="build again: minbuild make",
        )
    name = document.read_footprint(read_regular_text(path, MAX_FOOTPRINT_SIZE), str(path)).name
    if f"{name}.efi" not in sums or f"{name}.lock" not in sums:
        raise UsageError(
            f"the build has no {name}.efi with its lock", where=str(directory),
            fix="build the format that is published: image: {formats: [uki]}",
        )  # fmt: skip
    return _Build(directory, name, read_lock(directory / f"{name}.lock"))


def _make_release(request: PushRequest, builds: Sequence[_Build], created: int) -> PublishedRelease:
    """Make one release of several architectures. Raises: UsageError for two names or versions."""
    names = {request.name or request.reference.name or build.name for build in builds}
    if len(names) > 1:
        raise UsageError(
            f"the builds have several names: {', '.join(sorted(names))}",
            fix="give one: --name NAME",
        )
    versions = {_find_version(build.uki_path, request.version, created) for build in builds}
    if len(versions) > 1:
        raise UsageError(
            f"the builds have several versions: {', '.join(map(str, sorted(versions)))}",
            fix="build them with one value of the variable version",
        )
    return PublishedRelease(names.pop(), versions.pop(), request.expires, request.keys)


def _find_version(uki: Path, requested: int, created: int) -> int:
    """The version of a host: what is in the image, what was asked for, or the date of its lock.

    Raises: UsageError when the image has another number than was asked for.
    """
    sections = read_uki_sections(read_regular_file(uki, MAX_UKI_SIZE), str(uki))
    match = _IMAGE_VERSION.search(sections.get(".osrel", b""))
    built = int(match[1]) if match else 0
    if built and requested and built != requested:
        raise UsageError(
            f"the image is version {built}, not {requested}: hosts would not know it again",
            where=str(uki),
            fix=f"build it with --set version={requested}, or leave out --version",
        )
    return built or requested or created


def _collect_files(build: _Build) -> HostFiles:
    referrers = {
        file: (media_type, read_regular_file(build.directory / file, MAX_FOOTPRINT_SIZE))
        for file, media_type in REFERRER_TYPES.items()
        if (build.directory / file).is_file()
    }
    uki = read_regular_file(build.uki_path, MAX_UKI_SIZE)
    return HostFiles(uki, str(build.uki_path), build.lock.arch, build.lock.epoch, referrers)


def _open_registry(
    reference: Reference, environment: Mapping[str, str], *, plain_http: bool
) -> Registry | None:
    if reference.layout is not None:
        return None
    credentials = find_credentials(reference.host, reference.repository, environment)
    return Registry(reference, credentials, plain_http=plain_http)


def _require_new(target: ContentSource, tag: str, recipe: Recipe) -> None:
    """Accept a version that hosts would take after the one that has the tag."""
    try:
        former = find_host(target, tag, recipe.arch).recipe
    except PartMissing:
        return
    require_progress(recipe, SeenVersion(former.version, former.sha256), target.name)


def _name_memories(request: PullRequest, recipe: Recipe) -> tuple[str, ...]:
    """Keys of the records that remember the newest version of a host.

    One for each believed key: who asks another mirror, or believes one key more, remembers as well.
    """
    scopes = [key.raw.hex() for key in request.keys]
    if not scopes:
        scope = (
            request.reference.layout or f"{request.reference.host}/{request.reference.repository}"
        )
        scopes = [str(scope)]
    return tuple(json.dumps([scope, recipe.name, recipe.arch]) for scope in scopes)


def _recall(store: Store, key: str) -> SeenVersion | None:
    value = store.get(RecordKind.PULLED_HOST, key)
    if value is None:
        return None
    version, _, sha256 = value.decode().partition(" ")
    return SeenVersion(int(version), sha256)


def _remember(store: Store, keys: tuple[str, ...], recipe: Recipe) -> None:
    value = f"{recipe.version} {recipe.sha256}".encode()
    store.put(RecordKind.PULLED_HOST, dict.fromkeys(keys, value))


def _write_parts(source: ContentSource, host: FoundHost, store: Store, path: Path) -> int:
    """Put a file together; returns the bytes that were fetched."""
    fetched, whole = 0, hashlib.sha256()
    with open_atomic(path) as file:
        for data, is_new in iter_parts(source, host.recipe, lambda part: store.read(part.sha256)):
            file.write(data)
            if is_new:
                fetched += len(data)
                store.add(data)
            whole.update(data)
        if whole.hexdigest() != host.recipe.sha256:
            raise ForeignContent(
                f"the parts put together are not {path.name}", where=source.name,
                fix="the recipe does not fit its parts: the host has to be published again",
            )  # fmt: skip
    return fetched


def _write_referrers(source: ContentSource, host: FoundHost, directory: Path) -> list[Path]:
    """Write what refers to a host under the names that builds give it; other names are left out."""
    files = []
    for name, data in iter_referrer_files(source, host):
        if name in REFERRER_TYPES:
            files.append(write_atomic(directory / name, data))
    for number, (_, data) in enumerate(iter_referrer_files(source, host, SIGNATURE_TYPE)):
        ending = f".{number}" if number else ""
        files.append(write_atomic(directory / f"{host.recipe.name}.recipe{ending}.sig", data))
    return files
