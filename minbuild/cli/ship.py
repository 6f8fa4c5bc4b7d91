"""Commands for those who ship images: sbom, licences, cve, history."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.console import Terminal, escape_for_terminal
from minbuild.cli.history import history
from minbuild.cli.options import (
    build_options,
    build_request,
    open_session,
    read_input,
    store_option,
)
from minbuild.cli.output_options import STDOUT, FormatOptionsCommand, output_options, write_formats

if TYPE_CHECKING:
    from minbuild.compliance.built_image import BuiltImage
    from minbuild.compliance.licences import PackageLicence
    from minbuild.facts.model import PackageFiles


@click.command()
@click.argument("manifest", shell_complete=shell.complete_manifests)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Where the build stands.  [default: build/NAME]")  # fmt: skip
@click.option("--openpgp-key", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              metavar="FILE", help="Sign SHA256SUMS with this private key, without a password.")  # fmt: skip
@build_options
def attest(manifest: str, output: Path | None, openpgp_key: Path | None, store: Path | None,
           **build_args: Any) -> None:  # fmt: skip
    """Write where a build of MANIFEST came from, for those who did not see it.

    provenance.json is an in-toto statement with SLSA provenance: the outputs, and every document,
    Release, package and tool that they were made from, with SHA-256, as the build itself recorded
    them; it is added to SHA256SUMS. With --openpgp-key also SHA256SUMS.asc. Every output is held
    against SHA256SUMS first, and a manifest that has changed since the build is refused.
    """
    from minbuild.pipeline import attestation, build

    session = open_session(store, Terminal())
    request = build_request(manifest, **build_args)
    loaded = build.load_manifest(request)
    directory = output or Path("build") / loaded.name
    keys = [openpgp_key] if openpgp_key else []
    for path in attestation.write_attestation(request, loaded, directory, keys, session.store):
        click.echo(path)


@click.command(cls=FormatOptionsCommand)
@click.argument("build", type=click.Path(path_type=Path, exists=True), metavar="DIR|IMAGE",
                shell_complete=shell.complete_images)  # fmt: skip
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="OpenPGP certificate of whoever signed SHA256SUMS.")  # fmt: skip
@output_options("text", "json")
@store_option
def verify(build: Path, key: Path | None, store: Path | None, **targets: str | None) -> int:
    """Say whether a build that somebody handed over is one: each part held against the others.

    SHA256SUMS and its signature, provenance.json, the lock, footprint.json and the images, which
    are unpacked. Exits with 1 when a part fails. Of an IMAGE the other outputs need not be there.
    """
    from minbuild.pipeline.installed_root import make_external_readers
    from minbuild.pipeline.verification import PartStatus
    from minbuild.pipeline.verification import verify_build as verified

    terminal = Terminal()
    findings = verified(build, lambda: make_external_readers(open_session(store, terminal)), key)
    terminal.finish()
    rows = [(str(one.status), one.part, one.message) for one in findings]
    text = "".join(
        f"{verdict:4}  {part:10}  {_flatten_line(said)}\n" for verdict, part, said in rows
    )
    document = [{"part": part, "verdict": verdict, "said": said} for verdict, part, said in rows]
    write_formats(
        {"text": lambda: text, "json": lambda: json.dumps(document, indent=1) + "\n"}, targets
    )
    return int(any(one.status is PartStatus.FAILED for one in findings))


def _flatten_line(message: str) -> str:
    """One line, whatever a name holds: no part speaks for another."""
    return " ".join(escape_for_terminal(message).split())


ATTEST_COMMANDS = (attest, verify)


BUILD_ARGUMENT = click.argument(
    "build", type=click.Path(path_type=Path, file_okay=False, exists=True)
)
MIRROR_OPTION = click.option(
    "--mirror", multiple=True, metavar="URL", help="Debian mirror; may be repeated."
)
OFFLINE_OPTION = click.option("--offline", is_flag=True, help="Touch no network.")


@click.command(cls=FormatOptionsCommand)
@BUILD_ARGUMENT
@click.option("--cyclonedx", metavar="FILE", help="Write CycloneDX 1.6 JSON; - for stdout.")
@click.option("--spdx", metavar="FILE", help="Write SPDX 2.3 JSON; - for stdout.")
@click.option("--status-d", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write var/lib/dpkg/status.d files, by which scanners see the packages.")  # fmt: skip
@MIRROR_OPTION
@OFFLINE_OPTION
@store_option
def sbom(
    build: Path, cyclonedx: str | None, spdx: str | None, status_d: Path | None, mirror: tuple[str, ...],
    offline: bool, store: Path | None,
) -> None:  # fmt: skip
    """Write the software bill of materials of a BUILD directory.

    Needs the extra minbuild[sbom]. Without a format: CycloneDX on stdout.
    """
    from minbuild.compliance.built_image import compute_sha1s, open_built_image
    from minbuild.compliance.sbom import build_bom
    from minbuild.compliance.sbom import render_cyclonedx as as_cyclonedx
    from minbuild.compliance.spdx import render_spdx as as_spdx

    built_image = open_built_image(build)
    if not (spdx or status_d):
        cyclonedx = cyclonedx or STDOUT
    if status_d is not None:
        _write_status(built_image, status_d)
        click.echo(f"wrote {len(built_image.packages)} files to {status_d}/", err=True)
    if not (cyclonedx or spdx):
        return
    licences = {}
    if not any(package.installed_origin for package in built_image.packages):
        package_licences = _collect_licences(
            built_image, mirror, store, offline=offline, with_sources=False
        )
        licences = {one.package.name: one.licences for one in package_licences}
    write_formats(
        {
            "json": lambda: as_cyclonedx(built_image, licences),
            "html": lambda: as_spdx(
                built_image,
                licences,
                str(build_bom(built_image, {}).serial_number),
                compute_sha1s(build),
            ),
        },
        {"out_json": cyclonedx, "out_html": spdx},
    )


@click.command()
@BUILD_ARGUMENT
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Directory.  [default: BUILD/licences]")  # fmt: skip
@MIRROR_OPTION
@OFFLINE_OPTION
@store_option
def licences(
    build: Path, output: Path | None, mirror: tuple[str, ...], offline: bool, store: Path | None
) -> None:
    """Write what someone who ships the image of BUILD owes its receivers.

    The copyright file of every package that has a file in the image, and sources.json: the exact
    source packages with version, place on the mirror and SHA-256.
    """
    from minbuild.compliance.built_image import open_built_image, require_archive_packages
    from minbuild.compliance.licences import licences_to_json

    built_image = open_built_image(build)
    require_archive_packages(built_image, "their licences and sources")
    package_licences = _collect_licences(
        built_image, mirror, store, offline=offline, with_sources=True
    )
    directory = output or build / "licences"
    for licence in package_licences:
        _write_text(directory / f"{licence.package.name}.copyright", licence.copyright)
        click.echo(
            f"{licence.package.name}  {licence.package.version}  {', '.join(licence.licences)}"
        )
    _write_text(directory / "sources.json", licences_to_json(package_licences))
    click.echo(f"{len(package_licences)} packages: wrote {directory}/", err=True)


@click.command()
@BUILD_ARGUMENT
@click.option("--data", metavar="FILE|URL", help="Debian's security tracker data, or OSV entries.")
@click.option("--vex", metavar="FILE", help="Write CycloneDX VEX; - for stdout.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when an issue touches the image.")
@MIRROR_OPTION
@OFFLINE_OPTION
@store_option
def cve(
    build: Path, data: str | None, vex: str | None, exit_code: bool, mirror: tuple[str, ...], offline: bool,
    store: Path | None,
) -> int:  # fmt: skip
    """Say which open security issues touch files in the image of BUILD.

    Issues whose text names only files that were trimmed away are listed apart. Without --data
    nothing is evaluated, and the exit code is 1.
    """
    from minbuild.compliance import cve
    from minbuild.compliance.built_image import open_built_image
    from minbuild.compliance.sbom import render_vex as as_vex
    from minbuild.compliance.security_data import read_advisories

    built_image = open_built_image(build)
    if data is None:
        click.echo("open issues: not evaluated (no data: give --data FILE|URL)")
        return 1
    suite = next(iter(built_image.footprint.suites), "trixie").partition("-")[0]
    advisories = read_advisories(load_cve_data(data), suite, data)
    files = _collect_files(built_image, mirror, store, offline=offline)
    package_paths = {one.owner: tuple(one.entries) for one in files}
    options = cve.find_kernel_options(built_image.footprint.kernel, files)
    image_issues = cve.assess_issues(built_image, advisories, package_paths, options)
    write_formats(
        {
            "text": lambda: cve.render_image_issues(image_issues),
            "json": lambda: as_vex(built_image, image_issues),
        },
        {"out_text": None if vex == STDOUT else STDOUT, "out_json": vex},
    )
    return int(exit_code and any(not one.trimmed for one in image_issues))


def load_cve_data(source: str) -> str:
    """Security data from a file or an address. Raises: UsageError, ArchiveError."""
    if "://" in source:
        from minbuild.archive.http_access import strip_credentials
        from minbuild.archive.mirror_retry import fetch_small

        data = fetch_small(strip_credentials(source), purpose="security data", limit=256 << 20)
        return data.decode("utf-8", "replace")
    return read_input(Path(source))


def _open_archive(mirror: tuple[str, ...], store: Path | None, *, offline: bool) -> Any:
    from minbuild.archive.mirror import find_mirror
    from minbuild.cli.options import open_session

    return find_mirror(mirror, offline=offline), open_session(store, Terminal())


def _collect_licences(
    built_image: "BuiltImage",
    mirror: tuple[str, ...],
    store: Path | None,
    *,
    offline: bool,
    with_sources: bool,
) -> "tuple[PackageLicence, ...]":
    from minbuild.compliance.licences import collect_licences

    archive_mirror, session = _open_archive(mirror, store, offline=offline)
    result = collect_licences(built_image, archive_mirror, session.store, offline=offline, progress=session.progress,
                  with_sources=with_sources)  # fmt: skip
    session.progress.done()
    return result


def _collect_files(
    built_image: "BuiltImage", mirror: tuple[str, ...], store: Path | None, *, offline: bool
) -> "tuple[PackageFiles, ...]":
    from minbuild.archive.download import fetch_packages
    from minbuild.facts.package_facts import is_analysed, load_facts

    archive_mirror, session = _open_archive(mirror, store, offline=offline)
    packages = [one for one in built_image.packages if not one.installed_origin]
    unread_packages = [one for one in packages if not is_analysed(one, session.store)]
    if unread_packages:
        fetch_packages(
            unread_packages,
            archive_mirror,
            session.store,
            offline=offline,
            progress=session.progress,
        )
    files = load_facts(packages, session.store, session.progress)
    session.progress.done()
    return tuple(files)


def _write_status(built_image: "BuiltImage", directory: Path) -> None:
    """One file for each package, as distroless images have them."""
    for package in built_image.packages:
        source = f"Source: {package.source}" + (
            f" ({package.source_version})" if package.source_version else ""
        )
        lines = [f"Package: {package.name}", "Status: install ok installed",
                 *([source] if package.source else []), f"Version: {package.version}",
                 f"Architecture: {package.arch}", "Maintainer: Debian"]  # fmt: skip
        _write_text(directory / package.name, "\n".join(lines) + "\n")


def _write_text(path: Path, text: str) -> None:
    write_formats({"text": lambda: text}, {"out_text": str(path)}, announce=False)


COMMANDS = (sbom, licences, cve, history)
