"""Command that prints a footprint: report."""

import click

from minbuild.cli.footprints import open_footprint
from minbuild.cli.options import complete, image_options, partition_option
from minbuild.cli.output_files import FormatTargets, find_text_width, write_formats
from minbuild.cli.output_options import FormatOptionsCommand, output_options
from minbuild.report.formats import FOOTPRINT_FORMATS, FootprintReport, list_footprint_renderers


@click.command(cls=FormatOptionsCommand)
@click.argument("image", required=False, shell_complete=complete("images"))
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Lines of a long table; 0: all.")  # fmt: skip
@click.option(
    "--by",
    type=click.Choice(["section", "component", "package", "directory", "kind", "file"]),
    default="section",
    show_default=True,
    help="Rows of the table.",
)
@click.option(
    "--sort",
    type=click.Choice(["bytes", "packed", "added", "files", "name"]),
    help="Order of the table's lines.  [default: bytes; sections in their own order]",
)
@click.option(
    "--baseline",
    metavar="IMAGE",
    shell_complete=complete("images"),
    help="Show changes against this image in the HTML page.",
)
@partition_option
@image_options
@output_options(*FOOTPRINT_FORMATS)
def report(
    image: str | None, top: int, by: str, sort: str | None, baseline: str | None,
    targets: FormatTargets,
) -> None:  # fmt: skip
    """Print the footprint of IMAGE.

    IMAGE is a build directory, a footprint.json, an image (host.efi, host.raw, qcow2, an
    initramfs: unpacked and measured), a root directory, a tar archive of one, a container
    image (docker save, OCI layout, also as a tar), or git:REF.
    Without IMAGE: the only build below ./build. Several formats may be written in one run.
    """
    page = FootprintReport(
        open_footprint(image),
        open_footprint(baseline) if baseline else None,
        by=by,
        sort=sort or "",
        top=top,
        width=find_text_width(targets),
    )
    write_formats(list_footprint_renderers(page), targets)
