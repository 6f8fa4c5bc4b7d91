"""Where diskimage-builder runs."""

from enum import StrEnum


class DibLocation(StrEnum):
    AUTO = "auto"
    """Here where this machine has all that dib needs, in the builder machine otherwise."""
    HERE = "here"
    VM = "vm"
