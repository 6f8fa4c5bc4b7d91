"""Commands for those who distribute images: sbom, licences, cve, attest, verify."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.archive.download import fetch_packages
from minbuild.archive.mirror import find_mirror
from minbuild.cli.console import escape_for_terminal, print_message
from minbuild.cli.format_arguments import STDOUT
from minbuild.cli.options import (
    ArchiveOptions,
    BuildOptions,
    GatheringCommand,
    archive_options,
    build_options,
    complete,
    store_option,
)
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    FormatTargets,
    json_option,
    output_options,
    render_json,
    write_formats,
    write_text,
)
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.compliance.built_image import (
    INSTALL_HINT,
    BuiltImage,
    compute_sha1s,
    get_source,
    make_serial,
    open_built_image,
    require_archive_packages,
)
from minbuild.compliance.cve import (
    ImageIssue,
    assess_issues,
    find_kernel_options,
    render_image_issues,
)
from minbuild.compliance.kernel_records import (
    LINUX,
    KernelRecord,
    add_records,
    is_record_text,
    load_kernel_records,
    read_kernel_records,
)
from minbuild.compliance.licences import PackageLicence, collect_licences, licences_to_json
from minbuild.compliance.security_data import Advisory, load_security_data, read_advisories
from minbuild.errors import ToolError
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import is_analysed, load_facts
from minbuild.lazy_import import import_lazily
from minbuild.pipeline.attestation import write_attestation
from minbuild.pipeline.installed_root import make_external_readers
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.verification import PartStatus, verify_build

if TYPE_CHECKING:
    from minbuild.compliance import cyclonedx, spdx
else:  # of the optional extra minbuild[sbom]: an ImportError is raised where one is used
    cyclonedx, spdx = import_lazily("minbuild.compliance", "cyclonedx", "spdx")

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
        print_message(f"wrote {len(built_image.packages)} files to {status_d}/")
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
        return cyclonedx.render_cyclonedx(built_image, licences)
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=INSTALL_HINT) from error


def _render_spdx(built_image: BuiltImage, licences: Licences, build: Path) -> str:
    """Raises: ToolError without the extra minbuild[sbom]."""
    serial = str(make_serial(built_image))
    sums = compute_sha1s(build, built_image.footprint)
    try:
        return spdx.render_spdx(built_image, licences, serial, sums)
    except ImportError as error:
        raise ToolError("spdx-tools is not installed", fix=INSTALL_HINT) from error


@click.command()
@BUILD_ARGUMENT
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Directory.  [default: BUILD/licences]")  # fmt: skip
@json_option
@archive_options
def licences(build: Path, output: Path | None, as_json: bool, archive: ArchiveOptions) -> None:
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
        if not as_json:
            click.echo(f"{row.package.name}  {row.package.version}  {', '.join(row.licences)}")
    write_text(directory / "sources.json", licences_to_json(rows), announce=False)
    if as_json:
        click.echo(licences_to_json(rows), nl=False)
    print_message(f"{len(rows)} packages: wrote {directory}/")


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


@click.command()
@click.argument("build", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--data", multiple=True, metavar="FILE|URL", help="Debian's security tracker data, OSV entries, "
              "or the kernel's CVE records (a file, or a directory of them); may be repeated.")  # fmt: skip
@click.option("--vex", metavar="FILE", help="Write CycloneDX VEX; - for stdout.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when an open issue affects the image.")
@json_option
@archive_options
def cve(
    build: Path, data: tuple[str, ...], vex: str | None, exit_code: bool, as_json: bool,
    archive: ArchiveOptions,
) -> int:  # fmt: skip
    """List open security issues that affect files in the image of BUILD.

    Issues whose text names only files that were trimmed away are listed apart; so are those of a
    kernel that was built for the image whose sources were not compiled. Without --data
    nothing is evaluated, and the exit code is 1.
    """
    built_image = open_built_image(build)
    if not data:
        said = "open issues: not evaluated (no data: give --data FILE|URL)\n"
        click.echo(render_json("cve", evaluated=False, issues=[]) if as_json else said, nl=False)
        return 1
    suite = next(iter(built_image.footprint.suites), "trixie").partition("-")[0]
    advisories = _read_data(data, suite, built_image.footprint.kernel)
    files = _collect_files(built_image, archive)
    package_paths = {package.owner: tuple(package.entries) for package in files}
    options = find_kernel_options(built_image.footprint, files)
    issues = assess_issues(built_image, advisories, package_paths, options)
    write_formats(
        {
            "text": lambda: render_image_issues(issues),
            "json": lambda: render_json(
                "cve", evaluated=True, issues=[asdict(issue) for issue in issues]
            ),
            "vex": lambda: _render_vex(built_image, issues),
        },
        {"json" if as_json else "text": None if vex == STDOUT else STDOUT, "vex": vex},
    )
    return int(exit_code and any(not issue.trimmed for issue in issues))


def _read_data(sources: Sequence[str], suite: str, release: str) -> tuple[Advisory, ...]:
    """The advisories of all sources, with what the kernel's own records say of them."""
    advisories: list[Advisory] = []
    records: list[KernelRecord] = []
    for source in sources:
        if Path(source).is_dir():
            records += load_kernel_records(Path(source))
            continue
        text = load_security_data(source)
        if is_record_text(text):
            records += read_kernel_records(text, source)
        else:
            advisories += read_advisories(text, suite, source)
    return add_records(advisories, records, release) if records else tuple(advisories)


def _render_vex(built_image: BuiltImage, issues: tuple[ImageIssue, ...]) -> str:
    """Raises: ToolError without the extra minbuild[sbom]."""
    try:
        return cyclonedx.render_vex(built_image, issues)
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=INSTALL_HINT) from error


def _collect_files(built_image: BuiltImage, archive: ArchiveOptions) -> tuple[PackageFiles, ...]:
    mirror = find_mirror(archive.mirror, offline=archive.offline)
    terminal = Terminal()
    session = open_session(archive.store, terminal)
    packages = [
        package
        for package in built_image.packages
        # what a kernel was compiled from is not what the image has of it
        if not package.installed_origin
        and not (built_image.compiled is not None and get_source(package)[0] == LINUX)
    ]
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


@click.command(cls=GatheringCommand)
@click.argument("manifest", shell_complete=complete("manifests"))
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Directory of the build.  [default: build/NAME]")  # fmt: skip
@click.option("--openpgp-key", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              metavar="FILE", help="Sign SHA256SUMS with this private key, which has no password.")  # fmt: skip
@json_option
@build_options
def attest(
    manifest: str, output: Path | None, openpgp_key: Path | None, as_json: bool, build: BuildOptions
) -> None:
    """Write the provenance of a build of MANIFEST, and sign SHA256SUMS.

    provenance.json is an in-toto statement with SLSA provenance: the outputs, and every document,
    Release, package and tool that they were made from, with SHA-256, as the build itself recorded
    them; it is added to SHA256SUMS. With --openpgp-key also SHA256SUMS.asc. Every output is checked
    against SHA256SUMS first; a manifest that has changed since the build is an error.
    """
    session = open_session(build.store, Terminal())
    request = build_request(manifest, build)
    loaded = load_manifest(request)
    directory = output or Path("build") / loaded.name
    keys = [openpgp_key] if openpgp_key else []
    paths = [*write_attestation(request, loaded, directory, keys, session.store)]
    text = "".join(f"{path}\n" for path in paths)
    click.echo(render_json("attest", files=paths) if as_json else text, nl=False)


@click.command(cls=FormatOptionsCommand)
@click.argument("build", type=click.Path(path_type=Path, exists=True), metavar="DIR|IMAGE",
                shell_complete=complete("images"))  # fmt: skip
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="OpenPGP certificate of the signer of SHA256SUMS.")  # fmt: skip
@output_options("text", "json")
@store_option
def verify(build: Path, key: Path | None, store: Path | None, targets: FormatTargets) -> int:
    """Check the parts of a build from somebody else against each other.

    SHA256SUMS and its signature, provenance.json, the lock, footprint.json and the images, which
    are unpacked. Exits with 1 when a part fails. Beside an IMAGE the other outputs may be missing.
    """
    terminal = Terminal()
    results = verify_build(build, lambda: make_external_readers(open_session(store, terminal)), key)
    terminal.finish()
    text = "".join(
        f"{result.status:4}  {result.part:10}  {_flatten_line(result.message)}\n"
        for result in results
    )
    document = [
        {
            "schema": "minbuild.verify/1",
            "part": result.part,
            "verdict": str(result.status),
            "said": result.message,
        }
        for result in results
    ]
    write_formats(
        {"text": lambda: text, "json": lambda: json.dumps(document, indent=1) + "\n"}, targets
    )
    return int(any(result.status is PartStatus.FAILED for result in results))


def _flatten_line(message: str) -> str:
    """One line, whatever the name of a file contains."""
    return " ".join(escape_for_terminal(message).split())
