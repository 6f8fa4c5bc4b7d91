"""Commands that help to write manifests: components, schema, init."""

import json
from pathlib import Path

import click

from minbuild.errors import ToolError, UsageError


@click.command()
@click.option("--components", "directories", multiple=True,
              type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
              help="List these components too; may be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def components(directories: tuple[Path, ...], as_json: bool) -> None:
    """List the components that ship, each with its section and a one-line summary."""
    from minbuild.manifest.components import listing

    listed = listing(directories)
    if as_json:
        rows = [
            {"name": one.name, "section": str(one.section), "summary": one.summary,
             "needs": list(one.needs)}
            for one in listed
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=1))
        return
    width = max((len(one.name) for one in listed), default=0)
    for one in listed:
        click.echo(f"{one.name:<{width}}  {one.summary}")


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
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=Path("host.yaml"))
def init(file: Path) -> None:
    """Write a commented starter manifest to FILE (host.yaml); a file that is there stays."""
    from minbuild.manifest.starter import starter

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(starter(file.stem))
    except FileExistsError as error:
        raise UsageError(
            "there is a file already, and init does not replace it",
            where=str(file),
            fix="name another file: minbuild init my-host.yaml",
        ) from error
    except OSError as error:
        raise ToolError(
            f"cannot write: {error.strerror}", where=str(file), fix="name a place you may write to"
        ) from error
    click.echo(f"wrote {file}; build it with: minbuild make {file}")


COMMANDS = (components, schema, init)
