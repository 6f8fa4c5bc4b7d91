"""Which programs a BusyBox binary holds."""

import difflib
from collections.abc import Iterable

from minbuild.errors import ResolveError, together
from minbuild.manifest.types import Name


def applets(busybox: bytes) -> frozenset[str]:
    """The applet names in a BusyBox binary; empty when it has no table of them.

    Source: BusyBox include/applets.h: names sorted, each ended by NUL, "[" and "[[" first.
    """
    start = busybox.find(b"\0[\0[[\0") + 1
    if not start:
        return frozenset()
    end = busybox.find(b"\0\0", start)
    names = busybox[start:end].split(b"\0")
    return frozenset(name.decode("ascii", "replace") for name in names)


def check(wanted: Iterable[Name], there: frozenset[str]) -> None:
    """Refuse applets that this BusyBox does not have.

    Raises: ResolveError, one for each such applet, with the nearest name.
    """
    problems = []
    for name in sorted(wanted, key=lambda name: (str(name.where), name.text)):
        if name.text not in there:
            near = difflib.get_close_matches(name.text, sorted(there), 1)
            hint = f"did you mean {near[0]}?" if near else "remove it, or name another package"
            problems.append(
                ResolveError(
                    f"this BusyBox has no applet {name.text}", where=str(name.where), fix=hint
                )
            )
    if problems:
        raise together(problems)
