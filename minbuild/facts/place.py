"""Where a member of a package lies in an image."""

from minbuild.facts.tar import Header, Type
from minbuild.paths import MERGED, RootPath, rootpath


def place_of(header: Header) -> RootPath:
    """The usr-merged path; a directory that is a link on merged systems is the one behind it."""
    if header.type is Type.DIRECTORY and header.name in MERGED:
        return RootPath("/" + MERGED[header.name])
    return rootpath(header.name)
