"""What a boot needs besides the image: the lab's tools, and the probes of its manifest."""

from dataclasses import dataclass
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.types import Lock
from minbuild.build.ground import stand_tools
from minbuild.build.life import make, read
from minbuild.build.own import own_lock
from minbuild.build.request import Doors, Request, lock_file
from minbuild.build.selection import named, selected
from minbuild.build.tools import lay_tools, open_toolbox
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.lab.probes import standard, told, wanted
from minbuild.lab.types import Firmware, Probe
from minbuild.shipped import shipped
from minbuild.toolbox.toolbox import Toolbox

MANIFESTS = (".yaml", ".yml")
MOST = 64 << 20
"""Bytes of a footprint that is read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """An image, the tools to boot it with, and what it must show."""

    image: Path
    toolbox: Toolbox
    probes: tuple[Probe, ...]


def set_stage(target: str, request: Request, doors: Doors, *, firmware: Firmware) -> Stage:
    """Find or build the image that `target` names, and open the lab's tools.

    `target` is an image, a build directory, or a manifest (which is built first).
    Raises: UsageError when there is no such image.
    """
    name = "host.raw" if firmware in {Firmware.UEFI, Firmware.BIOS} else "host.efi"
    if is_manifest(target):
        built = make(request, doors)
        lock = lockfile.read(lock_file(request, built.manifest))
        image = built.directory / f"{built.manifest.name}{Path(name).suffix}"
        return Stage(image, open_toolbox(request, lock, doors, lab=True), wanted(built.manifest))
    image = _image(Path(target), Path(name).suffix)
    lock = _lock_of(image, request, doors)
    return Stage(image, open_toolbox(request, lock, doors, lab=True), probes_of(image))


def probes_of(image: Path) -> tuple[Probe, ...]:
    """What an image is asked: what its build's footprint beside it says, else what every host is."""
    place = image.with_name("footprint.json")
    if not place.is_file():
        return standard()
    footprint = document.read(_text(place), str(place))
    known = footprint.name == image.stem and footprint.probes is not None
    return told(footprint.probes or ()) if known else standard()


def _text(path: Path) -> str:
    """The text of a document beside an image.

    Raises: UsageError for one of a size or of bytes that no build writes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
        if len(data) <= MOST:
            return data.decode("utf-8")
        why = f"it has more than {MOST >> 20} MiB"
    except (OSError, UnicodeDecodeError) as error:
        why = str(error)
    raise UsageError(
        f"this footprint cannot be read: {why}",
        where=str(path),
        fix="build the image again, or remove the file: the image is then asked what every host is",
    )


def is_manifest(target: str) -> bool:
    """Whether a word names a manifest: a YAML file, or the name of one that ships."""
    if Path(target).exists():
        return target.endswith(MANIFESTS)
    shipped_one = shipped("manifests") / f"{target.removesuffix('.yaml')}.yaml"
    return target.endswith(MANIFESTS) or shipped_one.exists()


def _image(path: Path, suffix: str) -> Path:
    """The image at a path, or the one that a build directory holds."""
    if path.is_dir():
        found = sorted(path.glob(f"*{suffix}"))
        if len(found) == 1:
            return found[0]
        raise UsageError(
            f"the directory holds {len(found) or 'no'} images that end in {suffix}",
            where=str(path),
            fix="name the image itself",
        )
    if not path.exists():
        raise UsageError(
            "there is no such image or manifest",
            where=str(path),
            fix="build it first (minbuild make host.yaml), or name a manifest: minbuild boot host.yaml",
        )
    return path


def _lock_of(image: Path, request: Request, doors: Doors) -> Lock:
    """The lock given, that of the build which made the image here, or one of the tools alone.

    A lock pins programs that are run: one that lies beside an image, and that no build of this
    user's has used, is whoever's the image is.
    """
    if request.lock is not None:
        return lockfile.read(request.lock)
    beside = sorted(image.absolute().parent.glob("*.lock"))
    for place in beside:
        lock = own_lock(place, doors.store)
        if lock is not None:
            return lock
    if beside:
        doors.progress.note(
            f"{beside[0]} is not used: no build of yours made it; the lab's tools are the archive's"
        )
    return stand_tools(request, doors)


def open_tool(request: Request, doors: Doors, name: str) -> Toolbox:
    """The toolbox with the tool `name`: of the manifest's lock when it pins that, else of its own.

    A shipped manifest's lock, which is whatever lies in the current directory, must be one that a
    build of this user's has used.

    Raises: UsageError when there is no tool of that name.
    """
    only = named(name)
    if not only:
        raise UsageError(f"there is no tool {name}", fix="list them: minbuild tool list")
    manifest = read(request, doors)
    place = lock_file(request, manifest)
    is_named = request.lock is not None or not request.manifest.is_relative_to(shipped("manifests"))
    if is_named:
        lock = lockfile.read(place) if place.exists() else None
    else:
        lock = own_lock(place, doors.store)
    if lock is not None and only[0] in selected(manifest.image, lab=True):
        return lay_tools(request, lock, doors, only)
    return lay_tools(request, stand_tools(request, doors, only), doors, only)
