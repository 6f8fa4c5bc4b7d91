"""Where the manifests, elements and keys that come with minbuild lie on this machine."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_directory(name: str) -> Path:
    """The directory `manifests` or `elements`: in the wheel, or at the top of a checkout."""
    packaged = _PACKAGE / "share" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
