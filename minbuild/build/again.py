"""Beginning again when the store turns out to be damaged: what was found damaged is gone by then."""

from collections.abc import Callable
from typing import TypeVar

from minbuild.build.request import Doors
from minbuild.store import Lost

TRIES = 4
"""Times that a build begins; each finds at least one damaged entry and drops it."""

T = TypeVar("T")


def again(work: Callable[[], T], doors: Doors) -> T:
    """Do work, from its start again when the store lost something on the way; says what.

    Raises: Lost when the store does not keep what is written to it.
    """
    for left in reversed(range(TRIES)):
        try:
            return work()
        except Lost as lost:
            if not left:
                raise
            doors.progress.note(f"{lost.what} ({lost.where}): made anew")
        finally:
            _tell(doors)
    raise AssertionError("the last try returns or raises")


def _tell(doors: Doors) -> None:
    wounds, doors.store.wounds = doors.store.wounds, []
    for wound in wounds:
        doors.progress.note(f"the store had a damaged entry, and dropped it: {wound}")
