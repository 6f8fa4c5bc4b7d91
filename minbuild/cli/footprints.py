"""Find the footprint that an argument of a command names."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minbuild.cli.console import Terminal
from minbuild.cli.options import build_request, get_image_choice, open_session
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.footprint.model import Footprint
    from minbuild.roots.model import ExternalReaders, GetReaders


def find_footprint(name: str | None, store: Path | None, build_args: dict[str, Any]) -> "Footprint":
    """The footprint of an image, or of what a manifest would make of it."""
    if name is not None and (name.endswith((".yaml", ".yml")) or not Path(name).exists()):
        from minbuild.pipeline.boot_setup import is_manifest_name

        if is_manifest_name(name):
            from minbuild.pipeline import build

            terminal = Terminal()
            plan = build.plan_build(
                build_request(name, **build_args), open_session(store, terminal)
            )
            terminal.finish()
            return plan.footprint
    return open_footprint(name, store)


def open_footprint(name: "str | Path | None", store: Path | None = None) -> "Footprint":
    """The footprint of what a word names; without a word, of the only build there is.

    `store` keeps the toolbox's programs that some need to be read; None for the usual one.
    """
    from minbuild.roots.footprint import load_footprint

    terminal = Terminal()
    try:
        return load_footprint(
            str(name if name is not None else _find_only_build()),
            _make_reader_opener(store, terminal),
            get_image_choice(),
        )
    finally:
        terminal.finish()


def _make_reader_opener(store: Path | None, terminal: Terminal) -> "GetReaders":
    """The toolbox's programs, fetched when one is needed."""

    @functools.cache
    def open_readers() -> "ExternalReaders":
        from minbuild.pipeline.installed_root import make_external_readers

        return make_external_readers(open_session(store, terminal))

    return open_readers


def _find_newest_build() -> Path:
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
