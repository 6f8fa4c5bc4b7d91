"""Commands for those who distribute images: sbom, licences."""

from collections.abc import Mapping
from pathlib import Path

import click

from minbuild.archive.mirror import find_mirror
from minbuild.cli.options import ArchiveOptions, archive_options
from minbuild.cli.output_files import STDOUT, write_formats, write_text
from minbuild.cli.requests import open_session
from minbuild.cli.terminal import Terminal
from minbuild.compliance.built_image import (
    INSTALL_HINT,
    BuiltImage,
    compute_sha1s,
    make_serial,
    open_built_image,
    require_archive_packages,
)
from minbuild.compliance.licences import PackageLicence, collect_licences, licences_to_json
from minbuild.errors import ToolError

Licences = Mapping[str, tuple[str, ...]]
"""Package → its SPDX expressions."""
BUILD_ARGUMENT = click.argument(
    "build", type=click.Path(path_type=Path, file_okay=False, exists=True)
)


@click.command()
@BUILD_ARGUMENT
@click.option("--cyclonedx", metavar="FILE", help="Write CycloneDX 1.6 JSON; - for stdout.")
@click.option("--spdx", metavar="FILE", help="Write SPDX 2.3 JSON; - for stdout.")
@click.option("--status-d", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write var/lib/dpkg/status.d files, by which scanners see the packages.")  # fmt: skip
@archive_options
def sbom(
    build: Path, cyclonedx: str | None, spdx: str | None, status_d: Path | None,
    archive: ArchiveOptions,
) -> None:  # fmt: skip
    """Write the software bill of materials of a BUILD directory.

    Needs the extra minbuild[sbom]. Without a format: CycloneDX on stdout.
    """
    built_image = open_built_image(build)
    if not (spdx or status_d):
        cyclonedx = cyclonedx or STDOUT
    if status_d is not None:
        _write_status(built_image, status_d)
        click.echo(f"wrote {len(built_image.packages)} files to {status_d}/", err=True)
    if not (cyclonedx or spdx):
        return
    licences: Licences = {}
    if not any(package.installed_origin for package in built_image.packages):
        rows = _collect_licences(built_image, archive, with_sources=False)
        licences = {row.package.name: row.licences for row in rows}
    write_formats(
        {
            "cyclonedx": lambda: _render_cyclonedx(built_image, licences),
            "spdx": lambda: _render_spdx(built_image, licences, build),
        },
        {"cyclonedx": cyclonedx, "spdx": spdx},
    )


def _render_cyclonedx(built_image: BuiltImage, licences: Licences) -> str:
    """Raises: ToolError without the extra minbuild[sbom]."""
    try:
        from minbuild.compliance.cyclonedx import render_cyclonedx  # of an optional extra
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=INSTALL_HINT) from error
    return render_cyclonedx(built_image, licences)


def _render_spdx(built_image: BuiltImage, licences: Licences, build: Path) -> str:
    """Raises: ToolError without the extra minbuild[sbom]."""
    try:
        from minbuild.compliance.spdx import render_spdx  # of an optional extra
    except ImportError as error:
        raise ToolError("spdx-tools is not installed", fix=INSTALL_HINT) from error
    serial = str(make_serial(built_image))
    return render_spdx(built_image, licences, serial, compute_sha1s(build, built_image.footprint))


@click.command()
@BUILD_ARGUMENT
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Directory.  [default: BUILD/licences]")  # fmt: skip
@archive_options
def licences(build: Path, output: Path | None, archive: ArchiveOptions) -> None:
    """Collect the licence texts and sources of the packages in the image of BUILD.

    The copyright file of every package that has a file in the image, and sources.json: the exact
    source packages with version, path on the mirror and SHA-256.
    """
    built_image = open_built_image(build)
    require_archive_packages(built_image, "their licences and sources")
    rows = _collect_licences(built_image, archive, with_sources=True)
    directory = output or build / "licences"
    for row in rows:
        write_text(directory / f"{row.package.name}.copyright", row.copyright, announce=False)
        click.echo(f"{row.package.name}  {row.package.version}  {', '.join(row.licences)}")
    write_text(directory / "sources.json", licences_to_json(rows), announce=False)
    click.echo(f"{len(rows)} packages: wrote {directory}/", err=True)


def _collect_licences(
    built_image: BuiltImage, archive: ArchiveOptions, *, with_sources: bool
) -> tuple[PackageLicence, ...]:
    mirror = find_mirror(archive.mirror, offline=archive.offline)
    terminal = Terminal()
    session = open_session(archive.store, terminal)
    rows = collect_licences(
        built_image,
        mirror,
        session.store,
        offline=archive.offline,
        progress=terminal,
        with_sources=with_sources,
    )
    terminal.finish()
    return rows


def _write_status(built_image: BuiltImage, directory: Path) -> None:
    """One file for each package, as distroless images have them."""
    for package in built_image.packages:
        source = f"Source: {package.source}" + (
            f" ({package.source_version})" if package.source_version else ""
        )
        lines = [f"Package: {package.name}", "Status: install ok installed",
                 *([source] if package.source else []), f"Version: {package.version}",
                 f"Architecture: {package.arch}", "Maintainer: Debian"]  # fmt: skip
        write_text(directory / package.name, "\n".join(lines) + "\n", announce=False)
