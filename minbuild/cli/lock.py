"""The command that pins packages: lock."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import build_options, doors_of, request_of
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.archive.changes import Change
    from minbuild.build.locking import Newer, Proposal


@click.command()
@click.argument("manifest", shell_complete=shell.manifests)
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
@click.option("--update", is_flag=True, help="Take the newest version of PACKAGEs, or of all.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and write nothing.")
@click.option("--check", is_flag=True,
              help="Print what the archive has newer; exit with 1 when there is something.")  # fmt: skip
@click.option("--fetch", "fetch_all", is_flag=True,
              help="Bring every package of the lock into the store, for building offline.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@build_options
def lock(manifest: str, packages: tuple[str, ...], update: bool, dry_run: bool, check: bool,
         fetch_all: bool, as_json: bool, store: Path | None, **build: Any) -> int:  # fmt: skip
    """Pin every package of MANIFEST, and of the toolbox, in its lock.

    Without --update, packages that are pinned stay as they are, and only what the manifest needs
    besides is added. What changes is printed before it is written.
    """
    if packages and not update:
        raise UsageError(
            "packages are named, and nothing says what to do with them",
            fix=f"minbuild lock {manifest} --update {' '.join(packages)}",
        )
    if (update or dry_run) + check + fetch_all > 1:
        raise UsageError(
            "--update, --check and --fetch do not go together", fix="run one after the other"
        )
    from minbuild.build import life

    terminal = Terminal()
    request, doors = request_of(manifest, **build), doors_of(store, terminal)
    if check:
        rows = life.newer(request, doors)
        terminal.done()
        click.echo(_checked_json(rows) if as_json else _checked(rows), nl=False)
        return int(bool(rows))
    if fetch_all:
        found = life.fetch(request, doors)
        terminal.done()
        total = sum(package.size for package in found)
        click.echo(f"the store holds all {len(found)} packages of the lock, {total:,} bytes")
        return 0
    proposal = life.propose(request, doors, update=update, only=packages)
    terminal.done()
    click.echo(_proposal_json(proposal) if as_json else _proposal(proposal), nl=False)
    if not dry_run:
        life.accept(proposal)
        if proposal.before != proposal.after:
            click.echo(f"wrote {proposal.place}", err=True)
    return 0


def _proposal(proposal: "Proposal") -> str:
    """A table of what changes, and what it does to the footprint."""
    if not proposal.changes:
        return "nothing to change\n"
    rows = [(_sign(one), one.part, one.name, one.before or "-", one.after or "-", one.suite)
            for one in proposal.changes]  # fmt: skip
    lines = _table(("", "part", "package", "locked", "new", "suite"), rows)
    now, was = proposal.becomes, proposal.was
    if was is None:
        lines.append(
            f"footprint: {now.files} files, {now.bytes:,} bytes, packed about {now.packed:,}"
        )
    else:
        lines.append(
            f"footprint: {was.files} -> {now.files} files ({now.files - was.files:+d}), "
            f"{was.bytes:,} -> {now.bytes:,} bytes ({now.bytes - was.bytes:+,}), "
            f"packed about {was.packed:,} -> {now.packed:,} ({now.packed - was.packed:+,})"
        )
    lines.append(f"{len(rows)} packages change")
    return "\n".join(lines) + "\n"


def _proposal_json(proposal: "Proposal") -> str:
    document = {
        "schema": "minbuild.lock-change/1",
        "changes": [asdict(one) for one in proposal.changes],
        "footprint": {
            "before": asdict(proposal.was) if proposal.was else None,
            "after": asdict(proposal.becomes),
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _checked(rows: "tuple[Newer, ...]") -> str:
    if not rows:
        return "the lock pins what the archive has\n"
    cells = [(one.part, one.name, one.locked, one.newest or "gone", one.suite,
              "security" if one.security else "") for one in rows]  # fmt: skip
    lines = _table(("part", "package", "locked", "newest", "suite", ""), cells)
    security = sum(one.security for one in rows)
    lines.append(f"{len(rows)} packages are not the newest, {security} of them security updates")
    return "\n".join(lines) + "\n"


def _checked_json(rows: "tuple[Newer, ...]") -> str:
    document = {"schema": "minbuild.lock-check/1", "newer": [asdict(one) for one in rows]}
    return json.dumps(document, indent=1) + "\n"


def _sign(change: "Change") -> str:
    return "~" if change.before and change.after else "+" if change.after else "-"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


COMMANDS = (lock,)
