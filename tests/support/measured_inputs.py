"""Measuring what a path names as the command does: disks and databases by the toolbox."""

from minbuild.footprint.model import Footprint
from minbuild.pipeline.installed_root import make_external_readers
from minbuild.pipeline.session import Session
from minbuild.roots import footprint
from tests.support.cache import cache_directory

STORE = cache_directory("lab")


def measure_input(word: str) -> Footprint:
    """The footprint of what a word names; the toolbox is taken out of its packages when needed."""
    return footprint.load_footprint(word, lambda: make_external_readers(Session(STORE)))
