"""Directories of the files that ship with minbuild: manifests and elements."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_directory(name: str) -> Path:
    """Return the directory `manifests` or `elements`: in the wheel, or at the top of a checkout."""
    packaged = _PACKAGE / "share" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
