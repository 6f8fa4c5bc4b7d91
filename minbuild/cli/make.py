"""Commands that resolve and build: make, plan."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import build_options, doors_of, request_of
from minbuild.cli.outputs import Outputting, Render, output_options, part, room, write
from minbuild.cli.terminal import Terminal

if TYPE_CHECKING:
    from minbuild.build.life import Built, Planned
    from minbuild.build.request import Doors, Request
    from minbuild.footprint.types import Footprint


@click.command(cls=Outputting, short_help="Build the images of a manifest and print the footprint.")
@click.argument("manifests", nargs=-1, required=True, metavar="MANIFEST...",
                shell_complete=shell.manifests)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Output directory.  [default: build/NAME]")  # fmt: skip
@click.option("--compression", type=click.Choice(["xz", "zstd", "none"]),
              help="How the initramfs is packed.  [default: the manifest's]")  # fmt: skip
@click.option("--locked", is_flag=True, help="Refuse to build without a lock.")
@click.option("--check-reproducible", is_flag=True,
              help="Build again under other conditions; exit with 1 when one byte differs.")  # fmt: skip
@click.option(
    "--jobs", default=0, help="Manifests built at once, of several.  [default: cores + 1]"
)
@click.option("--dib-in", type=click.Choice(["auto", "here", "vm"]), default="auto", show_default=True,
              help="Where diskimage-builder makes the images that the manifest wants of it.")  # fmt: skip
@click.option("--fail-fast", is_flag=True, help="Of several, stop at the first that fails.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Largest files to list; 0: all.")  # fmt: skip
@output_options("text", "json")
@build_options
def make(manifests: tuple[str, ...], output: Path | None, check_reproducible: bool, top: int,
         jobs: int, fail_fast: bool, store: Path | None, **more: Any) -> int:  # fmt: skip
    """Build the images of MANIFEST and print the footprint.

    MANIFEST is a file, or the name of one that ships (host.yaml). Writes host.efi, host.raw,
    footprint.json, the lock and SHA256SUMS to the output directory, all or none of them.

    Several manifests, or one with a matrix, share packages, facts and packed segments; each goes
    to OUTPUT/NAME, and one table sums them up.
    """
    from minbuild.build.many import expanded

    given, build = part(more)
    terminal = Terminal()
    doors = doors_of(store, terminal)
    requests = expanded([_request(manifest, **build) for manifest in manifests])
    if len(requests) > 1:
        from minbuild.cli.many import make_many
        from minbuild.errors import UsageError

        if check_reproducible or build["lock"] is not None:
            raise UsageError(
                "--lock and --check-reproducible are for one build", fix="name one manifest"
            )
        apart = [replace(one, parent=output) for one in requests]
        return make_many(apart, doors, terminal, given, jobs=jobs, fail_fast=fail_fast)
    return _make(
        replace(requests[0], output=output),
        doors,
        terminal,
        check_reproducible=check_reproducible,
        top=top,
        given=given,
    )


def _request(manifest: str, *, compression: str | None, dib_in: str, **build: Any) -> "Request":
    from minbuild.dib.types import DibIn
    from minbuild.manifest.types import Compression

    return request_of(
        manifest,
        compression=Compression(compression) if compression else None,
        dib_in=DibIn(dib_in),
        **build,
    )


def _make(request: "Request", doors: "Doors", terminal: Terminal, *, check_reproducible: bool,
          top: int, given: Mapping[str, str | None]) -> int:  # fmt: skip
    from minbuild.build import life
    from minbuild.build.verdict import judge

    built = life.make(request, doors)
    if check_reproducible:
        from minbuild.build import reproduce

        reproduce.reproduce(request, built.manifest.name, built.directory, doors)
        terminal.note(f"built twice, the same bytes: {reproduce.CONDITIONS}")
    terminal.done()
    renders = {
        "text": lambda: _told(built, top=top, wide=room(given)),
        "json": lambda: (built.directory / "footprint.json").read_text(encoding="utf-8"),
    }
    write(renders, given)
    judge(built.manifest, built.footprint.totals)
    return 0


def _told(built: "Built", *, top: int, wide: int) -> str:
    """The page of a build: its footprint, what it lacks, its budget, and what was written."""
    from minbuild.build.verdict import limits
    from minbuild.report.text import budget, named_paths, page

    return (
        page(built.footprint, top=top, width=wide)
        + named_paths(built.footprint.listed)
        + budget(limits(built.manifest, built.footprint.totals))
        + f"{_wrote(built.directory, built.footprint, fresh=built.fresh)}\n"
    )


def _wrote(directory: Path, footprint: "Footprint", *, fresh: bool) -> str:
    listed = (directory / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    names = [line.partition("  ")[2] for line in listed]
    by_dib = [name for name in names if name.startswith(f"{footprint.name}-dib")]
    images = ", ".join([*(f"{footprint.name}.{suffix}" for suffix in footprint.packed), *by_dib])
    done = "wrote" if fresh else "nothing changed since the last build:"
    return f"\n{done} {images}, footprint.json, the lock and SHA256SUMS in {directory}/"


@click.command(cls=Outputting)
@click.argument("manifest", shell_complete=shell.manifests)
@click.option("--without", multiple=True, shell_complete=shell.components, metavar="WHAT", help="Say what would go, what would "
              "break and how much it saves without a path, component or package.")  # fmt: skip
@click.option("--suggest", is_flag=True, help="Rank the removals that would save most.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Largest files to list; 0: all.")  # fmt: skip
@output_options("text", "json")
@build_options
def plan(manifest: str, without: tuple[str, ...], suggest: bool, top: int,
         store: Path | None, **more: Any) -> int:  # fmt: skip
    """Resolve MANIFEST and print what would be in the image, without building it."""
    from minbuild.build import life
    from minbuild.build.starting import unstarted
    from minbuild.footprint import document

    given, build = part(more)
    terminal = Terminal()
    planned = life.plan(request_of(manifest, **build), doors_of(store, terminal))
    for text in unstarted(planned.tree, planned.ground.manifest):
        terminal.note(text)
    terminal.done()
    if without or suggest:
        as_text, as_json = _removal(planned, without, top=top, wide=room(given))
        opened = _never_opened(planned.footprint.name) if suggest else ""
        write({"text": lambda: as_text() + opened, "json": as_json}, given)
    else:
        renders = {
            "text": lambda: _planned(planned, top=top, wide=room(given)),
            "json": lambda: document.render(planned.footprint),
        }
        write(renders, given)
    return 0


def _planned(planned: "Planned", *, top: int, wide: int) -> str:
    """The page of a plan: its footprint, and what it may lack."""
    from minbuild.report.text import page, possible_data, possible_dlopens

    missed = _missed(planned.footprint.name)
    return (
        page(planned.footprint, top=top, width=wide)
        + possible_dlopens(planned.ground.closure.maybe_dlopen, wide)
        + possible_data(planned.footprint.listed, missed, wide)
    )


def _missed(name: str) -> "frozenset[str] | None":
    """What the last traced boot of the host in build/NAME asked for and did not find."""
    from minbuild.build.tracing import last

    traced = last(Path("build") / name)
    return None if traced is None else frozenset(one.path for one in traced.missed)


def _never_opened(name: str) -> str:
    """What the last traced boot of the host in build/NAME did not open; "" without one."""
    from minbuild.build.tracing import last
    from minbuild.report.usage import candidates

    traced = last(Path("build") / name)
    return candidates(traced) if traced else ""


def _removal(
    planned: "Planned", without: tuple[str, ...], *, top: int, wide: int
) -> "tuple[Render, Render]":
    """What the host would be without something, or what it might do without: text and JSON."""
    from minbuild.errors import UsageError
    from minbuild.report import removal
    from minbuild.report.fit import wrap

    components = planned.ground.manifest.components
    needs = {component.name: component.needs for component in components}
    losses = {component.name: component.summary for component in components if component.summary}
    footprint = planned.footprint
    if without:
        gone = removal.without(footprint, without, needs)
        return (
            lambda: wrap(removal.as_text(footprint, without, gone), wide),
            lambda: removal.as_json(footprint, without, gone),
        )
    if top < 1:
        raise UsageError("--suggest needs a number of lines", fix="give one: --top 10")
    found = removal.suggestions(footprint, needs, top)
    from minbuild.build.tracing import last

    traced = last(Path("build") / footprint.name)
    opened = frozenset(map(str, traced.used)) if traced else None
    return (
        lambda: wrap(removal.suggestions_as_text(footprint, found, losses, opened), wide),
        lambda: removal.suggestions_as_json(footprint, found, losses, opened),
    )


COMMANDS = (make, plan)
