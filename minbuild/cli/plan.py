"""Commands that resolve a manifest without building it: plan, lock."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from minbuild.archive.lockfile import LockChange
from minbuild.archive.model import Package
from minbuild.cli.console import print_message
from minbuild.cli.options import BuildOptions, GatheringCommand, build_options, complete
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    FormatTargets,
    Renderer,
    find_text_width,
    json_option,
    output_options,
    render_json,
    write_formats,
)
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.explain.removal import rank_removals, remove_selected
from minbuild.footprint import document
from minbuild.footprint.boot_trace import TraceSummary
from minbuild.kconfig.needs import PREFIX
from minbuild.kconfig.removal import OptionRemoval
from minbuild.pipeline.boot_setup import read_last_trace
from minbuild.pipeline.build import Plan, plan_build
from minbuild.pipeline.kernel_removal import simulate_option_removal
from minbuild.pipeline.lock_update import (
    LockProposal,
    OutdatedPackage,
    fetch_locked,
    list_outdated,
    propose_lock,
    write_proposal,
)
from minbuild.pipeline.rootfs_checks import explain_missing_init
from minbuild.report import kernel_option as option_report
from minbuild.report import removals
from minbuild.report.layout import wrap_text
from minbuild.report.removals import render_drop_candidates
from minbuild.report.text import render_possible_data, render_possible_dlopens, render_text


@click.command(cls=FormatOptionsCommand)
@click.argument("manifest", shell_complete=complete("manifests"))
@click.option("--without", multiple=True, shell_complete=complete("components"), metavar="NAME",
              help="Show what would be removed, what would break and how much it saves without "
              "this path, component, package or CONFIG_NAME.")  # fmt: skip
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
    request, session = build_request(manifest, build), open_session(build.store, terminal)
    planned = plan_build(request, session)
    planned_manifest = planned.resolved.manifest
    missing_init = explain_missing_init(planned.tree, planned_manifest)
    for text in (*planned_manifest.notes, *missing_init):
        terminal.note(text)
    options = simulate_option_removal(request, planned.resolved, without, session)
    terminal.finish()
    columns = find_text_width(targets)
    trace = read_last_trace(Path("build") / planned.footprint.name)
    if without:
        as_text, as_json = _render_removal(planned, without, options, columns)
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
    planned: Plan, without: tuple[str, ...], options: OptionRemoval | None, columns: int
) -> tuple[Renderer, Renderer]:
    """What the host would be without something: text and JSON."""
    footprint = planned.footprint
    words = [word for word in without if not word.startswith(PREFIX)]
    if options is not None and not words:
        return (
            lambda: wrap_text(option_report.render_option_removal(options), columns),
            lambda: option_report.render_option_removal_json(options),
        )
    result = remove_selected(footprint, words, _list_needs(planned))
    more = "" if options is None else f"\n{option_report.render_option_removal(options)}"
    parts = {} if options is None else option_report.list_removal_parts(options)
    return (
        lambda: wrap_text(removals.render_removal(footprint, words, result) + more, columns),
        lambda: removals.render_removal_json(footprint, words, result, parts),
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


@click.command(cls=GatheringCommand)
@click.argument("manifest", shell_complete=complete("manifests"))
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
@click.option("--update", is_flag=True, help="Take the newest version of PACKAGEs, or of all.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and write nothing.")
@click.option("--check", is_flag=True,
              help="List outdated packages; exit with 1 when there are any.")  # fmt: skip
@click.option("--fetch", "fetch_all", is_flag=True,
              help="Download every package of the lock into the store, for building offline.")  # fmt: skip
@json_option
@build_options
def lock(manifest: str, packages: tuple[str, ...], update: bool, dry_run: bool, check: bool,
         fetch_all: bool, as_json: bool, build: BuildOptions) -> int:  # fmt: skip
    """Pin every package of MANIFEST, and of the toolbox, in its lock.

    Without --update, packages that are pinned stay as they are; only missing ones are added. The
    changes are printed before the lock is written.
    """
    if packages and not update:
        raise UsageError(
            "PACKAGE arguments require --update",
            fix=f"minbuild lock {manifest} --update {' '.join(packages)}",
        )
    if (update or dry_run) + check + fetch_all > 1:
        raise UsageError(
            "--update, --check and --fetch do not go together", fix="run one after the other"
        )
    terminal = Terminal()
    request, session = build_request(manifest, build), open_session(build.store, terminal)
    if check:
        rows = list_outdated(request, session)
        terminal.finish()
        click.echo(_newer_to_json(rows) if as_json else _render_newer(rows), nl=False)
        return int(bool(rows))
    if fetch_all:
        fetched = fetch_locked(request, session)
        terminal.finish()
        _show_fetched(fetched, as_json=as_json)
        return 0
    proposal = propose_lock(request, session, update=update, only=packages)
    terminal.finish()
    click.echo(_proposal_to_json(proposal) if as_json else _render_proposal(proposal), nl=False)
    if not dry_run:
        write_proposal(proposal)
        if proposal.before != proposal.after:
            print_message(f"wrote {proposal.lock_path}")
    return 0


def _show_fetched(packages: Sequence[Package], *, as_json: bool) -> None:
    total = sum(package.size for package in packages)
    if as_json:
        click.echo(render_json("lock-fetch", packages=len(packages), bytes=total), nl=False)
    else:
        message = f"the store has all {len(packages)} packages of the lock, {total:,} bytes"
        print_message(message, err=False)


def _render_proposal(proposal: LockProposal) -> str:
    """A table of what changes, and what it does to the footprint."""
    if not proposal.changes:
        return "nothing to change\n"
    rows = [(_pick_sign(one), one.part, one.name, one.before or "-", one.after or "-", one.suite)
            for one in proposal.changes]  # fmt: skip
    lines = _render_table(("", "part", "package", "locked", "new", "suite"), rows)
    after_totals, before_totals = proposal.size_after, proposal.size_before
    if before_totals is None:
        lines.append(
            f"footprint: {after_totals.files} files, {after_totals.bytes:,} bytes, packed about {after_totals.packed:,}"
        )
    else:
        lines.append(
            f"footprint: {before_totals.files} -> {after_totals.files} files ({after_totals.files - before_totals.files:+d}), "
            f"{before_totals.bytes:,} -> {after_totals.bytes:,} bytes ({after_totals.bytes - before_totals.bytes:+,}), "
            f"packed about {before_totals.packed:,} -> {after_totals.packed:,} ({after_totals.packed - before_totals.packed:+,})"
        )
    lines.append(f"{len(rows)} packages change")
    return "\n".join(lines) + "\n"


def _proposal_to_json(proposal: LockProposal) -> str:
    footprint = {
        "before": asdict(proposal.size_before) if proposal.size_before else None,
        "after": asdict(proposal.size_after),
    }
    changes = [asdict(one) for one in proposal.changes]
    return render_json("lock-change", changes=changes, footprint=footprint)


def _render_newer(rows: tuple[OutdatedPackage, ...]) -> str:
    if not rows:
        return "the lock pins what the archive has\n"
    cells = [(one.part, one.name, one.locked, one.newest or "gone", one.suite,
              "security" if one.security else "") for one in rows]  # fmt: skip
    lines = _render_table(("part", "package", "locked", "newest", "suite", ""), cells)
    security = sum(one.security for one in rows)
    lines.append(f"{len(rows)} packages are not the newest, {security} of them security updates")
    return "\n".join(lines) + "\n"


def _newer_to_json(rows: tuple[OutdatedPackage, ...]) -> str:
    return render_json("lock-check", newer=[asdict(one) for one in rows])


def _pick_sign(change: LockChange) -> str:
    return "~" if change.before and change.after else "+" if change.after else "-"


def _render_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
