"""The root in a container image: its layers, merged.

Forms: an OCI image layout and `docker save`, each as a directory or a tar, and skopeo's `dir:`.
Source: OCI Image Format Specification: image-layout.md, image-index.md, manifest.md, layer.md
("Whiteouts"); moby image/spec/v1.2.md; containers-transports(5).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import MalformedFile, UsageError
from minbuild.formats.region import MAX_UNPACKED, Region, decompress_to_file
from minbuild.formats.root_entry import unusable_root
from minbuild.formats.tar_members import read_tar_members
from minbuild.roots.oci_blobs import (
    BlobStore,
    parse_json,
    read_json,
    require_object,
    require_objects,
    require_strings,
)
from minbuild.roots.tarball import UnpackedRoot
from minbuild.roots.unpacked_tree import NameInDirectory, UnpackedTree

WHITEOUT = ".wh."
AUFS_METADATA = ".wh..wh."
OPAQUE_WHITEOUT = ".wh..wh..opq"
_DIGEST_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX_DIGITS = frozenset("0123456789abcdef")
_MAX_DEPTH, _MAX_ITEMS = 4, 1000
"""Indices in indices that are followed; images and layers that one may hold."""
_CONFIG_TYPES = ("vnd.oci.image.config", "vnd.docker.container.image")
_REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """Which of several images is meant; "" for any."""

    arch: str = ""
    """Debian's name, which is that of the specification."""
    platform: str = ""
    """linux/arm64, or with its variant linux/arm/v7."""
    tag: str = ""


ANY_IMAGE = ImageChoice()


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """One image."""

    platform: str
    """os/architecture[/variant]; "" when nothing says so."""
    tags: tuple[str, ...]
    layers: tuple[str, ...]
    """Names of blobs, the lowest first."""
    layer_digests: tuple[str, ...]
    """SHA-256 of each layer unpacked; empty when nothing says so."""


class Container(UnpackedRoot):
    """Reads the root of one image."""

    def __init__(self, name: str, blobs: BlobStore, work: Path, choice: ImageChoice) -> None:
        """`work`: a directory where packed layers are unpacked to.

        Raises: UsageError when several images are meant; ToolError when it is damaged.
        """
        try:
            image = _choose_image(list_images(blobs), choice, name)
            super().__init__(name, _apply_layers(image, blobs, work))
        except (MalformedFile, OSError) as error:
            raise unusable_root(str(error), name) from error


def is_container_image(blobs: BlobStore) -> bool:
    """Tell a container image from a root by the names that it begins with."""
    if blobs.open("oci-layout") is not None:
        return True
    try:
        index = read_json(blobs, "index.json")
        if isinstance(index, dict) and "manifests" in index:
            return True
        manifest = read_json(blobs, "manifest.json")
    except MalformedFile:
        return False
    rows = manifest if isinstance(manifest, list) else [manifest]
    return any(isinstance(one, dict) and ("Layers" in one or "layers" in one) for one in rows)


def list_images(blobs: BlobStore) -> list[ContainerImage]:
    """The images that are held, each once. Raises: MalformedFile."""
    index = read_json(blobs, "index.json")
    manifest = read_json(blobs, "manifest.json")
    if index is not None:
        images = list(_read_index(require_object(index, "its index.json"), blobs))
        if isinstance(manifest, list):
            _require_agreement(
                images,
                [
                    _parse_saved_image(one, blobs)
                    for one in require_objects(manifest, "its manifest.json")[: _MAX_ITEMS + 1]
                ],
            )
    elif isinstance(manifest, dict):
        images = [_parse_manifest(manifest, blobs, "", (), None)]
    elif manifest is not None:
        images = [
            _parse_saved_image(one, blobs)
            for one in require_objects(manifest, "its manifest.json")[: _MAX_ITEMS + 1]
        ]
    else:
        raise MalformedFile("it has neither index.json nor manifest.json")
    if len(images) > _MAX_ITEMS:
        raise MalformedFile(f"it has more than {_MAX_ITEMS} images, the limit")
    by_layers: dict[tuple[str, tuple[str, ...]], ContainerImage] = {}
    for image in images:
        key = (image.platform, image.layers)
        previous = by_layers.get(key)
        tags = (*previous.tags, *image.tags) if previous else image.tags
        by_layers[key] = ContainerImage(
            image.platform, tuple(dict.fromkeys(tags)), image.layers, image.layer_digests
        )
    return list(by_layers.values())


def _require_agreement(indexed: Sequence[ContainerImage], saved: Sequence[ContainerImage]) -> None:
    """Refuse two lists of images that differ: some readers take the one, some the other."""
    indexed_layers = {image.layer_digests or image.layers for image in indexed}
    if any((image.layer_digests or image.layers) not in indexed_layers for image in saved):
        raise MalformedFile("its index.json and its manifest.json tell of different images")


def _read_index(index: Mapping[str, object], blobs: BlobStore) -> Iterator[ContainerImage]:
    """The images of an index and of those in it. Source: image-index.md."""
    pending: list[tuple[Mapping[str, object], int]] = [(index, _MAX_DEPTH)]
    manifest_count = 0
    while pending:
        index_document, depth = pending.pop(0)
        for row in require_objects(index_document.get("manifests"), "its list of manifests"):
            manifest_count += 1
            if manifest_count > _MAX_ITEMS or not depth:
                raise MalformedFile(f"it has more than {_MAX_ITEMS} manifests, or indices in indices in indices")  # fmt: skip
            annotations = row.get("annotations")
            annotations = annotations if isinstance(annotations, dict) else {}
            platform = _parse_platform(row.get("platform"))
            if platform.startswith("unknown/"):
                continue  # beside images there may be attestations of them, which none starts
            name = f"blobs/{_parse_digest(row)}"
            document = require_object(parse_json(_open_blob(blobs, name), name), "a manifest")
            tags = (str(annotations[_REF_NAME]),) if _REF_NAME in annotations else ()
            if "layers" not in document:
                pending.append((document, depth - 1))
            elif _is_image(document):
                yield _parse_manifest(document, blobs, platform, tags, "blobs/")


def _is_image(manifest: Mapping[str, object]) -> bool:
    """Tell an image from other things that a manifest may describe: a signature, a chart.

    What only has layers that could be unpacked may be started by somebody, and counts.
    """
    config = manifest.get("config")
    kind = str(config.get("mediaType", "")) if isinstance(config, dict) else ""
    layers = require_objects(manifest.get("layers"), "its list of layers")
    media_types = [str(row.get("mediaType", "tar")) for row in layers]
    return (
        not kind
        or any(one in kind for one in _CONFIG_TYPES)
        or any("tar" in one for one in media_types)
    )


def _parse_manifest(
    manifest: Mapping[str, object],
    blobs: BlobStore,
    platform: str,
    tags: tuple[str, ...],
    blob_prefix: str | None,
) -> ContainerImage:
    """The image of a manifest; `place`: None where blobs lie beside it. Source: manifest.md; config.md."""

    def locate_blob(row: Mapping[str, object]) -> str:
        digest = _parse_digest(row)
        return digest.partition("/")[2] if blob_prefix is None else blob_prefix + digest

    layers = tuple(
        locate_blob(row) for row in require_objects(manifest.get("layers"), "its list of layers")
    )
    config: Mapping[str, object] = {}
    row = manifest.get("config")
    if isinstance(row, dict) and row.get("digest"):
        name = locate_blob(row)
        config = require_object(parse_json(_open_blob(blobs, name), name), "its configuration")
    return ContainerImage(
        platform or _parse_platform(config), tags, layers, _read_layer_digests(config, len(layers))
    )


def _parse_saved_image(row: Mapping[str, object], blobs: BlobStore) -> ContainerImage:
    """One image of `docker save`. Source: moby image/spec/v1.2.md, "Combined Image JSON"."""
    layers = tuple(require_strings(row.get("Layers"), "its list of layers"))
    name = str(row.get("Config", ""))
    config = (
        require_object(parse_json(_open_blob(blobs, name), name), "its configuration")
        if name
        else {}
    )
    tags = tuple(require_strings(row.get("RepoTags"), "its list of tags"))
    return ContainerImage(
        _parse_platform(config), tags, layers, _read_layer_digests(config, len(layers))
    )


def _read_layer_digests(config: Mapping[str, object], count: int) -> tuple[str, ...]:
    """What the configuration says of the layers' own digests."""
    rootfs = config.get("rootfs")
    digests = (
        require_strings(rootfs.get("diff_ids"), "its list of diff_ids")
        if isinstance(rootfs, dict)
        else []
    )
    if digests and len(digests) != count:
        raise MalformedFile(
            f"its configuration tells of {len(digests)} layers, its manifest of {count}"
        )
    return tuple(one.removeprefix("sha256:") for one in digests)


def _choose_image(
    images: Sequence[ContainerImage], choice: ImageChoice, where: str
) -> ContainerImage:
    matches = [one for one in images if _is_match(one, choice)]
    platforms = sorted({one.platform or "an unknown platform" for one in images})
    if not matches:
        requested = choice.tag or choice.platform or choice.arch or "any platform"
        raise MalformedFile(
            f"it holds no image for {requested}, but for: {', '.join(platforms) or 'none'}"
        )
    if len(matches) > 1:
        listing = "; ".join(
            " ".join((one.platform or "an unknown platform", *one.tags[:4])) for one in matches[:20]
        )
        option = "--platform" if len({one.platform for one in matches}) > 1 else "--tag"
        example = (
            matches[0].platform if option == "--platform" else next(iter(matches[0].tags), "NAME")
        )
        raise UsageError(
            f"it holds {len(matches)} images: {listing}", where=where,
            fix=f"say which one: {option} {example}; or take it out alone: skopeo copy",
        )  # fmt: skip
    return matches[0]


def _is_match(image: ContainerImage, choice: ImageChoice) -> bool:
    if choice.tag and choice.tag not in image.tags:
        return False
    platform_parts = image.platform.split("/") if image.platform else []
    if choice.platform:
        requested = choice.platform.split("/")
        return platform_parts[: len(requested)] == requested or (
            len(requested) == 1 and requested[0] in platform_parts
        )
    return not choice.arch or len(platform_parts) < 2 or platform_parts[1] == choice.arch


def _apply_layers(image: ContainerImage, blobs: BlobStore, work: Path) -> UnpackedTree:
    """The layers applied in turn. Raises: MalformedFile."""
    tree = UnpackedTree(chrooted=True)
    if len(image.layers) > _MAX_ITEMS:
        raise MalformedFile(f"it has more than {_MAX_ITEMS} layers, the limit")
    remaining = MAX_UNPACKED
    for number, name in enumerate(image.layers):
        layer = decompress_to_file(_open_blob(blobs, name), work, remaining)
        remaining -= layer.size
        if remaining < 0:
            raise MalformedFile(f"its layers have more than {MAX_UNPACKED} bytes, the limit")
        if image.layer_digests and layer.compute_digest("sha256") != image.layer_digests[number]:
            raise MalformedFile(f"its layer {name} unpacks to what its configuration does not tell")
        _apply_layer(layer, tree)
    return tree


def _apply_layer(layer: Region, tree: UnpackedTree) -> None:
    """Lay one layer over those below; what it hides is what stood there before it."""
    own_names: set[NameInDirectory] = set()
    for member in read_tar_members(layer):
        directory, _, name = member.name.rpartition("/")
        if name == OPAQUE_WHITEOUT:
            tree.clear_directory(directory, own_names)
        elif name.startswith(AUFS_METADATA):
            continue  # what AUFS keeps for itself
        elif name.startswith(WHITEOUT):
            tree.remove(f"{directory}/{name.removeprefix(WHITEOUT)}", own_names)
        else:
            own_names.add(tree.add(member, layer))


def _open_blob(blobs: BlobStore, name: str) -> Region:
    """A part; one that is named by its digest is held against it. Raises: MalformedFile."""
    blob = blobs.open(name) if ".." not in name.split("/") else None
    if blob is None:
        raise MalformedFile(f"it lacks {name}")
    digest = name.rpartition("/")[2]
    kind = next((kind for kind, length in _DIGEST_LENGTHS.items() if len(digest) == length), "")
    if kind and set(digest) <= _HEX_DIGITS:
        actual = blob.compute_digest(kind)
        if actual != digest:
            raise MalformedFile(f"its {name} has another digest: {actual}")
    return blob


def _parse_digest(row: Mapping[str, object]) -> str:
    """`sha256/HEX`, as blobs lie. Source: descriptor.md, "Registered Algorithms"."""
    kind, _, digest = str(row.get("digest", "")).partition(":")
    if (
        kind not in _DIGEST_LENGTHS
        or len(digest) != _DIGEST_LENGTHS[kind]
        or not set(digest) <= _HEX_DIGITS
    ):
        raise MalformedFile("a digest of it is no SHA-256 or SHA-512")
    return f"{kind}/{digest}"


def _parse_platform(value: object) -> str:
    """Source: image-index.md, platform; config.md has the same fields."""
    if not isinstance(value, dict) or not value.get("architecture"):
        return ""
    parts = (value.get("os", "linux"), value["architecture"], value.get("variant", ""))
    return "/".join(str(word) for word in parts if word)
