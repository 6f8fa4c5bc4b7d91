"""Command that lists open security issues of an image: cve."""

from pathlib import Path

import click

from minbuild.archive.download import fetch_packages
from minbuild.archive.http_access import strip_credentials
from minbuild.archive.mirror import find_mirror
from minbuild.archive.mirror_retry import fetch_small
from minbuild.cli.options import ArchiveOptions, archive_options
from minbuild.cli.output_files import STDOUT, write_formats
from minbuild.cli.requests import open_session, read_input
from minbuild.cli.terminal import Terminal
from minbuild.compliance.built_image import INSTALL_HINT, BuiltImage, open_built_image
from minbuild.compliance.cve import (
    ImageIssue,
    assess_issues,
    find_kernel_options,
    render_image_issues,
)
from minbuild.compliance.security_data import read_advisories
from minbuild.errors import ToolError
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import is_analysed, load_facts

MAX_DATA_SIZE = 256 << 20
"""Bytes of security data that are fetched."""


@click.command()
@click.argument("build", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--data", metavar="FILE|URL", help="Debian's security tracker data, or OSV entries.")
@click.option("--vex", metavar="FILE", help="Write CycloneDX VEX; - for stdout.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when an open issue affects the image.")
@archive_options
def cve(
    build: Path, data: str | None, vex: str | None, exit_code: bool, archive: ArchiveOptions
) -> int:
    """List open security issues that affect files in the image of BUILD.

    Issues whose text names only files that were trimmed away are listed apart. Without --data
    nothing is evaluated, and the exit code is 1.
    """
    built_image = open_built_image(build)
    if data is None:
        click.echo("open issues: not evaluated (no data: give --data FILE|URL)")
        return 1
    suite = next(iter(built_image.footprint.suites), "trixie").partition("-")[0]
    advisories = read_advisories(load_cve_data(data), suite, data)
    files = _collect_files(built_image, archive)
    package_paths = {package.owner: tuple(package.entries) for package in files}
    options = find_kernel_options(built_image.footprint.kernel, files)
    issues = assess_issues(built_image, advisories, package_paths, options)
    write_formats(
        {
            "text": lambda: render_image_issues(issues),
            "vex": lambda: _render_vex(built_image, issues),
        },
        {"text": None if vex == STDOUT else STDOUT, "vex": vex},
    )
    return int(exit_code and any(not issue.trimmed for issue in issues))


def _render_vex(built_image: BuiltImage, issues: tuple[ImageIssue, ...]) -> str:
    """Raises: ToolError without the extra minbuild[sbom]."""
    try:
        from minbuild.compliance.cyclonedx import render_vex  # of an optional extra
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=INSTALL_HINT) from error
    return render_vex(built_image, issues)


def load_cve_data(source: str) -> str:
    """Security data from a file or an address. Raises: UsageError, ArchiveError."""
    if "://" in source:
        data = fetch_small(strip_credentials(source), purpose="security data", limit=MAX_DATA_SIZE)
        return data.decode("utf-8", "replace")
    return read_input(Path(source))


def _collect_files(built_image: BuiltImage, archive: ArchiveOptions) -> tuple[PackageFiles, ...]:
    mirror = find_mirror(archive.mirror, offline=archive.offline)
    terminal = Terminal()
    session = open_session(archive.store, terminal)
    packages = [package for package in built_image.packages if not package.installed_origin]
    unread_packages = [package for package in packages if not is_analysed(package, session.store)]
    if unread_packages:
        fetch_packages(
            unread_packages,
            mirror,
            session.store,
            offline=archive.offline,
            progress=terminal,
        )
    files = load_facts(packages, session.store, terminal)
    terminal.finish()
    return tuple(files)
