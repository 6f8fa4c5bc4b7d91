"""Where a container image keeps its parts: in a directory, or in a tar."""

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from minbuild.facts.damage import Damage
from minbuild.facts.root.inodes import FileSystem
from minbuild.facts.root.region import Region
from minbuild.facts.types import Kind
from minbuild.paths import spelled

LARGEST_JSON = 4 << 20
"""Bytes. Source: OCI distribution specification, "Pushing Manifests": registries take 4 MiB."""


class Blobs(Protocol):
    """The parts by name: `index.json`, `blobs/sha256/…`."""

    def open(self, name: str) -> Region | None:
        """A part's bytes; None when there is no such file."""
        ...


class Folder:
    """The parts are files below a directory."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def open(self, name: str) -> Region | None:
        """A part's bytes; no link at its end is followed."""
        place = self._top / name
        try:
            if not stat.S_ISREG(place.lstat().st_mode):
                return None
            return Region.of(place, follow=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Damage(f"its {name} cannot be read: {error.strerror}") from error


class Packed:
    """The parts are files in a tar; older `docker save` links layers to each other."""

    def __init__(self, system: FileSystem) -> None:
        self._system = system

    def open(self, name: str) -> Region | None:
        """A part's bytes, links followed within the tar."""
        found = self._system.find(name)
        if found is None or found.kind is not Kind.FILE or found.archive is None:
            return None
        if not found.extents:
            return found.archive.part(0, 0)
        (extent, *more) = found.extents
        if more or extent.size != found.size:
            raise Damage(f"its {spelled(name)} is sparse")
        return found.archive.part(extent.place, extent.size)


def read_json(blobs: Blobs, name: str) -> object:
    """A document; None when there is no such file. Raises: Damage."""
    region = blobs.open(name)
    if region is None:
        return None
    return parse_json(region, name)


def parse_json(region: Region, name: str) -> object:
    """A document's value. Raises: Damage when it is too large, too deep or no JSON."""
    if region.size > LARGEST_JSON:
        raise Damage(f"its {name} has {region.size} bytes, the limit is {LARGEST_JSON}")
    try:
        value: object = json.loads(region.read(0, region.size).decode("utf-8"))
    except RecursionError as error:
        raise Damage(f"its {name} is nested too deep") from error
    except ValueError as error:
        raise Damage(f"its {name} is no JSON that can be read") from error
    return value


def mapping(value: object, what: str) -> Mapping[str, object]:
    """An object of JSON. Raises: Damage for anything else."""
    if not isinstance(value, dict):
        raise Damage(f"{what} is no object")
    return value


def mappings(value: object, what: str) -> list[Mapping[str, object]]:
    """A list of objects of JSON. Raises: Damage for anything else."""
    if not isinstance(value, list):
        raise Damage(f"{what} is no list")
    return [mapping(one, f"an entry of {what}") for one in value]


def texts(value: object, what: str) -> list[str]:
    """A list of texts of JSON; none for null. Raises: Damage for anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Damage(f"{what} is no list of texts")
    return value
