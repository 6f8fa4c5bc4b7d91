"""Measuring what a path names as the command does: disks and databases by the toolbox."""

from minbuild.build.request import Doors
from minbuild.build.rooted import readers
from minbuild.footprint.types import Footprint
from minbuild.subject import open as opening
from tests.support.cache import cache

STORE = cache("lab")


def open_subject(word: str) -> Footprint:
    """The footprint of what a word names; the toolbox is taken out of its packages when needed."""
    return opening.open_subject(word, lambda: readers(Doors(STORE)))
