"""The command that keeps the footprints of past builds: history."""

from pathlib import Path

import click

from minbuild.cli.options import image_options, read_input
from minbuild.cli.output_options import write_formats
from minbuild.errors import UsageError


@click.group()
def history() -> None:
    """Keep the footprints of past builds, and show their trend."""


@history.command()
@click.argument("image")
@click.option("--file", "place", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True)  # fmt: skip
@click.option("--label", required=True, help="What this build is called: a commit, a version.")
@image_options
def append(image: str, place: Path, label: str) -> None:
    """Add the totals of IMAGE as one JSON line."""
    from minbuild.cli.footprints import open_footprint
    from minbuild.report.history import make_point, point_to_json, read_history

    before = read_input(place) if place.exists() else ""
    read_history(before, str(place))
    text = before + point_to_json(make_point(open_footprint(image), label))
    write_formats({"text": lambda: text}, {"out_text": str(place)})


@history.command()
@click.option("--file", "place", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True)  # fmt: skip
@click.option("--html", "page", metavar="FILE", help="Write a page with charts; - for stdout.")
def show(place: Path, page: str | None) -> None:
    """Print the trend: a sparkline for each measure, then the builds."""
    from minbuild.report import history as past

    if not place.exists():
        raise UsageError(
            "there is no history yet",
            where=str(place),
            fix="begin one after a build: minbuild history append build/host --label COMMIT",
        )
    points = past.read_history(read_input(place), str(place))
    write_formats(
        {
            "text": lambda: past.render_history(points),
            "html": lambda: past.render_history_html(points),
        },
        {"out_text": None, "out_html": page},
    )
