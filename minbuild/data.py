"""Files that ship with minbuild: directories of manifests and elements, and names of manifests."""

from pathlib import Path

MANIFEST_SUFFIXES = (".yaml", ".yml")

_SHARE = Path(__file__).resolve().parent / "share"


def data_directory(name: str) -> Path:
    """Return the directory `manifests` or `elements`: copied into a wheel, a link in a checkout."""
    return (_SHARE / name).resolve()


def is_manifest_name(name: str) -> bool:
    """Tell whether a word names a manifest: a YAML file, or the name of one that ships."""
    if name.endswith(MANIFEST_SUFFIXES):
        return True
    return not Path(name).exists() and (data_directory("manifests") / f"{name}.yaml").exists()
