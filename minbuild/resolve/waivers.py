"""What a manifest leaves out knowingly, and whether each such line still serves."""

import posixpath
from collections.abc import Sequence

from minbuild.manifest.types import Waiver
from minbuild.paths import rootpath
from minbuild.resolve import pattern
from minbuild.resolve.types import Missing

_OF_THE_PROOF = ("symbol ", "version ")
"""How what only a whole tree can lack is named."""


class Waivers:
    """`drop` and `allow-missing` of a manifest; remembers which were used."""

    def __init__(self, drop: Sequence[Waiver] = (), allow_missing: Sequence[Waiver] = ()) -> None:
        self._drop = tuple((waiver, str(rootpath(waiver.path))) for waiver in drop)
        self._allow = tuple(allow_missing)
        self._used: set[Waiver] = set()

    def drops(self, path: str) -> bool:
        """Tell whether a file is left out."""
        hits = [waiver for waiver, glob in self._drop if pattern.matches(glob, path)]
        self._used.update(hits)
        return bool(hits)

    def allows(self, missing: Missing) -> bool:
        """Tell whether a need may stay unmet: allowed by name, or the file was left out."""
        hits = [waiver for waiver in self._allow if _names(waiver.path, missing.wanted)]
        places = [missing.wanted, *(posixpath.join(at, missing.wanted) for at in missing.looked)]
        hits += [
            waiver
            for waiver, glob in self._drop
            if any(pattern.matches(glob, str(rootpath(place))) for place in places)
        ]
        self._used.update(hits)
        return bool(hits)

    @property
    def used(self) -> tuple[str, ...]:
        """As written, sorted."""
        return tuple(sorted({waiver.path for waiver in self._used}))

    @property
    def unused(self) -> tuple[Waiver, ...]:
        """Those that nothing needed, in the manifest's order; but for those of the proof."""
        every = (*(waiver for waiver, _ in self._drop), *self._allow)
        return tuple(
            waiver
            for waiver in every
            if waiver not in self._used and not waiver.path.startswith(_OF_THE_PROOF)
        )

    @property
    def unproved(self) -> tuple[Waiver, ...]:
        """Those of symbols and versions that a closed-world check did not need."""
        return tuple(
            waiver
            for waiver in self._allow
            if waiver not in self._used and waiver.path.startswith(_OF_THE_PROOF)
        )


def _names(text: str, wanted: str) -> bool:
    if wanted.startswith("/"):
        return pattern.matches(str(rootpath(text)), str(rootpath(wanted)))
    return pattern.matches(text, wanted)
