"""A build's EFI file and what is known of it, written to an OCI layout and copied to a registry."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.distribution.model import (
    ARCHITECTURES,
    CREATED,
    EMPTY_CONFIG,
    HOST_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    PART_TYPE,
    RECIPE_TYPE,
    SIGNATURE_TYPE,
    TITLE,
    VERSION,
    Descriptor,
    compute_digest,
    decode_descriptor,
    decode_document,
    describe,
    encode_image_index,
    encode_manifest,
    list_descriptors,
    require_digest,
)
from minbuild.distribution.oci_layout import Layout
from minbuild.distribution.recipe import Recipe, write_recipe
from minbuild.distribution.registry import Registry
from minbuild.distribution.signify import SecretKey, format_key_number, sign_message
from minbuild.errors import UsageError
from minbuild.formats.uki_parts import UkiPart, split_uki


@dataclass(frozen=True, slots=True)
class HostFiles:
    """What is published of one build."""

    uki: bytes
    where: str
    """The EFI file, for errors."""
    arch: str
    """Debian architecture."""
    created: int
    """Seconds UTC: the build's SOURCE_DATE_EPOCH."""
    referrers: Mapping[str, tuple[str, bytes]]
    """File name → media type and bytes of what refers to the host."""


@dataclass(frozen=True, slots=True)
class PublishedHost:
    """One architecture of what was published."""

    recipe: Recipe
    manifest: Descriptor


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """What the publisher says of all architectures."""

    name: str
    version: int
    expires: int
    keys: tuple[SecretKey, ...] = ()
    """Each signs, the former and the next one while keys change."""


def write_host(layout: Layout, host: HostFiles, release: PublishedRelease) -> PublishedHost:
    """Write one architecture of a host: parts, recipe, manifest, and what refers to it.

    Raises: ToolError, ArchiveError.
    """
    parts = split_uki(host.uki, host.where)
    recipe = write_recipe(
        release.name, host.arch, parts, version=release.version, expires=release.expires
    )
    annotations = _list_annotations(release, host.created)
    layers = [_add_file(layout, recipe.render(), RECIPE_TYPE, f"{release.name}.recipe")]
    layers += _add_parts(layout, parts, release.name)
    manifest = encode_manifest(HOST_TYPE, layers, annotations)
    described = Descriptor(
        MANIFEST_TYPE, compute_digest(manifest), len(manifest), {}, HOST_TYPE,
        ARCHITECTURES[host.arch],
    )  # fmt: skip
    layout.add_blob(EMPTY_CONFIG)
    layout.add_blob(manifest)
    for name, (media_type, data) in sorted(host.referrers.items()):
        _add_referrer(layout, described, media_type, [(name, data)], annotations)
    if release.keys:
        signed = [
            (f"{format_key_number(key.number)}.sig", sign_message(recipe.render(), key))
            for key in release.keys
        ]
        _add_referrer(layout, described, SIGNATURE_TYPE, signed, annotations)
    return PublishedHost(recipe, described)


def tag_hosts(
    layout: Layout,
    hosts: Sequence[PublishedHost],
    tag: str,
    release: PublishedRelease,
    created: int,
) -> Descriptor:
    """List the architectures of a host in one index, under a tag of the layout.

    Raises: ToolError; UsageError for two hosts of one architecture.
    """
    names = [host.recipe.arch for host in hosts]
    if len({*names}) != len(names):
        raise UsageError(
            f"two builds are of one architecture: {', '.join(names)}",
            fix="give one build of each architecture",
        )
    entries = sorted((host.manifest for host in hosts), key=lambda one: one.architecture)
    index = encode_image_index(entries, _list_annotations(release, created))
    described = Descriptor(INDEX_TYPE, compute_digest(index), len(index), {}, HOST_TYPE)
    layout.add_manifest(index, described, tag)
    return described


def copy_to_registry(layout: Layout, top: Descriptor, registry: Registry, tag: str) -> None:
    """Send what a registry lacks of a tagged index; its tag moves when all is there.

    Raises: ArchiveError.
    """
    index = layout.read_manifest(top.digest)
    for host in list_descriptors(decode_document(index, layout.name), "manifests", layout.name):
        _copy_manifest(layout, host, registry)
        for referrer in layout.list_referrers(host.digest):
            if not _copy_manifest(layout, referrer, registry):
                registry.add_referrer(host.digest, referrer)
    registry.push_manifest(index, top, tag)


def _copy_manifest(layout: Layout, described: Descriptor, registry: Registry) -> bool:
    """Send a manifest with its contents; returns whether the registry keeps its subject in mind."""
    manifest = layout.read_manifest(described.digest)
    document = decode_document(manifest, layout.name)
    config = decode_descriptor(document.get("config"), layout.name)
    for content in (config, *list_descriptors(document, "layers", layout.name)):
        data = layout.read_blob(content)
        registry.push_blob(require_digest(data, content.digest, layout.name))
    return registry.push_manifest(manifest, described)


def _list_annotations(release: PublishedRelease, created: int) -> dict[str, str]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))
    return {TITLE: release.name, VERSION: str(release.version), CREATED: moment}


def _add_file(layout: Layout, data: bytes, media_type: str, title: str) -> Descriptor:
    layout.add_blob(data)
    return describe(data, media_type, title=title)


def _add_parts(layout: Layout, parts: Sequence[UkiPart], name: str) -> list[Descriptor]:
    return [
        _add_file(layout, part.data, PART_TYPE, f"{name}.efi.d/{number:03}-{part.name}")
        for number, part in enumerate(parts)
    ]


def _add_referrer(
    layout: Layout,
    subject: Descriptor,
    artifact_type: str,
    files: Sequence[tuple[str, bytes]],
    annotations: Mapping[str, str],
) -> None:
    """Write a manifest of an artifact that refers to a host."""
    layers = [_add_file(layout, data, artifact_type, name) for name, data in files]
    kept = {CREATED: annotations[CREATED], TITLE: files[0][0]}
    manifest = encode_manifest(artifact_type, layers, kept, subject)
    described = Descriptor(
        MANIFEST_TYPE, compute_digest(manifest), len(manifest), kept, artifact_type
    )
    layout.add_manifest(manifest, described)


def default_layout(build: Path) -> Path:
    """Where the layout of a build is written: beside it."""
    return build.with_name(f"{build.name}.oci")
