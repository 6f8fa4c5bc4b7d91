"""Command that pins packages: lock."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from minbuild.archive.lockfile import LockChange
from minbuild.cli.options import BuildOptions, GatheringCommand, build_options, complete
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.pipeline.lock_update import (
    LockProposal,
    OutdatedPackage,
    fetch_locked,
    list_outdated,
    propose_lock,
    write_proposal,
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
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
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
        total = sum(package.size for package in fetched)
        click.echo(f"the store has all {len(fetched)} packages of the lock, {total:,} bytes")
        return 0
    proposal = propose_lock(request, session, update=update, only=packages)
    terminal.finish()
    click.echo(_proposal_to_json(proposal) if as_json else _render_proposal(proposal), nl=False)
    if not dry_run:
        write_proposal(proposal)
        if proposal.before != proposal.after:
            click.echo(f"wrote {proposal.lock_path}", err=True)
    return 0


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
    document = {
        "schema": "minbuild.lock-change/1",
        "changes": [asdict(one) for one in proposal.changes],
        "footprint": {
            "before": asdict(proposal.size_before) if proposal.size_before else None,
            "after": asdict(proposal.size_after),
        },
    }
    return json.dumps(document, indent=1) + "\n"


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
    document = {"schema": "minbuild.lock-check/1", "newer": [asdict(one) for one in rows]}
    return json.dumps(document, indent=1) + "\n"


def _pick_sign(change: LockChange) -> str:
    return "~" if change.before and change.after else "+" if change.after else "-"


def _render_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
