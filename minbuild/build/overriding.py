"""What a manifest keeps against what it extends: its own words hold."""

from dataclasses import replace
from pathlib import Path

from minbuild.errors import ManifestError, together
from minbuild.manifest.components import OWN
from minbuild.manifest.types import Manifest, PackagePaths, Where
from minbuild.paths import rootpath
from minbuild.resolve import pattern


def with_own_words(manifest: Manifest) -> Manifest:
    """The manifest without the `drop` of an extended one for a path that it keeps itself.

    Raises: ManifestError for a path that one document keeps and drops, and for one that the
    manifest keeps and a glob of an extended one drops.
    """
    kept = [
        (text, one)
        for part in manifest.components
        if part.name.endswith(f"/{OWN}")
        for one in part.packages
        for text in one.paths
        if not pattern.is_pattern(text)
    ]
    problems: list[ManifestError] = []
    drop = []
    for waiver in manifest.drop:
        hit = next(((text, one) for text, one in kept if _means(waiver.path, text)), None)
        later = hit is not None and _is_own(hit[1].where, manifest)
        if hit is None or (waiver.where.file != hit[1].where.file and not later):
            drop.append(waiver)  # the later line holds: this one
        elif waiver.where.file == hit[1].where.file or pattern.is_pattern(waiver.path):
            problems.append(_clash(hit[0], hit[1], waiver.path, f"{waiver.where}"))
    if problems:
        raise together(problems)
    return manifest if len(drop) == len(manifest.drop) else replace(manifest, drop=tuple(drop))


def _is_own(where: Where, manifest: Manifest) -> bool:
    """Whether a line stands in the manifest itself, and in none that it extends."""
    return Path(where.file).absolute() == Path(manifest.file).absolute()


def _means(dropped: str, kept: str) -> bool:
    return pattern.matches(rootpath(dropped), rootpath(kept))


def _clash(path: str, kept: PackagePaths, dropped: str, where: str) -> ManifestError:
    return ManifestError(
        f"{path} is kept, and drop: {dropped} at {where} leaves it out",
        where=f"{kept.where}",
        fix="remove one of the two lines; a glob of an extended manifest is not undone for one path",
    )
