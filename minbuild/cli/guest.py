"""Commands about virtual machines: guest."""

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Write there; - for stdout.  [default: guest.conf beside FILE]")  # fmt: skip
def guest(file: Path, output: Path | None) -> None:
    """Write the guest.conf of a virtual machine that FILE (guest.yaml) describes.

    Copy the directory with it to guests/NAME on the host's data partition.
    """
    from minbuild.cli.outputs import write
    from minbuild.cli.words import STDOUT
    from minbuild.manifest.guest import load_guest, render

    text = render(load_guest(file))
    place = output or file.with_name("guest.conf")
    write({"text": lambda: text}, {"out_text": str(place)}, tell=False)
    if str(place) != STDOUT:
        click.echo(f"wrote {place}; it belongs to guests/NAME on the host's data partition")


COMMANDS = (guest,)
