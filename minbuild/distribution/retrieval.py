"""A host read from a registry or layout: what is believed of it, and why the rest is refused.

A signature over the recipe is all that is believed. What a registry or mirror can do against it, each
with its own error: it lies (ForeignContent, BadSignature, UnknownSigner, WrongHost), withholds
(PartMissing, UnsignedHost, RecipeExpired), or goes back (RolledBack, VersionReused).

Source: The Update Framework, 1.5.2 "Goals to protect against specific attacks".
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from minbuild.distribution.model import (
    ARCHITECTURES,
    EMPTY_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    RECIPE_TYPE,
    REFERRER_TYPES,
    SIGNATURE_TYPE,
    ContentSource,
    Descriptor,
    PartMissing,
    compute_digest,
    decode_document,
    list_descriptors,
    make_manifest_error,
    require_digest,
)
from minbuild.distribution.recipe import MAX_RECIPE_SIZE, Recipe, RecipePart, read_recipe
from minbuild.distribution.signify import (
    MAX_FILE_SIZE,
    BadSignature,
    PublicKey,
    UnknownSigner,
    verify_message,
)
from minbuild.errors import ArchiveError

MAX_REFERRERS = 64
"""Manifests that are read of those that refer to one host."""
GOARCH_TO_DEBIAN = {goarch: arch for arch, goarch in ARCHITECTURES.items()}


class UnsignedHost(ArchiveError):
    """No signature is there, where one was asked for."""


class WrongHost(ArchiveError):
    """A recipe, rightly signed perhaps, of another host than the one that was asked for."""


class RecipeExpired(ArchiveError):
    """A recipe that its publisher would have replaced by now."""


class RolledBack(ArchiveError):
    """An older version than one that was seen."""


class VersionReused(ArchiveError):
    """Two hosts with one version number."""


@dataclass(frozen=True, slots=True)
class FoundHost:
    """One architecture of a host as a registry gives it; nothing of it is believed yet."""

    manifest: Descriptor
    recipe: Recipe
    signed: bytes
    """The recipe as it stands there."""


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """The newest version that was accepted of a host."""

    version: int
    sha256: str
    """Of its file."""


def find_host(source: ContentSource, tag: str, arch: str) -> FoundHost:
    """Find the recipe of one architecture below a tag.

    Raises: PartMissing, ForeignContent, DamagedRecipe, ArchiveError.
    """
    data = source.read_manifest(tag)
    document = decode_document(data, source.name)
    described = Descriptor(str(document.get("mediaType")), compute_digest(data), len(data))
    if described.media_type == INDEX_TYPE:
        described = _choose_architecture(source, list_descriptors(document, "manifests", source.name), arch)  # fmt: skip
        document = decode_document(source.read_manifest(described.digest), source.name)
    elif described.media_type != MANIFEST_TYPE:
        raise make_manifest_error("it is neither manifest nor index", source.name)
    layers = list_descriptors(document, "layers", source.name)
    recipes = [layer for layer in layers if layer.media_type == RECIPE_TYPE]
    if len(recipes) != 1 or recipes[0].size > MAX_RECIPE_SIZE:
        raise make_manifest_error("it is none of a host: it has not one recipe", source.name)
    signed = _read_checked(source, recipes[0])
    return FoundHost(described, read_recipe(signed, source.name), signed)


def require_signature(
    source: ContentSource, host: FoundHost, keys: tuple[PublicKey, ...]
) -> PublicKey:
    """Accept a recipe that one of the keys has signed; returns that key.

    Raises: UnsignedHost, UnknownSigner, BadSignature.
    """
    problem: UnknownSigner | BadSignature | None = None
    for _, signature in iter_referrer_files(source, host, SIGNATURE_TYPE):
        try:
            return verify_message(host.signed, signature, keys, source.name)
        except BadSignature as error:
            problem = error
        except UnknownSigner as error:
            problem = problem or error
    raise problem or UnsignedHost(
        "the host has no signature", where=source.name,
        fix="the registry withholds it, or the publisher did not sign: minbuild push --sign KEY",
    )  # fmt: skip


def require_host(recipe: Recipe, name: str, arch: str, where: str) -> None:
    """Accept a recipe of this host. `name`: "" for any. Raises: WrongHost."""
    for noun, expected, actual in (
        ("host", name, recipe.name),
        ("architecture", arch, recipe.arch),
    ):
        if expected and actual != expected:
            raise WrongHost(
                f"this is the {noun} {actual}, not {expected}", where=where,
                fix=f"the registry gives another host than it was asked for; if {actual} is meant: --name {actual}",
            )  # fmt: skip


def require_current(recipe: Recipe, now: int, where: str) -> None:
    """Accept a recipe whose time has not passed. Raises: RecipeExpired."""
    if recipe.expires and now > recipe.expires:
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(recipe.expires))
        raise RecipeExpired(
            f"version {recipe.version} of {recipe.name} was to be believed until {day}", where=where,
            fix="the registry withholds what came later, or the publisher has to sign it again: minbuild push",
        )  # fmt: skip


def require_progress(recipe: Recipe, seen: SeenVersion | None, where: str) -> None:
    """Accept a version that is no older than the newest one seen, and no other of that number.

    Raises: RolledBack, VersionReused.
    """
    if seen is None:
        return
    if recipe.version < seen.version:
        raise RolledBack(
            f"version {recipe.version} of {recipe.name} is older than {seen.version}, which was there before",
            where=where,
            fix="the registry goes back, or its publisher does: to take it all the same: --allow-downgrade",
        )  # fmt: skip
    if recipe.version == seen.version and recipe.sha256 != seen.sha256:
        raise VersionReused(
            f"version {recipe.version} of {recipe.name} was another file before", where=where,
            fix="the publisher has to give it a new number: minbuild push --version N",
        )  # fmt: skip


def iter_parts(
    source: ContentSource, recipe: Recipe, find_part: Callable[[RecipePart], bytes | None]
) -> Iterator[tuple[bytes, bool]]:
    """Yield the parts of a file in order, each with whether it was fetched.

    `find_part` gives those that are here already. Raises: PartMissing, ForeignContent.
    """
    for part in recipe.parts:
        data = find_part(part)
        if data is not None:
            yield data, False
            continue
        described = Descriptor("", f"sha256:{part.sha256}", part.size)
        yield _read_checked(source, described), True


def iter_referrer_files(
    source: ContentSource, host: FoundHost, artifact_type: str = ""
) -> Iterator[tuple[str, bytes]]:
    """Yield the files that refer to a host, each with its name; "" for every type that is known.

    Raises: ArchiveError.
    """
    known = {artifact_type} if artifact_type else {*REFERRER_TYPES.values()}
    for described in source.list_referrers(host.manifest.digest)[:MAX_REFERRERS]:
        if described.artifact_type and described.artifact_type not in known:
            continue
        document = decode_document(source.read_manifest(described.digest), source.name)
        subject = document.get("subject")
        if not isinstance(subject, dict) or subject.get("digest") != host.manifest.digest:
            continue
        for layer in list_descriptors(document, "layers", source.name)[:MAX_REFERRERS]:
            is_signature = layer.media_type == SIGNATURE_TYPE
            if layer.media_type in known and not (is_signature and layer.size > MAX_FILE_SIZE):
                yield layer.title, _read_checked(source, layer)


def _choose_architecture(
    source: ContentSource, entries: tuple[Descriptor, ...], arch: str
) -> Descriptor:
    there = [GOARCH_TO_DEBIAN.get(entry.architecture, entry.architecture) for entry in entries]
    for entry, name in zip(entries, there, strict=True):
        if name == arch and entry.media_type == MANIFEST_TYPE:
            return entry
    raise PartMissing(
        f"there is no host for {arch}", where=source.name,
        fix=f"name one that is there: --arch {' or '.join(sorted(filter(None, there)))}",
    )  # fmt: skip


def _read_checked(source: ContentSource, described: Descriptor) -> bytes:
    if described.media_type == EMPTY_TYPE:
        return b"{}"
    return require_digest(source.read_blob(described), described.digest, source.name)
