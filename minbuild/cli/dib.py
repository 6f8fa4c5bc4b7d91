"""Commands for diskimage-builder: elements, export, trim."""

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from minbuild.cli import completion as shell
from minbuild.cli.console import Terminal, get_terminal_width
from minbuild.cli.options import build_options, build_request, open_session


@click.command()
def elements() -> None:
    """Print the directory of the diskimage-builder elements that come with minbuild.

    Use it as ELEMENTS_PATH=$(minbuild elements).
    """
    from minbuild.data import data_directory

    click.echo(data_directory("elements"))


@click.command()
@click.argument("source", metavar="MANIFEST|BUILD", shell_complete=shell.complete_sources)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              default=Path("-"), help="Tar file to write.  [default: stdout]")  # fmt: skip
@build_options
def export(source: str, output: Path, store: Path | None, **build_args: Any) -> None:
    """Write the files of a host as a tar, the kernel in its place below /boot.

    BUILD is a folder that `minbuild make` wrote; its image is unpacked. A MANIFEST is resolved.
    """
    from minbuild.dib import root_tar
    from minbuild.dib.build_directory import read_build_directory

    terminal = Terminal()
    if Path(source).is_dir():
        build_directory = read_build_directory(Path(source))
        nodes, content = build_directory.nodes, build_directory.content
    else:
        from functools import partial

        from minbuild.image import initramfs_segments
        from minbuild.pipeline import build

        session = open_session(store, terminal)
        nodes = build.plan_build(build_request(source, **build_args), session).tree.nodes
        content = partial(initramfs_segments.read_content, session.store)
    terminal.finish()
    with _open_output(output) as out:
        root_tar.write_root_tar(nodes, content, out)
    if str(output) != "-":
        click.echo(f"wrote {output}: {output.stat().st_size:,} bytes", err=True)


@click.command()
@click.argument(
    "top", metavar="ROOT", type=click.Path(path_type=Path, file_okay=False, exists=True)
)
@click.argument("manifest", shell_complete=shell.complete_manifests)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Write footprint.json and why.txt to this directory.")  # fmt: skip
@click.option("--keep", multiple=True, metavar="DIR",
              help="Keep this directory of the root with all it holds; may be repeated.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@build_options
def trim(top: Path, manifest: str, output: Path | None, keep: tuple[str, ...], dry_run: bool,
         store: Path | None, **build_args: Any) -> None:  # fmt: skip
    """Trim the installed root in the directory ROOT to what MANIFEST needs, in place.

    Whatever installed it (apt, dnf, zypper, emerge): files are found by path. What the manifest
    renders is added. What is mounted on the root stays.
    """
    from minbuild.pipeline import root_trim
    from minbuild.report.text import render_text

    terminal = Terminal()
    build_args["root"] = top
    result = root_trim.trim_root(top, build_request(manifest, **build_args), open_session(store, terminal),
                            keep=keep, dry_run=dry_run)  # fmt: skip
    if output is not None:
        root_trim.write_reports(result, output)
    terminal.finish()
    click.echo(render_text(result.footprint, top=10, width=get_terminal_width()), nl=False)
    after = result.footprint.totals
    click.echo(
        f"\n{'would trim' if dry_run else 'trimmed'} {top}: "
        f"{result.files:,} files, {result.bytes:,} bytes → {after.files:,} files, "
        f"{after.bytes:,} bytes ({result.removed:,} paths removed)"
    )


def _open_output(output: Path) -> Any:
    """Stdout, or a file that appears whole or not at all."""
    import contextlib

    from minbuild.errors import UsageError
    from minbuild.file_io import open_atomic

    if str(output) != "-":
        return open_atomic(output)
    if sys.stdout.isatty():
        raise UsageError("a tar is not for a terminal", fix="name a file: -o host.tar")
    stdout: BinaryIO = sys.stdout.buffer
    return contextlib.nullcontext(stdout)


COMMANDS = (elements, export, trim)
