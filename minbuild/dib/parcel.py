"""What the builder machine is told and given for one run, and how its result is read: two tars."""

import os
import shlex
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from minbuild.dib import archive, folder
from minbuild.dib.elements import Element
from minbuild.errors import ToolError
from minbuild.shipped import shipped

ORDER = "/job/order"
OUT = "/job/out"
CODE = "./.code"
"""dib's exit code in the result."""
CHUNK = 1 << 20
EXPORT = f"""\
#!/bin/bash
# What elements call as minbuild: the host's files are resolved already
set -eu
case "${{1:-}}" in
export) exec cat {ORDER}/root.tar ;;
esac
echo "ERROR: minbuild ${{1:-}} cannot run in the builder machine (use --dib-in here)" >&2
exit 1
"""
OURS = {
    "DIB_LOCKFILES": "/job/locks",
    "DIB_IMAGE_CACHE": "/job/cache",
    "DIB_MINBUILD": f"{ORDER}/minbuild",
    "DIB_MINBUILD_BUILD": f"{ORDER}/build",
    "ELEMENTS_PATH": f"{ORDER}/elements",
    "PYTHONPATH": "/job/python",
    "PYTHONPYCACHEPREFIX": "/job/pyc",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TMP_DIR": "/job/tmp",
    "USER": "root",
}


def pack(
    words: Sequence[str],
    settings: Mapping[str, str],
    elements: Sequence[Element],
    build: Path,
    work: Path,
) -> Path:
    """Write the order to `work`: the command, its environment, the elements and the host.

    Elements that come with dib are left out, the builder has them.
    Raises: UsageError when `build` is no build folder.
    """
    top = work / "parcel" / "order"
    (top / "build").mkdir(parents=True)
    found = folder.read(build)
    with (top / "root.tar").open("wb") as out:
        archive.write(found.nodes, found.content, out)
    for name in (folder.FOOTPRINT, f"{found.footprint.name}.efi"):
        shutil.copyfile(build / name, top / "build" / name)
    for element in elements:
        if not element.shipped_with_dib:
            shutil.copytree(element.directory, top / "elements" / element.name,
                            ignore_dangling_symlinks=True)  # fmt: skip
    exports = [f"export {name}={shlex.quote(text)}" for name, text in sorted(settings.items())]
    (top / "run").write_text("\n".join([*exports, f"exec {shlex.join(words)}\n"]), "utf-8")
    (top / "minbuild").write_text(EXPORT, "utf-8")
    (top / "minbuild").chmod(0o755)
    place = work / "order.tar"
    with tarfile.open(place, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(top, "order")
    shutil.rmtree(top.parent)
    return place


def settings(defaults: Mapping[str, str], *, layout: str) -> dict[str, str]:
    """The environment of dib in the builder: the user's variables of dib's, with ours in them.

    `layout`: of the block device, as text; "" for that of the elements.
    """
    given = {name: text for name, text in os.environ.items() if name.startswith("DIB_")}
    if layout:
        given["DIB_BLOCK_DEVICE_CONFIG"] = layout
    elif given.get("DIB_BLOCK_DEVICE_CONFIG", "").startswith("file://"):
        place = Path(given["DIB_BLOCK_DEVICE_CONFIG"].removeprefix("file://"))
        given["DIB_BLOCK_DEVICE_CONFIG"] = place.read_text("utf-8")
    return {**defaults, **given, **OURS}


def plain_layout() -> Path:
    """The layout of one file system over the whole image."""
    return shipped("elements") / "minbuild-boot" / "layouts" / "plain.yaml"


def unpack(result: Path, wanted: Sequence[str], work: Path) -> int | None:
    """Take the wanted files out of a result into `work`; returns dib's exit code.

    None when the machine left no whole result.
    """
    try:
        with tarfile.open(result, "r:") as tar:
            held = {member.name: member for member in tar if member.isreg()}
            if CODE not in held:
                return None
            code = int(_open(tar, held[CODE]).read())
            for name in wanted:
                member = held.get(f"./{name}")
                if member is not None:
                    _copy(_open(tar, member), work / name)
    except (tarfile.TarError, ValueError):
        return None
    except OSError as error:
        raise ToolError(
            f"an image of dib cannot be written: {error.strerror}",
            where=str(error.filename or work),
            fix="free space there, or name another store: --store DIR",
        ) from error
    return code


def _open(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None  # it is regular
    return file


def _copy(source: IO[bytes], place: Path) -> None:
    """Copy with holes where there are only zeros."""
    with place.open("wb") as out:
        while chunk := source.read(CHUNK):
            if chunk.count(0) == len(chunk):
                out.seek(len(chunk), os.SEEK_CUR)
            else:
                out.write(chunk)
        out.truncate()
