"""Directories of the files that ship with minbuild: manifests and elements."""

from pathlib import Path

_SHARE = Path(__file__).resolve().parent / "share"


def data_directory(name: str) -> Path:
    """Return the directory `manifests` or `elements`: copied into a wheel, a link in a checkout."""
    return (_SHARE / name).resolve()
