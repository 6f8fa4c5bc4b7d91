"""The formats that an image can be written in: one function each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.image.disk import Identity, make_raw
from minbuild.image.uki import Parts, make_uki
from minbuild.manifest.types import Compression, ImageFormat
from minbuild.toolbox.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Material:
    """What every format is made from."""

    parts: Parts
    identity: Identity
    toolbox: Toolbox
    work: Path
    """A directory for what is needed on the way."""
    made: Mapping[ImageFormat, Path]
    """The formats that were made before."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write an image."""

    suffix: str
    """host.SUFFIX"""
    make: Callable[[Material, Path], None]
    needs: tuple[ImageFormat, ...] = ()
    """Formats that must be made before."""
    tools: tuple[str, ...] = ()
    """Tools of the toolbox that `make` starts."""


def _uki(material: Material, output: Path) -> None:
    make_uki(material.parts, output, material.work, material.toolbox)


def _raw(material: Material, output: Path) -> None:
    uki = material.made[ImageFormat.UKI]
    make_raw(uki, material.parts.arch, material.identity, output, material.toolbox)


FORMATS: Mapping[ImageFormat, Format] = {
    ImageFormat.UKI: Format("efi", _uki, tools=("ukify",)),
    ImageFormat.RAW: Format(
        "raw", _raw, needs=(ImageFormat.UKI,), tools=("mcopy", "mkfs.fat", "mmd", "sfdisk")
    ),
}


def in_order(wanted: Sequence[ImageFormat]) -> tuple[ImageFormat, ...]:
    """The formats to make, each after those it needs."""
    found: dict[ImageFormat, None] = {}
    for each in wanted:
        found |= dict.fromkeys((*in_order(FORMATS[each].needs), each))
    return tuple(found)


def tools(wanted: Sequence[ImageFormat], compression: Compression) -> tuple[str, ...]:
    """The tools that writing these formats starts, sorted."""
    packer = () if compression is Compression.NONE else (str(compression),)
    return tuple(
        sorted({*packer, *(tool for each in in_order(wanted) for tool in FORMATS[each].tools)})
    )
