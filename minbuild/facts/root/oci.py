"""A root in an OCI image layout: layers over each other, the later one's word is last.

Source: OCI Image Format Specification: image-layout.md, manifest.md, layer.md (Whiteouts).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from minbuild.facts.root.tarball import Tarball, damaged
from minbuild.facts.root.types import Found

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_DEPTH = 4
"""Indices in indices that are followed."""


class Layout:
    """Reads the root of the image for one architecture in a layout."""

    def __init__(self, top: Path, work: Path, arch: str) -> None:
        """`arch`: "" for the first that there is. Raises: ToolError."""
        self.top = top
        self._arch = arch
        manifest = self._manifest(self._json(top / "index.json"), _DEPTH)
        self._layers = [
            Tarball(self._blob(_digest(layer, self.name)), work)
            for layer in _list(manifest, "layers", self.name)
        ]
        self._holder: dict[str, Tarball] = {}

    @property
    def name(self) -> str:
        return str(self.top)

    def walk(self) -> Iterator[Found]:
        """Raises: ToolError when a layer is damaged."""
        found: dict[str, Found] = {}
        for layer in self._layers:
            members = {each.raw: each for each in layer.walk()}
            for raw in sorted(members):
                _white_out(raw, found)
            for raw, each in members.items():
                if not raw.rpartition("/")[2].startswith(WHITEOUT):
                    found[raw] = each
                    self._holder[raw] = layer
        yield from found.values()

    def read(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self._holder[raw].read(raw)

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        for layer in self._layers:
            yield from layer.heads([raw for raw in raws if self._holder[raw] is layer], size)

    def view(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self.read(raw)

    def _manifest(self, index: Mapping[str, object], depth: int) -> Mapping[str, object]:
        if "layers" in index:
            return index
        rows = _list(index, "manifests", self.name)
        # beside images there may be attestations of them, for the platform "unknown"
        fit = [
            row
            for row in rows
            if _arch(row) in ("", self._arch) or (not self._arch and _arch(row) != "unknown")
        ]
        if not fit or not depth:
            raise damaged(f"it holds no image for {self._arch}", self.name)
        return self._manifest(self._json(self._blob(_digest(fit[0], self.name))), depth - 1)

    def _blob(self, digest: str) -> Path:
        path = self.top / "blobs" / "sha256" / digest
        try:
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise damaged(f"it lacks the blob {digest}: {error.strerror}", self.name) from error
        if actual != digest:
            raise damaged(f"its blob {digest} has another digest: {actual}", self.name)
        return path

    def _json(self, path: Path) -> Mapping[str, object]:
        try:
            value: object = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise damaged(f"it has no {path.name} that can be read", self.name) from error
        if not isinstance(value, dict):
            raise damaged(f"its {path.name} is no object", self.name)
        return value


def _white_out(raw: str, found: dict[str, Found]) -> None:
    """Take away what a whiteout of a later layer hides."""
    directory, _, name = raw.rpartition("/")
    if not name.startswith(WHITEOUT):
        return
    start = f"{directory}/" if directory else ""
    hidden = start if name == OPAQUE else f"{start}{name.removeprefix(WHITEOUT)}/"
    for below in [each for each in found if f"{each}/".startswith(hidden) and f"{each}/" != start]:
        del found[below]


def _list(value: Mapping[str, object], key: str, where: str) -> list[Mapping[str, object]]:
    rows = value.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise damaged(f"its manifest has no list of {key}", where)
    return rows


def _digest(row: Mapping[str, object], where: str) -> str:
    kind, _, digest = str(row.get("digest", "")).partition(":")
    if kind != "sha256" or len(digest) != 64 or not digest.isalnum():
        raise damaged("a digest of it is no SHA-256", where)
    return digest


def _arch(row: Mapping[str, object]) -> str:
    platform = row.get("platform")
    return str(platform.get("architecture", "")) if isinstance(platform, dict) else ""
