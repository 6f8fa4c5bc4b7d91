"""How several builds at once are asked for and shown."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli.outputs import write
from minbuild.cli.terminal import Terminal, complain

if TYPE_CHECKING:
    from minbuild.build.many import Outcome
    from minbuild.build.request import Doors, Request


def make_many(
    requests: "Sequence[Request]",
    doors: "Doors",
    terminal: Terminal,
    given: Mapping[str, str | None],
    **how: Any,
) -> int:
    """Build several manifests, print one table, and return the exit code of the first failure."""
    from minbuild.build.many import make_all

    outcomes = make_all(requests, doors, **how)
    terminal.done()
    renders = {
        "text": lambda: "\n".join(_table(outcomes)) + "\n",
        "json": lambda: json.dumps([_row(one) for one in outcomes], indent=1) + "\n",
    }
    write(renders, given)
    errors = [(one.name, one.error) for one in outcomes if one.error is not None]
    for name, error in errors:
        click.echo(f"{name}:", err=True)
        complain(error)
    return errors[0][1].exit_code if errors else 0


def _row(one: "Outcome") -> dict[str, object]:
    row: dict[str, object] = {"name": one.name, "seconds": round(one.seconds, 3)}
    if one.totals is not None:
        row |= {"files": one.totals.files, "bytes": one.totals.bytes, "packed": one.totals.packed}
        row |= {"directory": str(one.directory), "fresh": one.fresh}
    if one.error is not None:
        row |= {"error": one.error.what, "exit_code": one.error.exit_code}
    return row


def _table(outcomes: "Sequence[Outcome]") -> list[str]:
    from minbuild.report.fit import columns
    from minbuild.report.units import size

    cells = [["build", "files", "installed", "packed", ""]]
    for one in outcomes:
        if one.totals is None:
            cells.append([one.name, "", "", "", "failed"])
            continue
        state = str(one.directory) if one.fresh else f"{one.directory} (unchanged)"
        weights = size(one.totals.bytes), size(one.totals.packed)
        cells.append([one.name, str(one.totals.files), *weights, state])
    return columns(cells, frozenset({0, 4}))
