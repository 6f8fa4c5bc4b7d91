"""Blobs of a container image: in a directory, or in a tar."""

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from minbuild.errors import MalformedFile
from minbuild.formats.region import Region
from minbuild.formats.root_entry import FileType
from minbuild.paths import escape_name
from minbuild.roots.unpacked_tree import UnpackedTree

MAX_JSON = 4 << 20
"""Bytes. Source: OCI distribution specification, "Pushing Manifests": registries take 4 MiB."""


class BlobStore(Protocol):
    """The parts by name: `index.json`, `blobs/sha256/…`."""

    def open(self, name: str) -> Region | None:
        """A part's bytes; None when there is no such file."""
        ...


class BlobDirectory:
    """The parts are files below a directory."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def open(self, name: str) -> Region | None:
        """A part's bytes; no link below the directory is followed."""
        path = self._top / name
        try:
            inside = path.parent.resolve().is_relative_to(self._top.resolve())
            if not inside or not stat.S_ISREG(path.lstat().st_mode):
                return None
            return Region.from_path(path, follow=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise MalformedFile(
                f"its {escape_name(name)} cannot be read: {error.strerror}"
            ) from error
        except (ValueError, RuntimeError):  # a NUL, a lone surrogate, a circle of links
            return None


class BlobArchive:
    """The parts are files in a tar; older `docker save` links layers to each other."""

    def __init__(self, tree: UnpackedTree) -> None:
        self._tree = tree

    def open(self, name: str) -> Region | None:
        """A part's bytes, links followed within the tar."""
        inode = self._tree.find(name)
        if inode is None or inode.kind is not FileType.FILE or inode.archive is None:
            return None
        if not inode.extents:
            return inode.archive.subregion(0, 0)
        (extent, *other_extents) = inode.extents
        if other_extents or extent.size != inode.size:
            raise MalformedFile(f"its {escape_name(name)} is sparse")
        return inode.archive.subregion(extent.archive_offset, extent.size)


def read_json(blobs: BlobStore, name: str) -> object:
    """A document; None when there is no such file. Raises: MalformedFile."""
    region = blobs.open(name)
    if region is None:
        return None
    return parse_json(region, name)


def parse_json(region: Region, name: str) -> object:
    """A document's value. Raises: MalformedFile when it is too large, too deep or no JSON."""
    if region.size > MAX_JSON:
        raise MalformedFile(f"its {name} has {region.size} bytes, the limit is {MAX_JSON}")
    try:
        value: object = json.loads(region.read(0, region.size).decode("utf-8"))
    except RecursionError as error:
        raise MalformedFile(f"its {name} is nested too deep") from error
    except ValueError as error:
        raise MalformedFile(f"its {name} is no JSON that can be read") from error
    return value


def require_object(value: object, label: str) -> Mapping[str, object]:
    """An object of JSON. Raises: MalformedFile for anything else."""
    if not isinstance(value, dict):
        raise MalformedFile(f"{label} is no object")
    return value


def require_objects(value: object, label: str) -> list[Mapping[str, object]]:
    """A list of objects of JSON. Raises: MalformedFile for anything else."""
    if not isinstance(value, list):
        raise MalformedFile(f"{label} is no list")
    return [require_object(one, f"an entry of {label}") for one in value]


def require_strings(value: object, label: str) -> list[str]:
    """A list of texts of JSON; none for null. Raises: MalformedFile for anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise MalformedFile(f"{label} is no list of texts")
    return value
