"""Commands that help to write manifests: components, schema, init."""

import json
from pathlib import Path

import click

from minbuild.cli import completion as shell
from minbuild.cli.terminal import width
from minbuild.errors import ToolError, UsageError


@click.command()
@click.argument("name", required=False, metavar="[NAME]", shell_complete=shell.components)
@click.option("--components", "directories", multiple=True,
              type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
              help="List these components too; may be repeated.")  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Print a list of objects; of NAME, one object."
)
def components(name: str | None, directories: tuple[Path, ...], as_json: bool) -> None:
    """List the components that ship, each with its section and a one-line summary.

    With NAME (ssh, services/ssh): what it needs, its variables with their defaults and meaning,
    and what it brings and proves.
    """
    from minbuild.manifest.components import listing

    if name is not None:
        click.echo(_page(name, directories, as_json=as_json), nl=False)
        return

    listed = listing(directories)
    if as_json:
        rows = [
            {"name": one.name, "section": str(one.section), "summary": one.summary,
             "needs": list(one.needs)}
            for one in listed
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=1))
        return
    widest = max((len(one.name) for one in listed), default=0)
    for one in listed:
        click.echo(f"{one.name:<{widest}}  {one.summary}")


def _page(name: str, directories: tuple[Path, ...], *, as_json: bool) -> str:
    """All that there is to say of one component."""
    from minbuild.manifest.described import describe
    from minbuild.report import component

    found = describe(name, directories)
    if as_json:
        return json.dumps(component.as_document(found), indent=1, ensure_ascii=False) + "\n"
    return component.as_text(found, width())


@click.command()
@click.argument("kind", type=click.Choice(["manifest", "component", "tool", "rules", "lock"]),
                default="manifest")  # fmt: skip
def schema(kind: str) -> None:
    """Print the JSON Schema of manifests, or of another KIND of file, for editors and checkers."""
    from minbuild.archive import lockfile
    from minbuild.manifest.schema import DocumentKind
    from minbuild.manifest.schema import schema as made

    found = lockfile.schema() if kind == "lock" else made(DocumentKind(kind))
    click.echo(json.dumps(found, indent=1, sort_keys=True))


@click.command()
@click.option("--from", "origin", metavar="NAME", shell_complete=shell.shipped_names,
              help="Begin with a manifest that ships: edge; FILE is then NAME.yaml.")  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def init(origin: str | None, file: Path | None) -> None:
    """Write a commented starter manifest to FILE (host.yaml; - for stdout); a file that is there stays."""
    from minbuild.cli.words import STDOUT
    from minbuild.manifest.starter import copied, starter

    place = file or Path(f"{origin or 'host'}.yaml")
    is_printed = str(place) == STDOUT
    stem = (origin or "host") if is_printed else place.stem
    text = starter(stem) if origin is None else copied(origin, stem)
    if is_printed:
        click.echo(text, nl=False)
        return
    try:
        with place.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError as error:
        raise UsageError(
            "there is a file already, and init does not replace it",
            where=str(place),
            fix="name another file: minbuild init my-host.yaml",
        ) from error
    except OSError as error:
        raise ToolError(
            f"cannot write: {error.strerror}", where=str(place), fix="name a place you may write to"
        ) from error
    click.echo(f"wrote {place}; build it with: minbuild make {place}")


COMMANDS = (components, schema, init)
