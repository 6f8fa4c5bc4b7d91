"""Footprint that an argument of a command names: of an image, a build, or a manifest."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.cli.options import BuildOptions, get_remembered_text
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.data import is_manifest_name
from minbuild.errors import UsageError
from minbuild.footprint.model import Footprint
from minbuild.kconfig import document as kernel_document
from minbuild.kconfig.model import KernelOptions
from minbuild.lazy_import import import_lazily
from minbuild.roots.footprint import load_footprint
from minbuild.roots.model import ExternalReaders, GetReaders
from minbuild.roots.oci import ImageChoice

if TYPE_CHECKING:
    from minbuild.pipeline import build as build_steps
    from minbuild.pipeline import installed_root
else:  # an image needs neither, unless a program of the toolbox reads it
    build_steps, installed_root = import_lazily("minbuild.pipeline", "build", "installed_root")


def find_footprint(name: str | None, build: BuildOptions) -> Footprint:
    """The footprint of an image, or of what a manifest would make."""
    if name is None or not is_manifest_name(name):
        return open_footprint(name, build.store)
    terminal = Terminal()
    plan = build_steps.plan_build(build_request(name, build), open_session(build.store, terminal))
    terminal.finish()
    return plan.footprint


def resolve_kernel_options(name: str, build: BuildOptions) -> KernelOptions:
    """The options of the kernel that was built for an image, or would be for a manifest.

    Raises: UsageError for a host whose kernel is a package.
    """
    options: KernelOptions | None = None
    if is_manifest_name(name):
        terminal = Terminal()
        session = open_session(build.store, terminal)
        options = build_steps.plan_build(
            build_request(name, build), session
        ).resolved.kernel_options
        terminal.finish()
    else:
        directory = Path(name) if Path(name).is_dir() else Path(name).parent
        path = directory / kernel_document.FILE_NAME
        if path.is_file():
            options = kernel_document.parse_options(path.read_text("utf-8"), str(path))
    if options is None:
        raise UsageError(
            "the kernel of this host was not built for it, so nobody asked for its options",
            where=name,
            fix="build one (kernel: {build: linux-source-6.12}); a package's are in its /boot/config-VERSION",
        )
    return options


def open_footprint(name: str | Path | None, store: Path | None = None) -> Footprint:
    """The footprint of an image or a build; without a name, of the only build below ./build.

    `store`: cache with the programs that read some images; None for the usual one.
    """
    terminal = Terminal()
    try:
        return load_footprint(
            str(name if name is not None else _find_only_build()),
            _make_reader_opener(store, terminal),
            get_image_choice(),
        )
    finally:
        terminal.finish()


def get_image_choice() -> ImageChoice:
    """The image to read of a file with several, from the options of the running command."""
    return ImageChoice(platform=get_remembered_text("platform"), tag=get_remembered_text("tag"))


def _make_reader_opener(store: Path | None, terminal: Terminal) -> GetReaders:
    """The toolbox's programs, fetched when one is needed."""

    @functools.cache
    def open_readers() -> ExternalReaders:
        return installed_root.make_external_readers(open_session(store, terminal))

    return open_readers


def find_newest_build() -> Path:
    """The only build below ./build; of several the newest, and a note says which."""
    footprints = sorted(
        Path("build").glob("*/footprint.json"), key=lambda path: path.stat().st_mtime_ns
    )
    if len(footprints) < 2:
        return _find_only_build()
    Terminal().note(
        f"of the builds below ./build this is about the newest, {footprints[-1].parent}"
    )
    return footprints[-1]


def _find_only_build() -> Path:
    footprints = sorted(Path("build").glob("*/footprint.json"))
    if len(footprints) == 1:
        return footprints[0]
    raise UsageError(
        "there are several builds below ./build"
        if footprints
        else "there is no build below ./build",
        fix="name one of " + ", ".join(str(path.parent) for path in footprints)
        if footprints
        else "build one first (minbuild make host.yaml), or name its directory",
    )
