"""Where a manifest lies that a user names: a file, or one that ships with minbuild."""

from pathlib import Path

from minbuild.errors import ManifestError
from minbuild.manifest.problems import nearest, suggestion
from minbuild.shipped import shipped


def manifest_file(name: str) -> Path:
    """The file that `name` means: as given when it is there, else a shipped manifest's name.

    Raises: ManifestError with the nearest name.
    """
    given = Path(name)
    if given.is_file():
        return given
    found = shipped_manifest(name)
    if found is not None:
        return found
    what = "a directory, not a manifest" if given.is_dir() else "there is no such manifest"
    near = [*_manifests(given if given.is_dir() else given.parent), *_manifests(_shipped())]
    raise ManifestError(what, where=name, fix=suggestion(given.name, near))


def shipped_manifest(name: str) -> Path | None:
    """The shipped manifest with this name, with or without .yaml; None when there is none."""
    if "/" in name or "\0" in name or not name:
        return None
    for candidate in (_shipped() / name, _shipped() / f"{name}.yaml"):
        if candidate.suffix == ".yaml" and candidate.is_file():
            return candidate
    return None


def extended(name: str, directory: Path) -> Path | None:
    """The file that a name in `extends` of a document in `directory` means; None when there is none."""
    beside = directory / name
    return beside if beside.is_file() else shipped_manifest(name)


def extends_fix(name: str, directory: Path) -> str:
    """What to write in `extends` instead of a name that is no file and ships with nothing."""
    beside = (directory / name).parent
    files = [f"{Path(name).parent / one}" for one in _manifests(beside)]
    own = ships()
    near = nearest(name, [*files, *own]) or nearest(Path(name).stem, own)
    if near:
        return f"did you mean {near}?"
    return f"name a file beside this one, or a manifest that ships: {', '.join(own)}"


def ships() -> list[str]:
    """The names of all manifests that ship."""
    return sorted(Path(one).stem for one in _manifests(_shipped()))


def _shipped() -> Path:
    return shipped("manifests")


def _manifests(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir() if path.suffix == ".yaml")
    except OSError:
        return []
