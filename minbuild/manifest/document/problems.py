"""Problems of a document, collected to be reported at once and sorted by place."""

import difflib
from collections.abc import Iterable

from minbuild.errors import ManifestError, combine
from minbuild.manifest.document.location import Location


class Problems:
    """Problems of one run, each with message, place and fix; duplicates count once."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, int, int, str, str, str], None] = {}

    def add(self, message: str, where: Location | str, fix: str) -> None:
        """Add a problem: a fact, its place, and what to do."""
        position = (
            (where.file, where.line, where.column) if isinstance(where, Location) else ("", 0, 0)
        )
        self._problems[(*position, message, str(where), fix)] = None

    def __len__(self) -> int:
        return len(self._problems)

    def raise_if_any(self) -> None:
        """Raise all problems as one, if there are any.

        Raises: ManifestError.
        """
        if self._problems:
            raise combine(
                [
                    ManifestError(message, where=where, fix=fix)
                    for _file, _line, _column, message, where, fix in sorted(self._problems)
                ]
            )


def find_nearest(text: str, names: Iterable[str]) -> str:
    """Return the name most similar to `text`; "" if none is similar."""
    known = sorted(set(names))
    folded = {name.lower().replace("_", "-"): name for name in reversed(known)}
    near = difflib.get_close_matches(text.lower().replace("_", "-"), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else ""


def suggest(text: str, names: Iterable[str], *, otherwise: str = "") -> str:
    """Say what to write instead of `text`: the most similar name, `otherwise`, or the known names."""
    known = sorted(set(names))
    closest = find_nearest(text, known)
    if closest:
        return f"did you mean {closest}?"
    if otherwise or not known:
        return otherwise or "remove it"
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"write one of: {listed}"
