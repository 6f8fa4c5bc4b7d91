"""A root in a container image: layers laid over each other, whatever form the image has.

Forms: an OCI image layout and `docker save`, each as a directory or a tar, and skopeo's `dir:`.
Source: OCI Image Format Specification: image-layout.md, image-index.md, manifest.md, layer.md
("Whiteouts"); moby image/spec/v1.2.md; containers-transports(5).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.damage import Damage
from minbuild.facts.root.blobs import Blobs, mapping, mappings, parse_json, read_json, texts
from minbuild.facts.root.inodes import FileSystem, Name
from minbuild.facts.root.members import members
from minbuild.facts.root.region import LARGEST_UNPACKED, Region, plain
from minbuild.facts.root.tarball import Unpacked, damaged

WHITEOUT = ".wh."
META = ".wh..wh."
OPAQUE = ".wh..wh..opq"
_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")
_DEPTH, _MOST = 4, 1000
"""Indices in indices that are followed; images and layers that one may hold."""
_CONFIGS = ("vnd.oci.image.config", "vnd.docker.container.image")
_REF = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of several images is meant; "" for any."""

    arch: str = ""
    """Debian's name, which is that of the specification."""
    platform: str = ""
    """linux/arm64, or with its variant linux/arm/v7."""
    tag: str = ""


ANY = Choice()


@dataclass(frozen=True, slots=True)
class Image:
    """One image."""

    platform: str
    """os/architecture[/variant]; "" when nothing says so."""
    tags: tuple[str, ...]
    layers: tuple[str, ...]
    """Names of blobs, the lowest first."""
    plain: tuple[str, ...]
    """SHA-256 of each layer unpacked; empty when nothing says so."""


class Container(Unpacked):
    """Reads the root of one image."""

    def __init__(self, name: str, blobs: Blobs, work: Path, choice: Choice) -> None:
        """`work`: a directory where packed layers are unpacked to.

        Raises: UsageError when several images are meant; ToolError when it is damaged.
        """
        try:
            image = _chosen(images(blobs), choice, name)
            super().__init__(name, _layered(image, blobs, work))
        except (Damage, OSError) as error:
            raise damaged(str(error), name) from error


def is_container(blobs: Blobs) -> bool:
    """Tell a container image from a root by the names that it begins with."""
    if blobs.open("oci-layout") is not None:
        return True
    try:
        index = read_json(blobs, "index.json")
        if isinstance(index, dict) and "manifests" in index:
            return True
        found = read_json(blobs, "manifest.json")
    except Damage:
        return False
    rows = found if isinstance(found, list) else [found]
    return any(isinstance(one, dict) and ("Layers" in one or "layers" in one) for one in rows)


def images(blobs: Blobs) -> list[Image]:
    """The images that are held, each once. Raises: Damage."""
    index = read_json(blobs, "index.json")
    manifest = read_json(blobs, "manifest.json")
    if index is not None:
        found = list(_indexed(mapping(index, "its index.json"), blobs))
        if isinstance(manifest, list):
            _agree(
                found,
                [
                    _saved(one, blobs)
                    for one in mappings(manifest, "its manifest.json")[: _MOST + 1]
                ],
            )
    elif isinstance(manifest, dict):
        found = [_image(manifest, blobs, "", (), None)]
    elif manifest is not None:
        found = [_saved(one, blobs) for one in mappings(manifest, "its manifest.json")[: _MOST + 1]]
    else:
        raise Damage("it has neither index.json nor manifest.json")
    if len(found) > _MOST:
        raise Damage(f"it has more than {_MOST} images, the limit")
    once: dict[tuple[str, tuple[str, ...]], Image] = {}
    for image in found:
        key = (image.platform, image.layers)
        before = once.get(key)
        tags = (*before.tags, *image.tags) if before else image.tags
        once[key] = Image(image.platform, tuple(dict.fromkeys(tags)), image.layers, image.plain)
    return list(once.values())


def _agree(indexed: Sequence[Image], saved: Sequence[Image]) -> None:
    """Refuse two lists of images that differ: some readers take the one, some the other."""
    known = {image.plain or image.layers for image in indexed}
    if any((image.plain or image.layers) not in known for image in saved):
        raise Damage("its index.json and its manifest.json tell of different images")


def _indexed(index: Mapping[str, object], blobs: Blobs) -> Iterator[Image]:
    """The images of an index and of those in it. Source: image-index.md."""
    todo: list[tuple[Mapping[str, object], int]] = [(index, _DEPTH)]
    looked = 0
    while todo:
        at, depth = todo.pop(0)
        for row in mappings(at.get("manifests"), "its list of manifests"):
            looked += 1
            if looked > _MOST or not depth:
                raise Damage(f"it has more than {_MOST} manifests, or indices in indices in indices")  # fmt: skip
            notes = row.get("annotations")
            notes = notes if isinstance(notes, dict) else {}
            platform = _platform(row.get("platform"))
            if platform.startswith("unknown/"):
                continue  # beside images there may be attestations of them, which none starts
            name = f"blobs/{_digest(row)}"
            document = mapping(parse_json(_blob(blobs, name), name), "a manifest")
            tags = (str(notes[_REF]),) if _REF in notes else ()
            if "layers" not in document:
                todo.append((document, depth - 1))
            elif _is_image(document):
                yield _image(document, blobs, platform, tags, "blobs/")


def _is_image(manifest: Mapping[str, object]) -> bool:
    """Tell an image from other things that a manifest may describe: a signature, a chart.

    What only has layers that could be unpacked may be started by somebody, and counts.
    """
    config = manifest.get("config")
    kind = str(config.get("mediaType", "")) if isinstance(config, dict) else ""
    layers = mappings(manifest.get("layers"), "its list of layers")
    told = [str(row.get("mediaType", "tar")) for row in layers]
    return not kind or any(one in kind for one in _CONFIGS) or any("tar" in one for one in told)


def _image(
    manifest: Mapping[str, object],
    blobs: Blobs,
    platform: str,
    tags: tuple[str, ...],
    place: str | None,
) -> Image:
    """The image of a manifest; `place`: None where blobs lie beside it. Source: manifest.md; config.md."""

    def name_of(row: Mapping[str, object]) -> str:
        digest = _digest(row)
        return digest.partition("/")[2] if place is None else place + digest

    layers = tuple(name_of(row) for row in mappings(manifest.get("layers"), "its list of layers"))
    config: Mapping[str, object] = {}
    row = manifest.get("config")
    if isinstance(row, dict) and row.get("digest"):
        name = name_of(row)
        config = mapping(parse_json(_blob(blobs, name), name), "its configuration")
    return Image(platform or _platform(config), tags, layers, _plain(config, len(layers)))


def _saved(row: Mapping[str, object], blobs: Blobs) -> Image:
    """One image of `docker save`. Source: moby image/spec/v1.2.md, "Combined Image JSON"."""
    layers = tuple(texts(row.get("Layers"), "its list of layers"))
    name = str(row.get("Config", ""))
    config = mapping(parse_json(_blob(blobs, name), name), "its configuration") if name else {}
    tags = tuple(texts(row.get("RepoTags"), "its list of tags"))
    return Image(_platform(config), tags, layers, _plain(config, len(layers)))


def _plain(config: Mapping[str, object], count: int) -> tuple[str, ...]:
    """What the configuration says of the layers' own digests."""
    rootfs = config.get("rootfs")
    told = texts(rootfs.get("diff_ids"), "its list of diff_ids") if isinstance(rootfs, dict) else []
    if told and len(told) != count:
        raise Damage(f"its configuration tells of {len(told)} layers, its manifest of {count}")
    return tuple(one.removeprefix("sha256:") for one in told)


def _chosen(held: Sequence[Image], choice: Choice, where: str) -> Image:
    fit = [one for one in held if _fits(one, choice)]
    known = sorted({one.platform or "an unknown platform" for one in held})
    if not fit:
        wanted = choice.tag or choice.platform or choice.arch or "any platform"
        raise Damage(f"it holds no image for {wanted}, but for: {', '.join(known) or 'none'}")
    if len(fit) > 1:
        told = "; ".join(
            " ".join((one.platform or "an unknown platform", *one.tags[:4])) for one in fit[:20]
        )
        option = "--platform" if len({one.platform for one in fit}) > 1 else "--tag"
        example = fit[0].platform if option == "--platform" else next(iter(fit[0].tags), "NAME")
        raise UsageError(
            f"it holds {len(fit)} images: {told}", where=where,
            fix=f"say which one: {option} {example}; or take it out alone: skopeo copy",
        )  # fmt: skip
    return fit[0]


def _fits(image: Image, choice: Choice) -> bool:
    if choice.tag and choice.tag not in image.tags:
        return False
    words = image.platform.split("/") if image.platform else []
    if choice.platform:
        asked = choice.platform.split("/")
        return words[: len(asked)] == asked or (len(asked) == 1 and asked[0] in words)
    return not choice.arch or len(words) < 2 or words[1] == choice.arch


def _layered(image: Image, blobs: Blobs, work: Path) -> FileSystem:
    """The layers applied in turn. Raises: Damage."""
    system = FileSystem(chrooted=True)
    if len(image.layers) > _MOST:
        raise Damage(f"it has more than {_MOST} layers, the limit")
    left = LARGEST_UNPACKED
    for number, name in enumerate(image.layers):
        layer = plain(_blob(blobs, name), work, left)
        left -= layer.size
        if left < 0:
            raise Damage(f"its layers have more than {LARGEST_UNPACKED} bytes, the limit")
        if image.plain and layer.digest("sha256") != image.plain[number]:
            raise Damage(f"its layer {name} unpacks to what its configuration does not tell")
        _apply(layer, system)
    return system


def _apply(layer: Region, system: FileSystem) -> None:
    """Lay one layer over those below; what it hides is what stood there before it."""
    upper: set[Name] = set()
    for member in members(layer):
        directory, _, name = member.name.rpartition("/")
        if name == OPAQUE:
            system.empty(directory, upper)
        elif name.startswith(META):
            continue  # what AUFS keeps for itself
        elif name.startswith(WHITEOUT):
            system.remove(f"{directory}/{name.removeprefix(WHITEOUT)}", upper)
        else:
            upper.add(system.add(member, layer))


def _blob(blobs: Blobs, name: str) -> Region:
    """A part; one that is named by its digest is held against it. Raises: Damage."""
    found = blobs.open(name) if ".." not in name.split("/") else None
    if found is None:
        raise Damage(f"it lacks {name}")
    digest = name.rpartition("/")[2]
    kind = next((kind for kind, length in _LENGTHS.items() if len(digest) == length), "")
    if kind and set(digest) <= _HEX:
        actual = found.digest(kind)
        if actual != digest:
            raise Damage(f"its {name} has another digest: {actual}")
    return found


def _digest(row: Mapping[str, object]) -> str:
    """`sha256/HEX`, as blobs lie. Source: descriptor.md, "Registered Algorithms"."""
    kind, _, digest = str(row.get("digest", "")).partition(":")
    if kind not in _LENGTHS or len(digest) != _LENGTHS[kind] or not set(digest) <= _HEX:
        raise Damage("a digest of it is no SHA-256 or SHA-512")
    return f"{kind}/{digest}"


def _platform(value: object) -> str:
    """Source: image-index.md, platform; config.md has the same fields."""
    if not isinstance(value, dict) or not value.get("architecture"):
        return ""
    words = (value.get("os", "linux"), value["architecture"], value.get("variant", ""))
    return "/".join(str(word) for word in words if word)
