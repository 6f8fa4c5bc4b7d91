"""Commands for installed roots and diskimage-builder: export, trim."""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import click

from minbuild.cli.console import get_terminal_width, print_message
from minbuild.cli.format_arguments import STDOUT
from minbuild.cli.options import BuildOptions, GatheringCommand, build_options, complete
from minbuild.cli.output_options import json_option, refuse_json_beside, render_json
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.dib import build_export
from minbuild.dib.build_export import read_build_directory
from minbuild.errors import UsageError
from minbuild.file_io import open_atomic
from minbuild.pipeline import root_trim
from minbuild.pipeline.build import plan_build
from minbuild.report.text import render_text


@click.command(cls=GatheringCommand)
@click.argument("source", metavar="MANIFEST|BUILD", shell_complete=complete("sources"))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              default=Path(STDOUT), help="Tar file to write.  [default: stdout]")  # fmt: skip
@json_option
@build_options
def export(source: str, output: Path, as_json: bool, build: BuildOptions) -> None:
    """Write the files of a host as a tar archive, with the kernel below /boot.

    BUILD is a directory that `minbuild make` wrote; its image is unpacked. A MANIFEST is resolved.
    """
    refuse_json_beside(output, as_json=as_json)
    terminal = Terminal()
    if Path(source).is_dir():
        build_directory = read_build_directory(Path(source))
        nodes, content = build_directory.nodes, build_directory.content
    else:
        session = open_session(build.store, terminal)
        nodes = plan_build(build_request(source, build), session).tree.nodes
        content = session.store.require
    terminal.finish()
    with _open_output(output) as out:
        build_export.write_root_tar(nodes, content, out)
    if str(output) != STDOUT:
        size = output.stat().st_size
        print_message(f"wrote {output}: {size:,} bytes")
        if as_json:
            click.echo(render_json("export", file=output, bytes=size), nl=False)


@click.command(cls=GatheringCommand)
@click.argument(
    "top", metavar="ROOT", type=click.Path(path_type=Path, file_okay=False, exists=True)
)
@click.argument("manifest", shell_complete=complete("manifests"))
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Write footprint.json and why.txt to this directory.")  # fmt: skip
@click.option("--keep", multiple=True, metavar="DIR",
              help="Keep this directory of the root with all its files; may be repeated.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and change nothing.")
@json_option
@build_options
def trim(top: Path, manifest: str, output: Path | None, keep: tuple[str, ...], dry_run: bool,
         as_json: bool, build: BuildOptions) -> None:  # fmt: skip
    """Trim the installed root in the directory ROOT to what MANIFEST needs, in place.

    Any installer will do (apt, dnf, zypper, emerge): files are found by path. Files that the
    manifest renders are added. File systems mounted on the root are kept.
    """
    terminal = Terminal()
    request = build_request(manifest, replace(build, root=top))
    session = open_session(build.store, terminal)
    result = root_trim.trim_root(top, request, session, keep=keep, dry_run=dry_run)
    if output is not None:
        root_trim.write_reports(result, output)
    terminal.finish()
    if as_json:
        document = render_json(
            "trim", root=top, dry_run=dry_run, files=result.files, bytes=result.bytes,
            removed=result.removed, files_after=result.footprint.totals.files,
            bytes_after=result.footprint.totals.bytes,
        )  # fmt: skip
        click.echo(document, nl=False)
        return
    click.echo(render_text(result.footprint, top=10, width=get_terminal_width()), nl=False)
    after = result.footprint.totals
    click.echo(
        f"\n{'would trim' if dry_run else 'trimmed'} {top}: "
        f"{result.files:,} files, {result.bytes:,} bytes → {after.files:,} files, "
        f"{after.bytes:,} bytes ({result.removed:,} paths removed)"
    )


def _open_output(output: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """Stdout, or a file that appears whole or not at all."""
    if str(output) != STDOUT:
        return open_atomic(output)
    if sys.stdout.isatty():
        raise UsageError(
            "refusing to write a tar archive to a terminal", fix="name a file: -o host.tar"
        )
    return contextlib.nullcontext(sys.stdout.buffer)
