"""Command that resolves a manifest without building it: plan."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from minbuild.cli.options import BuildOptions, build_options, complete
from minbuild.cli.output_files import FormatTargets, Renderer, find_text_width, write_formats
from minbuild.cli.output_options import FormatOptionsCommand, output_options
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.explain.removal import rank_removals, remove_selected
from minbuild.footprint import document
from minbuild.footprint.boot_trace import TraceSummary
from minbuild.pipeline.boot_records import read_last_trace
from minbuild.pipeline.build import Plan, plan_build
from minbuild.pipeline.rootfs_checks import explain_missing_init
from minbuild.report import removals
from minbuild.report.layout import wrap_text
from minbuild.report.text import render_possible_data, render_possible_dlopens, render_text
from minbuild.report.unused_files import render_drop_candidates


@click.command(cls=FormatOptionsCommand)
@click.argument("manifest", shell_complete=complete("manifests"))
@click.option("--without", multiple=True, shell_complete=complete("components"), metavar="NAME",
              help="Show what would be removed, what would break and how much it saves without "
              "this path, component or package.")  # fmt: skip
@click.option("--suggest", is_flag=True, help="Rank the removals that would save most.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Largest files to list; 0: all.")  # fmt: skip
@output_options("text", "json")
@build_options
def plan(
    manifest: str, without: tuple[str, ...], suggest: bool, top: int, targets: FormatTargets,
    build: BuildOptions,
) -> int:  # fmt: skip
    """Resolve MANIFEST and print what would be in the image, without building it."""
    terminal = Terminal()
    planned = plan_build(build_request(manifest, build), open_session(build.store, terminal))
    for text in explain_missing_init(planned.tree, planned.resolved.manifest):
        terminal.note(text)
    terminal.finish()
    columns = find_text_width(targets)
    trace = read_last_trace(Path("build") / planned.footprint.name)
    if without:
        as_text, as_json = _render_removal(planned, without, columns)
    elif suggest:
        as_text, as_json = _render_suggestions(planned, trace, top, columns)
    else:
        as_text = partial(_render_plan, planned, trace, top=top, columns=columns)
        as_json = partial(document.render_footprint, planned.footprint)
    unused_text = render_drop_candidates(trace) if suggest and trace is not None else ""
    write_formats({"text": lambda: as_text() + unused_text, "json": as_json}, targets)
    return 0


def _render_plan(planned: Plan, trace: TraceSummary | None, *, top: int, columns: int) -> str:
    """The page of a plan: its footprint, and what it may lack."""
    missed_paths = None if trace is None else frozenset(row.path for row in trace.missed)
    return (
        render_text(planned.footprint, top=top, width=columns)
        + render_possible_dlopens(planned.resolved.closure.unexplained_sonames, columns)
        + render_possible_data(planned.footprint.possible_data, missed_paths, columns)
    )


def _list_needs(planned: Plan) -> Mapping[str, tuple[str, ...]]:
    """Each component of the manifest → the components that it needs."""
    return {one.name: one.needs for one in planned.resolved.manifest.components}


def _render_removal(
    planned: Plan, without: tuple[str, ...], columns: int
) -> tuple[Renderer, Renderer]:
    """What the host would be without something: text and JSON."""
    footprint = planned.footprint
    result = remove_selected(footprint, without, _list_needs(planned))
    return (
        lambda: wrap_text(removals.render_removal(footprint, without, result), columns),
        lambda: removals.render_removal_json(footprint, without, result),
    )


def _render_suggestions(
    planned: Plan, trace: TraceSummary | None, top: int, columns: int
) -> tuple[Renderer, Renderer]:
    """What the host might do without: text and JSON."""
    if top < 1:
        raise UsageError("--suggest needs a number of lines", fix="give one: --top 10")
    footprint = planned.footprint
    suggestions = rank_removals(footprint, _list_needs(planned), top)
    losses = {
        component.name: component.summary
        for component in planned.resolved.manifest.components
        if component.summary
    }
    opened_paths = frozenset(map(str, trace.used)) if trace is not None else None
    return (
        lambda: wrap_text(
            removals.render_suggestions(footprint, suggestions, losses, opened_paths), columns
        ),
        lambda: removals.render_suggestions_json(footprint, suggestions, losses, opened_paths),
    )
