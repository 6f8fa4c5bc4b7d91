"""Setup of a boot besides the image (the lab's tools, the probes of its manifest), and the records
of a traced one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.model import Lock
from minbuild.data import data_directory, is_manifest_name
from minbuild.errors import ToolError, UsageError
from minbuild.footprint import boot_trace, document
from minbuild.footprint.boot_trace import TraceSummary
from minbuild.footprint.measure import find_fixed_address
from minbuild.footprint.model import FixedAddress, Footprint
from minbuild.footprint.open_ports import ObservedPort, render_ports
from minbuild.lab import kprobes
from minbuild.lab.model import BootProbe, BootResult, Firmware
from minbuild.lab.probes import list_footprint_probes, list_manifest_probes, make_default_probes
from minbuild.pipeline.build import build_host
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.lock_creation import (
    GUEST_KERNEL,
    find_kernel_tools,
    find_tools,
    lock_tools_only,
    select_tools,
)
from minbuild.pipeline.lock_policy import read_used_lock
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.tool_setup import open_toolbox, open_tools
from minbuild.pipeline.up_to_date import find_last_build
from minbuild.progress import Progress
from minbuild.toolbox.toolbox import Toolbox

MAX_FOOTPRINT_SIZE = 64 << 20
"""Bytes of a footprint that is read."""


@dataclass(frozen=True, slots=True)
class BootSetup:
    """An image, the tools to boot it with, and what it must show."""

    image: Path
    toolbox: Toolbox
    probes: tuple[BootProbe, ...]
    guest_kernel: Path | None = None
    """None: the guest gets the image's own."""
    fixed_address: FixedAddress | None = None
    """What network/static gives the host; None without that component."""


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
            _find_guest_kernel(request, lock, session),
            find_fixed_address(built.manifest),
        )
    image = _find_image(Path(target), Path(name).suffix)
    lock = _choose_lock(image, request, session)
    toolbox = open_toolbox(request, lock, session, lab=True)
    guest_kernel = _find_guest_kernel(request, lock, session)
    footprint = read_own_footprint(image)
    fixed_address = footprint.fixed_address if footprint is not None else None
    return BootSetup(image, toolbox, list_image_probes(footprint), guest_kernel, fixed_address)


def _find_guest_kernel(request: BuildRequest, lock: Lock, session: Session) -> Path | None:
    """The kernel that the lock pins for the lab's guest: only that of a built kernel has one."""
    if not any(one.name.startswith("linux-image-") for one in lock.toolbox):
        return None
    toolbox = open_tools(request, lock, session, find_kernel_tools(GUEST_KERNEL))
    return min((toolbox.root / "boot").glob("vmlinuz-*"))


def read_own_footprint(image: Path) -> Footprint | None:
    """The footprint beside an image, of the build that made it; None when there is none."""
    footprint_path = image.with_name("footprint.json")
    if not footprint_path.is_file():
        return None
    footprint = document.read_footprint(_read_footprint_text(footprint_path), str(footprint_path))
    return footprint if footprint.name == image.stem and footprint.probes is not None else None


def list_image_probes(footprint: Footprint | None) -> tuple[BootProbe, ...]:
    """What an image is asked: what its build's footprint says, else what every host is."""
    if footprint is None or footprint.probes is None:
        return make_default_probes()
    return list_footprint_probes(footprint.probes)


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


PORTS_FOOTPRINT = "footprint.json"
PORTS_FILE = "ports.json"


def save_observed_ports(image: Path, results: Sequence[BootResult], progress: Progress) -> None:
    """Write ports.json beside an image that was built here; what was not watched is not written.

    A directory that may not be written is said, and no error: the boot itself is what counts.
    """
    events = kprobes.read_open_ports(line for result in results for line in result.lines)
    footprint_path = image.parent / PORTS_FOOTPRINT
    if events is None or not footprint_path.is_file():
        return
    observed = [
        ObservedPort(f"{one.number}/{one.protocol}", one.process, one.is_local) for one in events
    ]
    try:
        text = render_ports(observed, footprint_path.read_text(encoding="utf-8"))
        (image.parent / PORTS_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        progress.note(f"the ports that were seen are not kept: {error.strerror}: {image.parent}")


FOOTPRINT = "footprint.json"
TRACE_FILE = "trace.json"


def require_footprint(image: Path) -> None:
    """Refuse to trace an image that no footprint says the files of.

    Raises: UsageError.
    """
    if not (image.parent / FOOTPRINT).is_file():
        raise UsageError(
            f"there is no {FOOTPRINT} beside the image, which says what files it has",
            where=str(image.parent),
            fix="trace an image where it was built: minbuild boot build/host --trace",
        )


def save_trace(image: Path, results: Sequence[BootResult]) -> TraceSummary:
    """Say what these boots used of an image; kept as trace.json beside it for `plan --suggest`.

    Raises: ToolError when the footprint is damaged or the record cannot be written.
    """
    footprint_path = image.parent / FOOTPRINT
    footprint = document.read_footprint(
        footprint_path.read_text(encoding="utf-8"), str(footprint_path)
    )
    opened_paths: set[str] = set()
    missing: Counter[str] = Counter()
    for result in results:
        opened_files = kprobes.read_opened_files(result.lines)
        opened_paths |= opened_files.opened
        missing.update(dict(opened_files.missing))
    summary = boot_trace.summarize_trace(
        footprint, opened_paths, {p: n for p, n in missing.items() if p not in opened_paths}
    )
    try:
        (image.parent / TRACE_FILE).write_text(boot_trace.render_trace(summary), encoding="utf-8")
    except OSError as error:
        raise ToolError(
            f"cannot write what was traced: {error.strerror}",
            where=str(image.parent / TRACE_FILE),
            fix="trace an image in a directory that may be written",
        ) from error
    return summary


def read_last_trace(directory: Path) -> TraceSummary | None:
    """What the last traced boot of a build in `directory` used; None without one.

    Raises: ToolError when the record is damaged.
    """
    trace_path = directory / TRACE_FILE
    if not trace_path.is_file():
        return None
    return boot_trace.read_trace(trace_path.read_text(encoding="utf-8"), str(trace_path))
