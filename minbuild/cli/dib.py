"""Commands for diskimage-builder: elements, export, trim."""

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import build_options, doors_of, request_of
from minbuild.cli.terminal import Terminal, width


@click.command()
def elements() -> None:
    """Print the directory of the diskimage-builder elements that come with minbuild.

    Use it as ELEMENTS_PATH=$(minbuild elements).
    """
    from minbuild.shipped import shipped

    click.echo(shipped("elements"))


@click.command()
@click.argument("source", metavar="MANIFEST|BUILD", shell_complete=shell.either)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              default=Path("-"), help="Tar file to write.  [default: stdout]")  # fmt: skip
@build_options
def export(source: str, output: Path, store: Path | None, **build: Any) -> None:
    """Write the files of a host as a tar, the kernel in its place below /boot.

    BUILD is a folder that `minbuild make` wrote; its image is unpacked. A MANIFEST is resolved.
    """
    from minbuild.dib import archive, folder

    terminal = Terminal()
    if Path(source).is_dir():
        found = folder.read(Path(source))
        nodes, content = found.nodes, found.content
    else:
        from functools import partial

        from minbuild.build import life
        from minbuild.image import segments

        doors = doors_of(store, terminal)
        nodes = life.plan(request_of(source, **build), doors).tree.nodes
        content = partial(segments.content, doors.store)
    terminal.done()
    with _opened(output) as out:
        archive.write(nodes, content, out)
    if str(output) != "-":
        click.echo(f"wrote {output}: {output.stat().st_size:,} bytes", err=True)


@click.command()
@click.argument(
    "top", metavar="ROOT", type=click.Path(path_type=Path, file_okay=False, exists=True)
)
@click.argument("manifest", shell_complete=shell.manifests)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Write footprint.json and why.txt to this directory.")  # fmt: skip
@click.option("--keep", multiple=True, metavar="DIR",
              help="Keep this directory of the root with all it holds; may be repeated.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@build_options
def trim(top: Path, manifest: str, output: Path | None, keep: tuple[str, ...], dry_run: bool,
         store: Path | None, **build: Any) -> None:  # fmt: skip
    """Trim the installed root in the directory ROOT to what MANIFEST needs, in place.

    Whatever installed it (apt, dnf, zypper, emerge): files are found by path. What the manifest
    renders is added. What is mounted on the root stays.
    """
    from minbuild.build import trimming
    from minbuild.report.text import page

    terminal = Terminal()
    build["root"] = top
    trimmed = trimming.trim(top, request_of(manifest, **build), doors_of(store, terminal),
                            keep=keep, dry=dry_run)  # fmt: skip
    if output is not None:
        trimming.write(trimmed, output)
    terminal.done()
    click.echo(page(trimmed.footprint, top=10, width=width()), nl=False)
    after = trimmed.footprint.totals
    click.echo(
        f"\n{'would trim' if dry_run else 'trimmed'} {top}: "
        f"{trimmed.files:,} files, {trimmed.bytes:,} bytes → {after.files:,} files, "
        f"{after.bytes:,} bytes ({trimmed.removed:,} paths removed)"
    )


def _opened(output: Path) -> Any:
    """Stdout, or a file that appears whole or not at all."""
    import contextlib

    from minbuild.dib.archive import whole
    from minbuild.errors import UsageError

    if str(output) != "-":
        return whole(output)
    if sys.stdout.isatty():
        raise UsageError("a tar is not for a terminal", fix="name a file: -o host.tar")
    stdout: BinaryIO = sys.stdout.buffer
    return contextlib.nullcontext(stdout)


COMMANDS = (elements, export, trim)
