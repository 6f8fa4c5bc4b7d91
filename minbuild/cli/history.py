"""Commands that keep the footprints of past builds: history append, history show."""

from pathlib import Path

import click

from minbuild.cli.footprints import open_footprint
from minbuild.cli.options import image_options
from minbuild.cli.output_files import write_formats, write_text
from minbuild.cli.requests import read_input
from minbuild.errors import UsageError
from minbuild.footprint.history import make_point, point_to_json, read_history
from minbuild.report.history import render_history, render_history_html


@click.group()
def history() -> None:
    """Keep the footprints of past builds, and show their trend."""


@history.command()
@click.argument("image")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True,
              help="File of the totals, one line a build.")  # fmt: skip
@click.option("--label", required=True, help="Name of this build: a commit, a version.")
@image_options
def append(image: str, file: Path, label: str) -> None:
    """Add the totals of IMAGE as one JSON line."""
    before = read_input(file) if file.exists() else ""
    read_history(before, str(file))
    write_text(file, before + point_to_json(make_point(open_footprint(image), label)))


@history.command()
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True,
              help="File of the totals, one line a build.")  # fmt: skip
@click.option("--html", "page", metavar="FILE", help="Write a page with charts; - for stdout.")
def show(file: Path, page: str | None) -> None:
    """Print the trend: a sparkline for each measure, then the builds."""
    if not file.exists():
        raise UsageError(
            "there is no history yet",
            where=str(file),
            fix="start one after a build: minbuild history append build/host --label COMMIT",
        )
    points = read_history(read_input(file), str(file))
    write_formats(
        {"text": lambda: render_history(points), "html": lambda: render_history_html(points)},
        {"html": page},
    )
