"""Commands that help to write manifests: components, schema, guest, hardware, elements."""

import json
from pathlib import Path

import click

from minbuild.archive.lockfile import lock_json_schema
from minbuild.cli.console import get_terminal_width, print_message
from minbuild.cli.format_arguments import STDOUT
from minbuild.cli.options import complete
from minbuild.cli.output_options import (
    json_option,
    refuse_json_beside,
    render_json,
    write_text,
)
from minbuild.data import data_directory
from minbuild.file_io import write_atomic
from minbuild.manifest.component_description import build_manifest_schema, describe_component
from minbuild.manifest.components import list_components
from minbuild.manifest.grammar import DocumentKind, build_json_schema
from minbuild.manifest.guest_document import load_guest, render_guest_conf
from minbuild.pipeline.modaliases import list_modaliases
from minbuild.report.component import component_to_json, render_component


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="Output file.  [default: stdout]")  # fmt: skip
@click.option("--sys", "top", type=click.Path(path_type=Path, file_okay=False, exists=True),
              default=Path("/sys"), show_default=True, help="Where sysfs is mounted.")  # fmt: skip
@json_option
def hardware(output: Path | None, top: Path, as_json: bool) -> int:
    """List the devices of this running machine, for `kernel: {hardware: FILE}` of a manifest.

    One modalias a line. A host made with the list has the drivers of these devices and no others.
    """
    text = list_modaliases(top)
    if as_json:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        text_json = render_json("hardware", aliases=lines)
        write_text(output or STDOUT, text_json)
    elif output is None:
        click.echo(text, nl=False)
    else:
        write_atomic(output, text.encode())
        print_message(f"wrote {output}: {text.count(chr(10)) - 1} kinds of devices", err=False)
    return 0


@click.command()
def elements() -> None:
    """Print the directory of the diskimage-builder elements that come with minbuild.

    Use it as ELEMENTS_PATH=$(minbuild elements).
    """
    click.echo(data_directory("elements"))


@click.command()
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete("components"))
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
    if name is not None:
        click.echo(_render_component(name, directories, as_json=as_json), nl=False)
        return

    listed = list_components(directories)
    if as_json:
        rows = [
            {"schema": "minbuild.component-summary/1", "name": component.name, "section": str(component.section), "summary": component.summary,
             "needs": list(component.needs)}
            for component in listed
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=1))
        return
    widest = max((len(component.name) for component in listed), default=0)
    for component in listed:
        click.echo(f"{component.name:<{widest}}  {component.summary}")


def _render_component(name: str, directories: tuple[Path, ...], *, as_json: bool) -> str:
    """All that there is to say of one component."""
    description = describe_component(name, directories)
    if as_json:
        return json.dumps(component_to_json(description), indent=1, ensure_ascii=False) + "\n"
    return render_component(description, get_terminal_width())


@click.command()
@click.argument("kind", type=click.Choice(["manifest", "component", "tool", "rules", "lock"]),
                default="manifest")  # fmt: skip
def schema(kind: str) -> None:
    """Print the JSON Schema of manifests, or of another KIND of file, for editors."""
    match kind:
        case "lock":
            document = lock_json_schema()
        case "manifest":
            document = build_manifest_schema()
        case _:
            document = build_json_schema(DocumentKind(kind))
    click.echo(json.dumps(document, indent=1, sort_keys=True))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Output file; - for stdout.  [default: guest.conf beside FILE]")  # fmt: skip
@json_option
def guest(file: Path, output: Path | None, as_json: bool) -> None:
    """Write the guest.conf of a virtual machine that FILE (guest.yaml) describes.

    Copy the directory with it to guests/NAME on the host's data partition.
    """
    target = output or file.with_name("guest.conf")
    refuse_json_beside(target, as_json=as_json)
    write_text(target, render_guest_conf(load_guest(file)), announce=False)
    if as_json:
        click.echo(render_json("guest", files=[target]), nl=False)
    elif str(target) != STDOUT:
        print_message(
            f"wrote {target}; it belongs to guests/NAME on the host's data partition", err=False
        )
