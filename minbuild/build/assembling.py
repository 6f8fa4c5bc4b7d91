"""Images that diskimage-builder makes of a finished build."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from minbuild.build.request import Doors
from minbuild.dib.assemble import assemble
from minbuild.image.outputs import SUMS
from minbuild.manifest.types import Manifest
from minbuild.store import full_disk
from minbuild.tree.types import Tree


def assemble_all(
    manifest: Manifest, tree: Tree, outputs: Sequence[Path], doors: Doors
) -> tuple[Path, ...]:
    """Add the images that the manifest wants of dib to a build's outputs; all of them or none.

    Raises: ToolError when dib cannot run here, or fails.
    """
    if not manifest.image.dib:
        return tuple(outputs)
    directory = outputs[0].parent
    size = sum(node.size for node in tree.nodes)
    with doors.store.work() as work:
        made: list[Path] = []
        for number, wish in enumerate(manifest.image.dib, 1):
            place = work / str(number)
            place.mkdir()
            end = f"-dib{number}" if len(manifest.image.dib) > 1 else "-dib"
            made += assemble(
                wish, f"{manifest.name}{end}", directory, place, size=size,
                paths=[node.path for node in tree.nodes], progress=doors.progress,
            )  # fmt: skip
        return _publish(made, outputs, directory, work)


def _publish(
    made: Sequence[Path], outputs: Sequence[Path], directory: Path, work: Path
) -> tuple[Path, ...]:
    """Put images beside the others, SHA256SUMS last."""
    sums = dict.fromkeys((path for path in outputs if path.name != SUMS), "")
    lines = [line for line in (directory / SUMS).read_text("ascii").splitlines() if line]
    with full_disk(directory):
        new = []
        for path in made:
            place = directory / path.name
            beside = directory / f".{path.name}.new"
            _move(path, beside)
            os.replace(beside, place)
            new.append(place)
            lines.append(f"{_sha256(place)}  {place.name}")
        text = "\n".join(sorted(set(lines), key=lambda line: line.partition("  ")[2])) + "\n"
        (work / SUMS).write_text(text, encoding="ascii")
        _move(work / SUMS, directory / f".{SUMS}.new")
        os.replace(directory / f".{SUMS}.new", directory / SUMS)
    return (*sums, *new, directory / SUMS)


def _move(source: Path, place: Path) -> None:
    import shutil

    shutil.move(source, place)
    place.chmod(0o644)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
