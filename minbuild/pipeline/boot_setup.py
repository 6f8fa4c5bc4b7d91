"""What a boot needs besides the image: the lab's tools, and the probes of its manifest."""

from dataclasses import dataclass
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.model import Lock
from minbuild.data import data_directory
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.lab.model import BootProbe, Firmware
from minbuild.lab.probes import list_footprint_probes, list_manifest_probes, make_default_probes
from minbuild.manifest.shipped_manifests import is_manifest_name
from minbuild.pipeline.build import build_host
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.lock_policy import read_used_lock
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.tool_lock import find_tools, lock_tools_only, select_tools
from minbuild.pipeline.tool_setup import open_toolbox, open_tools
from minbuild.pipeline.up_to_date import find_last_build
from minbuild.toolbox.toolbox import Toolbox

MAX_FOOTPRINT_SIZE = 64 << 20
"""Bytes of a footprint that is read."""


@dataclass(frozen=True, slots=True)
class BootSetup:
    """An image, the tools to boot it with, and what it must show."""

    image: Path
    toolbox: Toolbox
    probes: tuple[BootProbe, ...]


def prepare_boot(
    target: str, request: BuildRequest, session: Session, *, firmware: Firmware
) -> BootSetup:
    """Find or build the image that `target` names, and open the lab's tools.

    `target` is an image, a build directory, or a manifest (which is built first).
    Raises: UsageError when there is no such image.
    """
    name = "host.raw" if firmware in {Firmware.UEFI, Firmware.BIOS} else "host.efi"
    if is_manifest_name(target):
        built = find_last_build(request, session) or build_host(request, session)
        lock = lockfile.read_lock(locate_lock(request, built.manifest))
        image = built.directory / f"{built.manifest.name}{Path(name).suffix}"
        return BootSetup(
            image,
            open_toolbox(request, lock, session, lab=True),
            list_manifest_probes(built.manifest),
        )
    image = _find_image(Path(target), Path(name).suffix)
    lock = _choose_lock(image, request, session)
    return BootSetup(image, open_toolbox(request, lock, session, lab=True), read_probes(image))


def read_probes(image: Path) -> tuple[BootProbe, ...]:
    """What an image is asked: what its build's footprint beside it says, else what every host is."""
    footprint_path = image.with_name("footprint.json")
    if not footprint_path.is_file():
        return make_default_probes()
    footprint = document.read_footprint(_read_footprint_text(footprint_path), str(footprint_path))
    is_of_this_image = footprint.name == image.stem and footprint.probes is not None
    return (
        list_footprint_probes(footprint.probes or ()) if is_of_this_image else make_default_probes()
    )


def _read_footprint_text(path: Path) -> str:
    """The text of a document beside an image.

    Raises: UsageError for one of a size or of bytes that no build writes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FOOTPRINT_SIZE + 1)
        if len(data) <= MAX_FOOTPRINT_SIZE:
            return data.decode("utf-8")
        reason = f"it has more than {MAX_FOOTPRINT_SIZE >> 20} MiB"
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error)
    raise UsageError(
        f"this footprint cannot be read: {reason}",
        where=str(path),
        fix="build the image again, or remove the file: the image is then asked what every host is",
    )


def _find_image(path: Path, suffix: str) -> Path:
    """The image at a path, or the one that a build directory holds."""
    if path.is_dir():
        images = sorted(path.glob(f"*{suffix}"))
        if len(images) == 1:
            return images[0]
        raise UsageError(
            f"the directory holds {len(images) or 'no'} images that end in {suffix}",
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


def _choose_lock(image: Path, request: BuildRequest, session: Session) -> Lock:
    """The lock given, that of the build which made the image here, or one of the tools alone.

    A lock pins programs that are run: one that lies beside an image, and that no build of this
    user's has used, is whoever's the image is.
    """
    if request.lock is not None:
        return lockfile.read_lock(request.lock)
    lock_paths = sorted(image.absolute().parent.glob("*.lock"))
    for lock_path in lock_paths:
        lock = read_used_lock(lock_path, session.store)
        if lock is not None:
            return lock
    if lock_paths:
        session.progress.note(
            f"{lock_paths[0]} is not used: no build of yours made it; the lab's tools are the archive's"
        )
    return lock_tools_only(request, session)


def open_single_tool(request: BuildRequest, session: Session, name: str) -> Toolbox:
    """The toolbox with the tool `name`: of the manifest's lock when it pins that, else of its own.

    A shipped manifest's lock, which is whatever lies in the current directory, must be one that a
    build of this user's has used.

    Raises: UsageError when there is no tool of that name.
    """
    tools = find_tools(name)
    if not tools:
        raise UsageError(f"there is no tool {name}", fix="list them: minbuild tool list")
    manifest = load_manifest(request, session)
    lock_path = locate_lock(request, manifest)
    is_users_lock = request.lock is not None or not request.manifest.is_relative_to(
        data_directory("manifests")
    )
    if is_users_lock:
        lock = lockfile.read_lock(lock_path) if lock_path.exists() else None
    else:
        lock = read_used_lock(lock_path, session.store)
    if lock is not None and tools[0] in select_tools(manifest.image, lab=True):
        return open_tools(request, lock, session, tools)
    return open_tools(request, lock_tools_only(request, session, tools), session, tools)
