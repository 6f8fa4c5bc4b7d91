"""Pages of builds: the footprint of one, a table of several."""

import json
from collections.abc import Sequence
from dataclasses import replace

import click

from minbuild.cache.store import Store
from minbuild.cli.console import print_error
from minbuild.cli.output_options import FormatTargets, find_text_width, write_formats
from minbuild.footprint.budget_check import check_manifest_limits
from minbuild.pipeline.batch import BuildOutcome
from minbuild.pipeline.size_budget import check_size_budget
from minbuild.pipeline.up_to_date import BuildResult, record_page
from minbuild.report.layout import align_columns, format_size
from minbuild.report.text import render_budget, render_named_paths, render_text


def show_build(built: BuildResult, targets: FormatTargets, store: Store, *, top: int) -> int:
    """Write what was asked for of one build, and keep the page that the next one shows.

    That one shows it when nothing has changed and this one is within its budget.
    Raises: CheckFailed for a build over its budget.
    """
    columns = find_text_width(targets)
    body = _render_build(built, top=top, columns=columns)
    page = body + _describe_outputs(built)
    write_formats({"text": lambda: page, "json": built.read_document}, targets)
    check_size_budget(built.manifest, built.footprint.totals)
    unchanged = replace(built, rebuilt=False)
    record_page(store, built, body + _describe_outputs(unchanged), top=top, columns=columns)
    return 0


def _render_build(built: BuildResult, *, top: int, columns: int) -> str:
    """The page of a build: its footprint, what it lacks, and its budget."""
    footprint = built.footprint
    return (
        render_text(footprint, top=top, width=columns)
        + render_named_paths(footprint.possible_data)
        + render_budget(check_manifest_limits(built.manifest, footprint.totals))
    )


def _describe_outputs(built: BuildResult) -> str:
    """The last line of a page: what was written, or not."""
    footprint = built.footprint
    lines = (built.directory / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    names = [line.partition("  ")[2] for line in lines]
    by_dib = [name for name in names if name.startswith(f"{footprint.name}-dib")]
    images = ", ".join([*(f"{footprint.name}.{suffix}" for suffix in footprint.packed), *by_dib])
    verb = "wrote" if built.rebuilt else "nothing changed since the last build:"
    return f"\n{verb} {images}, footprint.json, the lock and SHA256SUMS in {built.directory}/\n"


def show_outcomes(outcomes: Sequence[BuildOutcome], targets: FormatTargets) -> int:
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


def _outcome_to_json(outcome: BuildOutcome) -> dict[str, object]:
    row: dict[str, object] = {
        "schema": "minbuild.build/1",
        "name": outcome.name,
        "seconds": round(outcome.seconds, 3),
    }
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


def _render_outcomes(outcomes: Sequence[BuildOutcome]) -> list[str]:
    cells = [["build", "files", "installed", "packed", ""]]
    for outcome in outcomes:
        if outcome.totals is None:
            cells.append([outcome.name, "", "", "", "failed"])
            continue
        state = str(outcome.directory) if outcome.rebuilt else f"{outcome.directory} (unchanged)"
        weights = format_size(outcome.totals.bytes), format_size(outcome.totals.packed)
        cells.append([outcome.name, str(outcome.totals.files), *weights, state])
    return align_columns(cells, frozenset({0, 4}))
