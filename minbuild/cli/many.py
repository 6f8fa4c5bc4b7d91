"""How several builds at once are asked for and shown."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli.terminal import Terminal, complain

if TYPE_CHECKING:
    from minbuild.build.many import Outcome
    from minbuild.build.request import Doors, Request


def make_many(
    requests: "Sequence[Request]", doors: "Doors", terminal: Terminal, *, as_json: bool, **how: Any
) -> int:
    """Build several manifests, print one table, and return the exit code of the first failure."""
    from minbuild.build.many import make_all
    from minbuild.build.verdict import judge
    from minbuild.errors import MinbuildError

    outcomes = make_all(requests, doors, **how)
    terminal.done()
    if as_json:
        click.echo(json.dumps([_row(one) for one in outcomes], indent=1))
    else:
        click.echo("\n".join(_table(outcomes)))
    codes = []
    for one in outcomes:
        try:
            if one.error is not None:
                raise one.error
            if one.built is not None:
                judge(one.built.manifest, one.built.footprint.totals)
        except MinbuildError as error:
            click.echo(f"{one.name}:", err=True)
            complain(error)
            codes.append(error.exit_code)
    return codes[0] if codes else 0


def _row(one: "Outcome") -> dict[str, object]:
    row: dict[str, object] = {"name": one.name, "seconds": round(one.seconds, 3)}
    if one.built is not None:
        totals = one.built.footprint.totals
        row |= {"files": totals.files, "bytes": totals.bytes, "packed": totals.packed}
        row |= {"directory": str(one.built.directory), "fresh": one.built.fresh}
    if one.error is not None:
        row |= {"error": one.error.what, "exit_code": one.error.exit_code}
    return row


def _table(outcomes: "Sequence[Outcome]") -> list[str]:
    from minbuild.report.units import columns, size

    cells = [["build", "files", "installed", "packed", ""]]
    for one in outcomes:
        if one.built is None:
            cells.append([one.name, "", "", "", "failed"])
            continue
        totals = one.built.footprint.totals
        state = (
            str(one.built.directory) if one.built.fresh else f"{one.built.directory} (unchanged)"
        )
        cells.append([one.name, str(totals.files), size(totals.bytes), size(totals.packed), state])
    return columns(cells, frozenset({0, 4}))
