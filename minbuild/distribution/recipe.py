"""The recipe of a host: which parts, one after the other, are its file; and for how long it counts.

Lines of words, so that a shell reads them, too; docs/reference/publishing.md has the format.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from minbuild.distribution.model import ARCHITECTURES, MAX_BLOB_SIZE
from minbuild.errors import ArchiveError, UsageError
from minbuild.formats.uki_parts import MAX_PARTS, UkiPart

MAGIC = "minbuild-recipe 1"
MAX_RECIPE_SIZE = 64 << 10
_NAME = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_RECIPE = re.compile(
    rf"{MAGIC}\n"
    rf"name (?P<name>{_NAME})\n"
    r"arch (?P<arch>[a-z0-9]+)\n"
    r"version (?P<version>0|[1-9]\d{0,14})\n"
    r"expires (?P<expires>0|[1-9]\d{0,14})\n"
    r"size (?P<size>[1-9]\d{0,14})\n"
    r"sha256 (?P<sha256>[0-9a-f]{64})\n"
    r"(?P<parts>(?:part [0-9a-f]{64} [1-9]\d{0,14} [a-z]+\n)+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class RecipePart:
    """One part of the file."""

    sha256: str
    size: int
    name: str
    """What is in it, for people: linux, initrd."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a publisher says of one version of a host; what is signed is `render` of it."""

    name: str
    arch: str
    """Debian architecture."""
    version: int
    """Only goes up."""
    expires: int
    """Seconds UTC after which it is not believed any more; 0 for never."""
    size: int
    """Bytes of the file."""
    sha256: str
    """Of the file."""
    parts: tuple[RecipePart, ...]

    def render(self) -> bytes:
        """The recipe as it is stored and signed."""
        head = (f"{MAGIC}\nname {self.name}\narch {self.arch}\nversion {self.version}\n"
                f"expires {self.expires}\nsize {self.size}\nsha256 {self.sha256}\n")  # fmt: skip
        rows = (f"part {part.sha256} {part.size} {part.name}\n" for part in self.parts)
        return (head + "".join(rows)).encode("ascii")


class DamagedRecipe(ArchiveError):
    """A recipe that is none."""


def write_recipe(
    name: str, arch: str, parts: Iterable[UkiPart], *, version: int, expires: int
) -> Recipe:
    """Make the recipe of a file that these parts are. Raises: UsageError for a name that is none."""
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"a host cannot be published as {name}",
            fix="give it a name of small letters and digits, with . _ - between them: --name NAME",
        )
    whole, size, rows = hashlib.sha256(), 0, []
    for part in parts:
        whole.update(part.data)
        size += len(part.data)
        digest = hashlib.sha256(part.data).hexdigest()
        rows.append(RecipePart(digest, len(part.data), part.name))
    recipe = Recipe(name, arch, version, expires, size, whole.hexdigest(), tuple(rows))
    return read_recipe(recipe.render(), name)


def read_recipe(data: bytes, where: str) -> Recipe:
    """Read a recipe; whoever wrote it, its parts add up. Raises: DamagedRecipe."""
    try:
        match = _RECIPE.fullmatch(data.decode("ascii")) if len(data) <= MAX_RECIPE_SIZE else None
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise _make_error("a line is missing, or is none of a recipe", where)
    parts = []
    for line in match["parts"].splitlines():
        _, sha256, size, name = line.split(" ")
        parts.append(RecipePart(sha256, int(size), name))
    size = int(match["size"])
    if len(parts) > MAX_PARTS or size > MAX_BLOB_SIZE or sum(part.size for part in parts) != size:
        raise _make_error("its parts do not add up to the file", where)
    if match["arch"] not in ARCHITECTURES:
        raise _make_error(f"there is no architecture {match['arch']}", where)
    return Recipe(
        match["name"], match["arch"], int(match["version"]), int(match["expires"]), size,
        match["sha256"], tuple(parts),
    )  # fmt: skip


def _make_error(problem: str, where: str) -> DamagedRecipe:
    return DamagedRecipe(
        f"the recipe cannot be read: {problem}", where=where,
        fix="publish the host again",
    )  # fmt: skip
