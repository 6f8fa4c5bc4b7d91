"""Commands that look after the store: store check, gc, size, export, import."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cli.console import Terminal
from minbuild.cli.options import open_session, store_option

if TYPE_CHECKING:
    from minbuild.pipeline.cache_maintenance import CacheUsage


@click.group()
def store() -> None:
    """Look after the store: the cache of packages, facts and packed segments.

    It is safe to delete at any time; what a build needs is fetched or made again.
    """


@store.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@store_option
def check(as_json: bool, store: Path | None) -> int:
    """Hold every entry against its digest; damaged ones are named and removed.

    Exits with 1 when one was damaged. The next build fetches or makes it again.
    """
    from minbuild.pipeline import cache_maintenance

    terminal = Terminal()
    terminal.step("checking the store")
    checked_count, damaged = cache_maintenance.check_cache(open_session(store, terminal).store)
    terminal.finish()
    if as_json:
        document = {"schema": "minbuild.store-check/1", "checked": checked_count,
                    "damaged": [asdict(wound) for wound in damaged]}  # fmt: skip
        click.echo(json.dumps(document, indent=1))
    else:
        for wound in damaged:
            click.echo(f"damaged and removed: {wound.kind} {wound.name}")
        click.echo(f"{checked_count} entries checked, {len(damaged)} damaged")
    return int(bool(damaged))


@store.command()
@click.option("--days", default=30, show_default=True, type=click.IntRange(0),
              help="Remove what was not used for so many days.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@store_option
def gc(days: int, as_json: bool, store: Path | None) -> None:
    """Remove what has not been used for a while, and what killed builds left."""
    from minbuild.pipeline import cache_maintenance

    rows = cache_maintenance.collect_garbage(open_session(store, Terminal()).store, days=days)
    click.echo(_rows_to_json("gc", rows) if as_json else _render_rows(rows, "removed"), nl=False)


@store.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@store_option
def size(as_json: bool, store: Path | None) -> None:
    """Print what the store takes up, by kind of entry."""
    from minbuild.pipeline import cache_maintenance

    rows = cache_maintenance.measure_cache(open_session(store, Terminal()).store)
    click.echo(_rows_to_json("size", rows) if as_json else _render_rows(rows, "in all"), nl=False)


@store.command("forget-kvm")
@store_option
def forget_kvm(store: Path | None) -> None:
    """Forget what this machine's KVM did not run: it is tried anew."""
    from minbuild.lab.accel import forget_kvm_faults

    for reason in forget_kvm_faults(open_session(store, Terminal()).store):
        click.echo(f"forgotten: {reason}")


@store.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("locks", nargs=-1, required=True, metavar="LOCK...",
                type=click.Path(path_type=Path, dir_okay=False, exists=True))  # fmt: skip
@store_option
def export(file: Path, locks: tuple[Path, ...], store: Path | None) -> None:
    """Write every package of the LOCKs to FILE, for a machine without a network."""
    from minbuild.pipeline import cache_maintenance

    terminal = Terminal()
    count = cache_maintenance.export_packages(
        open_session(store, terminal).store, file, locks, terminal
    )
    terminal.finish()
    click.echo(f"wrote {count} packages, {file.stat().st_size:,} bytes, to {file}")


@store.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@store_option
def import_file(file: Path, store: Path | None) -> None:
    """Take the packages of FILE into the store; each is checked by its SHA-256."""
    from minbuild.pipeline import cache_maintenance

    terminal = Terminal()
    count = cache_maintenance.import_exported_packages(
        open_session(store, terminal).store, file, terminal
    )
    terminal.finish()
    click.echo(f"took {count} packages from {file}")


def _rows_to_json(name: str, rows: "Sequence[CacheUsage]") -> str:
    document = {"schema": f"minbuild.store-{name}/1", "rows": [asdict(row) for row in rows]}
    return json.dumps(document, indent=1) + "\n"


def _render_rows(rows: "Sequence[CacheUsage]", total: str) -> str:
    cells = [(row.kind, row.entries, row.bytes) for row in rows]
    cells.append((total, sum(row.entries for row in rows), sum(row.bytes for row in rows)))
    return "".join(f"{kind:<8} {entries:>8,} {size:>16,} bytes\n" for kind, entries, size in cells)


COMMANDS = (store,)
