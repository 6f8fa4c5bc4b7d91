"""Commands that look at what was built: report, why."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.footprint.types import Footprint


@click.command()
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option("--top", default=10, show_default=True, help="Largest files to list; 0: all.")
@click.option(
    "--by",
    type=click.Choice(["section", "component", "package", "directory"]),
    default="section",
    show_default=True,
    help="What the table sums up.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the footprint document itself.")
def report(image: Path | None, top: int, by: str, as_json: bool) -> None:
    """Print the footprint of IMAGE: a build directory or a footprint.json.

    Without IMAGE: the only build below ./build.
    """
    from minbuild.footprint import document
    from minbuild.report.text import page

    footprint = _footprint(image)
    if as_json:
        click.echo(document.render(footprint), nl=False)
    else:
        click.echo(page(footprint, top=top, by=by), nl=False)


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[IMAGE] PATH")
@click.option("--all", "every", is_flag=True, help="Every reason, not only the shortest.")
@click.option("--json", "as_json", is_flag=True, help="Print the chains as JSON.")
def why(words: tuple[str, ...], every: bool, as_json: bool) -> int:
    """Say why PATH is in IMAGE: the chain of needs from a component down to it, with evidence.

    IMAGE is a build directory or a footprint.json; without it, the only build below ./build.
    Exits with 1 when PATH is not in the image.
    """
    from minbuild.paths import rootpath
    from minbuild.report import why as reasons

    if len(words) > 2:
        raise UsageError(
            "why takes one image and one path", fix="minbuild why build/host /usr/bin/vm"
        )
    footprint = _footprint(Path(words[0]) if len(words) == 2 else None)
    answer = reasons.explain(footprint, rootpath(words[-1]), every=every)
    click.echo(reasons.as_json(answer) if as_json else reasons.as_text(answer), nl=False)
    return 0 if answer.chains else 1


def _footprint(image: Path | None) -> "Footprint":
    """Read the footprint of a build directory, of a file, or of the only build there is."""
    from minbuild.footprint import document

    path = image if image is not None else _only_build()
    if path.is_dir():
        path /= "footprint.json"
    try:
        return document.read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read a footprint: {error.strerror if isinstance(error, OSError) else error}",
            where=str(path),
            fix="name a build directory (build/host) or a footprint.json",
        ) from error


def _only_build() -> Path:
    found = sorted(Path("build").glob("*/footprint.json"))
    if len(found) == 1:
        return found[0]
    raise UsageError(
        "there are several builds below ./build" if found else "there is no build below ./build",
        fix="name one of " + ", ".join(str(path.parent) for path in found)
        if found
        else "build one first (minbuild make host.yaml), or name its directory",
    )


COMMANDS = (report, why)
