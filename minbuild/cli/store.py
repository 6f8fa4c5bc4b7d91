"""Commands that look after the store: store check, gc, size, export, import."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cli.options import doors_of, store_option
from minbuild.cli.terminal import Terminal

if TYPE_CHECKING:
    from minbuild.build.upkeep import Row


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
    from minbuild.build import upkeep

    terminal = Terminal()
    terminal.step("checking the store")
    checked, wounds = upkeep.check(doors_of(store, terminal).store)
    terminal.done()
    if as_json:
        document = {"schema": "minbuild.store-check/1", "checked": checked,
                    "damaged": [asdict(wound) for wound in wounds]}  # fmt: skip
        click.echo(json.dumps(document, indent=1))
    else:
        for wound in wounds:
            click.echo(f"damaged and removed: {wound.kind} {wound.name}")
        click.echo(f"{checked} entries checked, {len(wounds)} damaged")
    return int(bool(wounds))


@store.command()
@click.option("--days", default=30, show_default=True, type=click.IntRange(0),
              help="Remove what was not used for so many days.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@store_option
def gc(days: int, as_json: bool, store: Path | None) -> None:
    """Remove what has not been used for a while, and what killed builds left."""
    from minbuild.build import upkeep

    rows = upkeep.collect(doors_of(store, Terminal()).store, days=days)
    click.echo(_json("gc", rows) if as_json else _table(rows, "removed"), nl=False)


@store.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@store_option
def size(as_json: bool, store: Path | None) -> None:
    """Print what the store takes up, by kind of entry."""
    from minbuild.build import upkeep

    rows = upkeep.size(doors_of(store, Terminal()).store)
    click.echo(_json("size", rows) if as_json else _table(rows, "in all"), nl=False)


@store.command("forget-kvm")
@store_option
def forget_kvm(store: Path | None) -> None:
    """Forget what this machine's KVM did not run: it is tried anew."""
    from minbuild.lab.kvm import forget

    for why in forget(doors_of(store, Terminal()).store):
        click.echo(f"forgotten: {why}")


@store.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("locks", nargs=-1, required=True, metavar="LOCK...",
                type=click.Path(path_type=Path, dir_okay=False, exists=True))  # fmt: skip
@store_option
def export(file: Path, locks: tuple[Path, ...], store: Path | None) -> None:
    """Write every package of the LOCKs to FILE, for a machine without a network."""
    from minbuild.build import carry

    terminal = Terminal()
    count = carry.export(doors_of(store, terminal).store, file, locks, terminal)
    terminal.done()
    click.echo(f"wrote {count} packages, {file.stat().st_size:,} bytes, to {file}")


@store.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@store_option
def bring(file: Path, store: Path | None) -> None:
    """Take the packages of FILE into the store; each is checked by its SHA-256."""
    from minbuild.build import carry

    terminal = Terminal()
    count = carry.bring(doors_of(store, terminal).store, file, terminal)
    terminal.done()
    click.echo(f"took {count} packages from {file}")


def _json(name: str, rows: "Sequence[Row]") -> str:
    document = {"schema": f"minbuild.store-{name}/1", "rows": [asdict(row) for row in rows]}
    return json.dumps(document, indent=1) + "\n"


def _table(rows: "Sequence[Row]", total: str) -> str:
    cells = [(row.kind, row.entries, row.bytes) for row in rows]
    cells.append((total, sum(row.entries for row in rows), sum(row.bytes for row in rows)))
    return "".join(f"{kind:<8} {entries:>8,} {size:>16,} bytes\n" for kind, entries, size in cells)


COMMANDS = (store,)
