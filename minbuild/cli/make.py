"""Commands that resolve and build: make, plan."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.console import Terminal, print_error
from minbuild.cli.options import build_options, build_request, open_session
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    Renderer,
    find_text_width,
    output_options,
    split_targets,
    write_formats,
)

if TYPE_CHECKING:
    from minbuild.footprint.model import Footprint
    from minbuild.pipeline.batch import BuildOutcome
    from minbuild.pipeline.build import BuildResult, Plan
    from minbuild.pipeline.session import BuildRequest, Session


@click.command(
    cls=FormatOptionsCommand, short_help="Build the images of a manifest and print the footprint."
)
@click.argument("manifests", nargs=-1, required=True, metavar="MANIFEST...",
                shell_complete=shell.complete_manifests)  # fmt: skip
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
         jobs: int, fail_fast: bool, store: Path | None, **options: Any) -> int:  # fmt: skip
    """Build the images of MANIFEST and print the footprint.

    MANIFEST is a file, or the name of one that ships (host.yaml). Writes host.efi, host.raw,
    footprint.json, the lock and SHA256SUMS to the output directory, all or none of them.

    Several manifests, or one with a matrix, share packages, facts and packed segments; each goes
    to OUTPUT/NAME, and one table sums them up.
    """
    from minbuild.pipeline.batch import expand_matrices

    targets, build_args = split_targets(options)
    terminal = Terminal()
    session = open_session(store, terminal)
    requests = expand_matrices([_make_request(manifest, **build_args) for manifest in manifests])
    if len(requests) > 1:
        from minbuild.errors import UsageError

        if check_reproducible or build_args["lock"] is not None:
            raise UsageError(
                "--lock and --check-reproducible are for one build", fix="name one manifest"
            )
        separate_requests = [replace(one, output_root=output) for one in requests]
        return make_many(
            separate_requests, session, terminal, targets, jobs=jobs, fail_fast=fail_fast
        )
    return _build_one(
        replace(requests[0], output=output),
        session,
        terminal,
        check_reproducible=check_reproducible,
        top=top,
        targets=targets,
    )


def _make_request(
    manifest: str, *, compression: str | None, dib_in: str, **build_args: Any
) -> "BuildRequest":
    from minbuild.dib.model import DibLocation
    from minbuild.manifest.image_settings import Compression

    return build_request(
        manifest,
        compression=Compression(compression) if compression else None,
        dib_in=DibLocation(dib_in),
        **build_args,
    )


def _build_one(request: "BuildRequest", session: "Session", terminal: Terminal, *, check_reproducible: bool,
          top: int, targets: Mapping[str, str | None]) -> int:  # fmt: skip
    from minbuild.pipeline import build
    from minbuild.pipeline.size_budget import check_size_budget

    built = build.build_host(request, session)
    if check_reproducible:
        from minbuild.pipeline import reproducibility

        reproducibility.verify_reproducible(request, built.manifest.name, built.directory, session)
        terminal.note(f"built twice, the same bytes: {reproducibility.CONDITIONS}")
    terminal.finish()
    renderers = {
        "text": lambda: _render_build(built, top=top, columns=find_text_width(targets)),
        "json": lambda: (built.directory / "footprint.json").read_text(encoding="utf-8"),
    }
    write_formats(renderers, targets)
    check_size_budget(built.manifest, built.footprint.totals)
    return 0


def _render_build(built: "BuildResult", *, top: int, columns: int) -> str:
    """The page of a build: its footprint, what it lacks, its budget, and what was written."""
    from minbuild.pipeline.size_budget import list_total_limits
    from minbuild.report.text import render_budget, render_named_paths, render_text

    return (
        render_text(built.footprint, top=top, width=columns)
        + render_named_paths(built.footprint.possible_data)
        + render_budget(list_total_limits(built.manifest, built.footprint.totals))
        + f"{_describe_outputs(built.directory, built.footprint, fresh=built.rebuilt)}\n"
    )


def _describe_outputs(directory: Path, footprint: "Footprint", *, fresh: bool) -> str:
    lines = (directory / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    names = [line.partition("  ")[2] for line in lines]
    by_dib = [name for name in names if name.startswith(f"{footprint.name}-dib")]
    images = ", ".join([*(f"{footprint.name}.{suffix}" for suffix in footprint.packed), *by_dib])
    verb = "wrote" if fresh else "nothing changed since the last build:"
    return f"\n{verb} {images}, footprint.json, the lock and SHA256SUMS in {directory}/"


@click.command(cls=FormatOptionsCommand)
@click.argument("manifest", shell_complete=shell.complete_manifests)
@click.option("--without", multiple=True, shell_complete=shell.complete_components, metavar="WHAT", help="Say what would go, what would "
              "break and how much it saves without a path, component or package.")  # fmt: skip
@click.option("--suggest", is_flag=True, help="Rank the removals that would save most.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Largest files to list; 0: all.")  # fmt: skip
@output_options("text", "json")
@build_options
def plan(manifest: str, without: tuple[str, ...], suggest: bool, top: int,
         store: Path | None, **options: Any) -> int:  # fmt: skip
    """Resolve MANIFEST and print what would be in the image, without building it."""
    from minbuild.footprint import document
    from minbuild.pipeline import build
    from minbuild.pipeline.rootfs_checks import explain_missing_init

    targets, build_args = split_targets(options)
    terminal = Terminal()
    resolved = build.plan_build(
        build_request(manifest, **build_args), open_session(store, terminal)
    )
    for text in explain_missing_init(resolved.tree, resolved.resolved.manifest):
        terminal.note(text)
    terminal.finish()
    if without or suggest:
        as_text, as_json = _render_removals(
            resolved, without, top=top, columns=find_text_width(targets)
        )
        unused_text = _render_never_opened(resolved.footprint.name) if suggest else ""
        write_formats({"text": lambda: as_text() + unused_text, "json": as_json}, targets)
    else:
        renderers = {
            "text": lambda: _render_plan(resolved, top=top, columns=find_text_width(targets)),
            "json": lambda: document.render_footprint(resolved.footprint),
        }
        write_formats(renderers, targets)
    return 0


def _render_plan(planned: "Plan", *, top: int, columns: int) -> str:
    """The page of a plan: its footprint, and what it may lack."""
    from minbuild.report.text import render_possible_data, render_possible_dlopens, render_text

    missed_paths = _read_missed_paths(planned.footprint.name)
    return (
        render_text(planned.footprint, top=top, width=columns)
        + render_possible_dlopens(planned.resolved.closure.unexplained_sonames, columns)
        + render_possible_data(planned.footprint.possible_data, missed_paths, columns)
    )


def _read_missed_paths(name: str) -> "frozenset[str] | None":
    """What the last traced boot of the host in build/NAME asked for and did not find."""
    from minbuild.pipeline.boot_records import read_last_trace

    trace = read_last_trace(Path("build") / name)
    return None if trace is None else frozenset(one.path for one in trace.missed)


def _render_never_opened(name: str) -> str:
    """What the last traced boot of the host in build/NAME did not open; "" without one."""
    from minbuild.pipeline.boot_records import read_last_trace
    from minbuild.report.unused_files import render_drop_candidates

    trace = read_last_trace(Path("build") / name)
    return render_drop_candidates(trace) if trace else ""


def _render_removals(
    planned: "Plan", without: tuple[str, ...], *, top: int, columns: int
) -> "tuple[Renderer, Renderer]":
    """What the host would be without something, or what it might do without: text and JSON."""
    from minbuild.errors import UsageError
    from minbuild.explain.removal import rank_removals, remove_selected
    from minbuild.report import removals
    from minbuild.report.layout import wrap_text

    components = planned.resolved.manifest.components
    needs = {component.name: component.needs for component in components}
    losses = {component.name: component.summary for component in components if component.summary}
    footprint = planned.footprint
    if without:
        result = remove_selected(footprint, without, needs)
        return (
            lambda: wrap_text(removals.render_removal(footprint, without, result), columns),
            lambda: removals.render_removal_json(footprint, without, result),
        )
    if top < 1:
        raise UsageError("--suggest needs a number of lines", fix="give one: --top 10")
    suggestions = rank_removals(footprint, needs, top)
    from minbuild.pipeline.boot_records import read_last_trace

    trace = read_last_trace(Path("build") / footprint.name)
    opened_paths = frozenset(map(str, trace.used)) if trace else None
    return (
        lambda: wrap_text(
            removals.render_suggestions(footprint, suggestions, losses, opened_paths), columns
        ),
        lambda: removals.render_suggestions_json(footprint, suggestions, losses, opened_paths),
    )


COMMANDS = (make, plan)


def make_many(
    requests: "Sequence[BuildRequest]",
    session: "Session",
    terminal: Terminal,
    targets: Mapping[str, str | None],
    **options: Any,
) -> int:
    """Build several manifests, print one table, and return the exit code of the first failure."""
    from minbuild.pipeline.batch import build_all

    outcomes = build_all(requests, session, **options)
    terminal.finish()
    renderers = {
        "text": lambda: "\n".join(_render_outcomes(outcomes)) + "\n",
        "json": lambda: json.dumps([_outcome_to_json(one) for one in outcomes], indent=1) + "\n",
    }
    write_formats(renderers, targets)
    errors = [(one.name, one.error) for one in outcomes if one.error is not None]
    for name, error in errors:
        click.echo(f"{name}:", err=True)
        print_error(error)
    return errors[0][1].exit_code if errors else 0


def _outcome_to_json(outcome: "BuildOutcome") -> dict[str, object]:
    row: dict[str, object] = {"name": outcome.name, "seconds": round(outcome.seconds, 3)}
    if outcome.totals is not None:
        row |= {
            "files": outcome.totals.files,
            "bytes": outcome.totals.bytes,
            "packed": outcome.totals.packed,
        }
        row |= {"directory": str(outcome.directory), "fresh": outcome.rebuilt}
    if outcome.error is not None:
        row |= {"error": outcome.error.what, "exit_code": outcome.error.exit_code}
    return row


def _render_outcomes(outcomes: "Sequence[BuildOutcome]") -> list[str]:
    from minbuild.report.layout import align_columns, format_size

    cells = [["build", "files", "installed", "packed", ""]]
    for outcome in outcomes:
        if outcome.totals is None:
            cells.append([outcome.name, "", "", "", "failed"])
            continue
        state = str(outcome.directory) if outcome.rebuilt else f"{outcome.directory} (unchanged)"
        weights = format_size(outcome.totals.bytes), format_size(outcome.totals.packed)
        cells.append([outcome.name, str(outcome.totals.files), *weights, state])
    return align_columns(cells, frozenset({0, 4}))
