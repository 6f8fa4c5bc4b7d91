"""Command that builds images: make."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cli.console import print_error
from minbuild.cli.options import BuildOptions, build_options, complete
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    FormatTargets,
    find_text_width,
    output_options,
    write_formats,
)
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.footprint.budget_check import check_manifest_limits
from minbuild.footprint.model import Footprint
from minbuild.manifest.image_settings import Compression, DibLocation
from minbuild.pipeline.session import BuildRequest, Session, expand_matrices
from minbuild.pipeline.size_budget import check_size_budget
from minbuild.pipeline.up_to_date import BuildResult, find_last_build
from minbuild.report.layout import align_columns, format_size
from minbuild.report.text import render_budget, render_named_paths, render_text

if TYPE_CHECKING:
    from minbuild.pipeline.batch import BuildOutcome


@click.command(
    cls=FormatOptionsCommand, short_help="Build the images of a manifest and print the footprint."
)
@click.argument("manifests", nargs=-1, required=True, metavar="MANIFEST...",
                shell_complete=complete("manifests"))  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Output directory.  [default: build/NAME]")  # fmt: skip
@click.option("--compression", type=click.Choice([*map(str, Compression)]),
              help="Compression of the initramfs.  [default: the manifest's]")  # fmt: skip
@click.option("--locked", is_flag=True, help="Refuse to build without a lock.")
@click.option("--check-reproducible", is_flag=True,
              help="Build again under other conditions; exit with 1 when one byte differs.")  # fmt: skip
@click.option(
    "--jobs", default=0, help="Manifests built in parallel, of several.  [default: cores + 1]"
)
@click.option("--dib-in", type=click.Choice([*map(str, DibLocation)]), default="auto", show_default=True,
              help="Where diskimage-builder runs for images of the format dib.")  # fmt: skip
@click.option("--fail-fast", is_flag=True, help="Of several, stop at the first that fails.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Largest files to list; 0: all.")  # fmt: skip
@output_options("text", "json")
@build_options
def make(
    manifests: tuple[str, ...], output: Path | None, compression: str | None, locked: bool,
    check_reproducible: bool, jobs: int, dib_in: str, fail_fast: bool, top: int,
    targets: FormatTargets, build: BuildOptions,
) -> int:  # fmt: skip
    """Build the images of MANIFEST and print the footprint.

    MANIFEST is a file, or the name of one that ships (host.yaml). Writes host.efi, host.raw,
    footprint.json, the lock and SHA256SUMS to the output directory, all or none of them.

    Several manifests, or one with a matrix, share packages, facts and packed segments; each goes
    to OUTPUT/NAME, and one table sums them up.
    """
    terminal = Terminal()
    session = open_session(build.store, terminal)
    requests = expand_matrices(
        [
            replace(
                build_request(manifest, build),
                compression=Compression(compression) if compression else None,
                dib_in=DibLocation(dib_in),
                locked=locked,
            )
            for manifest in manifests
        ]
    )
    if len(requests) == 1:
        request = replace(requests[0], output=output)
        built = find_last_build(request, session)
        if built is None:
            from minbuild.pipeline.build import build_host  # 0.15 s, and only a change needs it

            built = build_host(request, session)
        if check_reproducible:
            _check_reproducible(request, built, session, terminal)
        terminal.finish()
        return _show_build(built, targets, top=top)
    if check_reproducible or build.lock is not None:
        raise UsageError(
            "--lock and --check-reproducible are for one build", fix="name one manifest"
        )
    from minbuild.pipeline.batch import build_all  # imports build

    outcomes = build_all(
        [replace(request, output_root=output) for request in requests],
        session,
        jobs=jobs,
        fail_fast=fail_fast,
    )
    terminal.finish()
    return _show_outcomes(outcomes, targets)


def _check_reproducible(
    request: BuildRequest, built: BuildResult, session: Session, terminal: Terminal
) -> None:
    from minbuild.pipeline import reproducibility  # only this option builds a second time

    reproducibility.verify_reproducible(request, built.manifest.name, built.directory, session)
    terminal.note(f"built twice, the same bytes: {reproducibility.CONDITIONS}")


def _show_build(built: BuildResult, targets: FormatTargets, *, top: int) -> int:
    write_formats(
        {
            "text": lambda: _render_build(built, top=top, columns=find_text_width(targets)),
            "json": lambda: (built.directory / "footprint.json").read_text(encoding="utf-8"),
        },
        targets,
    )
    check_size_budget(built.manifest, built.footprint.totals)
    return 0


def _render_build(built: BuildResult, *, top: int, columns: int) -> str:
    """The page of a build: its footprint, what it lacks, its budget, and what was written."""
    return (
        render_text(built.footprint, top=top, width=columns)
        + render_named_paths(built.footprint.possible_data)
        + render_budget(check_manifest_limits(built.manifest, built.footprint.totals))
        + f"{_describe_outputs(built.directory, built.footprint, fresh=built.rebuilt)}\n"
    )


def _describe_outputs(directory: Path, footprint: Footprint, *, fresh: bool) -> str:
    lines = (directory / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    names = [line.partition("  ")[2] for line in lines]
    by_dib = [name for name in names if name.startswith(f"{footprint.name}-dib")]
    images = ", ".join([*(f"{footprint.name}.{suffix}" for suffix in footprint.packed), *by_dib])
    verb = "wrote" if fresh else "nothing changed since the last build:"
    return f"\n{verb} {images}, footprint.json, the lock and SHA256SUMS in {directory}/"


def _show_outcomes(outcomes: Sequence["BuildOutcome"], targets: FormatTargets) -> int:
    """Print one table for several builds; returns the exit code of the first that failed."""
    write_formats(
        {
            "text": lambda: "\n".join(_render_outcomes(outcomes)) + "\n",
            "json": lambda: json.dumps([*map(_outcome_to_json, outcomes)], indent=1) + "\n",
        },
        targets,
    )
    errors = [(outcome.name, outcome.error) for outcome in outcomes if outcome.error is not None]
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


def _render_outcomes(outcomes: Sequence["BuildOutcome"]) -> list[str]:
    cells = [["build", "files", "installed", "packed", ""]]
    for outcome in outcomes:
        if outcome.totals is None:
            cells.append([outcome.name, "", "", "", "failed"])
            continue
        state = str(outcome.directory) if outcome.rebuilt else f"{outcome.directory} (unchanged)"
        weights = format_size(outcome.totals.bytes), format_size(outcome.totals.packed)
        cells.append([outcome.name, str(outcome.totals.files), *weights, state])
    return align_columns(cells, frozenset({0, 4}))
