"""Where the paths of a root stand as it is: /bin and /usr/bin are one only where they are one.

What we make, and the rules about it, say /usr/bin for /bin. A root in which /usr/bin is a link back
to /bin is told so too: each path has both names there. Else each path keeps its own name, but for
kernel modules and firmware, which are looked for below /usr/lib.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace

from minbuild.facts.root.types import Found
from minbuild.facts.types import Kind
from minbuild.paths import MERGED, RootPath, spelled

_WITHIN = ("lib/modules", "lib/firmware")
"""What is looked for below /usr/lib, even where /lib and /usr/lib are two directories."""


@dataclass(frozen=True, slots=True)
class Places:
    """How the paths of one root are told."""

    moves: Mapping[str, str]
    """Directory → where it is told to be: bin → usr/bin."""
    gone: frozenset[str]
    """Links back that such a directory takes the place of."""

    @property
    def links(self) -> dict[RootPath, str]:
        """The links that lead to what is told elsewhere: path → text."""
        return {
            RootPath(f"/{old}"): posixpath.relpath(new, posixpath.dirname(old) or ".")
            for old, new in self.moves.items()
        }

    def path(self, raw: str) -> RootPath:
        """The path of what stands at `raw`."""
        for old, new in self.moves.items():
            if raw == old or raw.startswith(f"{old}/"):
                return RootPath(f"/{new}{spelled(raw[len(old) :])}")
        return RootPath(f"/{spelled(raw)}")

    def told(self, found: Found) -> Found:
        """What was found, with its path; a link's text leads where it leads in the root."""
        path, target = self.path(found.raw), found.target
        if found.kind is Kind.LINK and path != f"/{spelled(found.raw)}":
            target = self._target(found.raw, target)
        if path == found.path and target == found.target:
            return found
        return replace(found, path=path, target=target)

    def _target(self, raw: str, target: str) -> str:
        moved = next(old for old in self.moves if raw.startswith(f"{old}/") or raw == old)
        directory = posixpath.dirname(raw)
        climbs = 0
        for part in target.split("/"):
            if part != "..":
                break
            climbs += 1
        depth = 0 if directory == moved else directory[len(moved) :].count("/")
        return target if climbs <= depth else posixpath.normpath(f"/{spelled(directory)}/{target}")


def places(by_raw: Mapping[str, Found]) -> Places:
    """Learn how the paths of a root are told."""
    own = merged_places(by_raw).moves
    moves = {old: new for old, new in own.items() if _leads(by_raw.get(new), old)}
    if "lib" in own and "lib" not in moves:
        moves |= {
            old: f"usr/{old}" for old in _WITHIN if old in by_raw and f"usr/{old}" not in by_raw
        }
    return Places(moves, frozenset(moves.values()) & by_raw.keys())


def merged_places(by_raw: Mapping[str, Found]) -> Places:
    """How the paths of a root are told that becomes one with merged /usr, whatever is hidden."""
    tops = {
        old: new
        for old, new in MERGED.items()
        if (top := by_raw.get(old)) is not None and top.kind is Kind.DIRECTORY
    }
    return Places(tops, frozenset())


def _leads(found: Found | None, old: str) -> bool:
    """Tell whether a link in /usr leads to a directory of the top."""
    if found is None or found.kind is not Kind.LINK:
        return False
    return posixpath.normpath(posixpath.join("/usr", found.target)) == f"/{old}"
