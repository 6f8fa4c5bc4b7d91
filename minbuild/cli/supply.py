"""Commands for those who ship images: sbom, licences, cve, history."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli.options import image_options, store_option
from minbuild.cli.outputs import Outputting, write
from minbuild.cli.terminal import Terminal
from minbuild.cli.words import STDOUT
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.facts.types import Files
    from minbuild.supply.owed import Owed
    from minbuild.supply.shipment import Shipment

BUILD = click.argument("build", type=click.Path(path_type=Path, file_okay=False, exists=True))
MIRROR = click.option(
    "--mirror", multiple=True, metavar="URL", help="Debian mirror; may be repeated."
)
OFFLINE = click.option("--offline", is_flag=True, help="Touch no network.")


@click.command(cls=Outputting)
@BUILD
@click.option("--cyclonedx", metavar="FILE", help="Write CycloneDX 1.6 JSON; - for stdout.")
@click.option("--spdx", metavar="FILE", help="Write SPDX 2.3 JSON; - for stdout.")
@click.option("--status-d", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write var/lib/dpkg/status.d files, by which scanners see the packages.")  # fmt: skip
@MIRROR
@OFFLINE
@store_option
def sbom(
    build: Path, cyclonedx: str | None, spdx: str | None, status_d: Path | None, mirror: tuple[str, ...],
    offline: bool, store: Path | None,
) -> None:  # fmt: skip
    """Write the software bill of materials of a BUILD directory.

    Needs the extra minbuild[sbom]. Without a format: CycloneDX on stdout.
    """
    from minbuild.supply.sbom import bill
    from minbuild.supply.sbom import cyclonedx as as_cyclonedx
    from minbuild.supply.shipment import open_shipment, sha1s
    from minbuild.supply.spdx import spdx as as_spdx

    shipment = open_shipment(build)
    if not (spdx or status_d):
        cyclonedx = cyclonedx or STDOUT
    if status_d is not None:
        _status(shipment, status_d)
        click.echo(f"wrote {len(shipment.packages)} files to {status_d}/", err=True)
    if not (cyclonedx or spdx):
        return
    licences = {}
    if not any(package.installed for package in shipment.packages):
        owed = _owed(shipment, mirror, store, offline=offline, with_sources=False)
        licences = {one.package.name: one.licences for one in owed}
    write(
        {
            "json": lambda: as_cyclonedx(shipment, licences),
            "html": lambda: as_spdx(
                shipment, licences, str(bill(shipment, {}).serial_number), sha1s(build)
            ),
        },
        {"out_json": cyclonedx, "out_html": spdx},
    )


@click.command()
@BUILD
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Directory.  [default: BUILD/licences]")  # fmt: skip
@MIRROR
@OFFLINE
@store_option
def licences(
    build: Path, output: Path | None, mirror: tuple[str, ...], offline: bool, store: Path | None
) -> None:
    """Write what someone who ships the image of BUILD owes its receivers.

    The copyright file of every package that has a file in the image, and sources.json: the exact
    source packages with version, place on the mirror and SHA-256.
    """
    from minbuild.supply.owed import manifest
    from minbuild.supply.shipment import of_archive, open_shipment

    shipment = open_shipment(build)
    of_archive(shipment, "their licences and sources")
    owed = _owed(shipment, mirror, store, offline=offline, with_sources=True)
    place = output or build / "licences"
    for one in owed:
        _text(place / f"{one.package.name}.copyright", one.copyright)
        click.echo(f"{one.package.name}  {one.package.version}  {', '.join(one.licences)}")
    _text(place / "sources.json", manifest(owed))
    click.echo(f"{len(owed)} packages: wrote {place}/", err=True)


@click.command()
@BUILD
@click.option("--data", metavar="FILE|URL", help="Debian's security tracker data, or OSV entries.")
@click.option("--vex", metavar="FILE", help="Write CycloneDX VEX; - for stdout.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when an issue touches the image.")
@MIRROR
@OFFLINE
@store_option
def cve(
    build: Path, data: str | None, vex: str | None, exit_code: bool, mirror: tuple[str, ...], offline: bool,
    store: Path | None,
) -> int:  # fmt: skip
    """Say which open security issues touch files in the image of BUILD.

    Issues whose text names only files that were trimmed away are listed apart. Without --data
    nothing is evaluated, and the exit code is 1.
    """
    from minbuild.supply import issues
    from minbuild.supply.shipment import open_shipment
    from minbuild.supply.vex import vex as as_vex

    shipment = open_shipment(build)
    if data is None:
        click.echo("open issues: not evaluated (no data: give --data FILE|URL)")
        return 1
    suite = next(iter(shipment.footprint.suites), "trixie").partition("-")[0]
    known = issues.read(data_of(data), suite, data)
    files = _offered(shipment, mirror, store, offline=offline)
    offered = {one.owner: tuple(one.entries) for one in files}
    options = issues.options_of(shipment.footprint.kernel, files)
    found = issues.judge(shipment, known, offered, options)
    write(
        {"text": lambda: issues.as_text(found), "json": lambda: as_vex(shipment, found)},
        {"out_text": None if vex == STDOUT else STDOUT, "out_json": vex},
    )
    return int(exit_code and any(not one.trimmed for one in found))


def data_of(place: str) -> str:
    """Security data from a file or an address. Raises: UsageError, ArchiveError."""
    if "://" in place:
        from minbuild.archive.credentials import without_password
        from minbuild.archive.offers import get

        data = get(without_password(place), what="security data", limit=256 << 20)
        return data.decode("utf-8", "replace")
    return _read(Path(place))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"cannot read it: {why}", where=str(path), fix="name a file that is there"
        ) from error


def _doors(mirror: tuple[str, ...], store: Path | None, *, offline: bool) -> Any:
    from minbuild.archive.mirror import find_mirror
    from minbuild.cli.options import doors_of

    return find_mirror(mirror, offline=offline), doors_of(store, Terminal())


def _owed(
    shipment: "Shipment",
    mirror: tuple[str, ...],
    store: Path | None,
    *,
    offline: bool,
    with_sources: bool,
) -> "tuple[Owed, ...]":
    from minbuild.supply.owed import owed

    found, doors = _doors(mirror, store, offline=offline)
    result = owed(shipment, found, doors.store, offline=offline, progress=doors.progress,
                  with_sources=with_sources)  # fmt: skip
    doors.progress.done()
    return result


def _offered(
    shipment: "Shipment", mirror: tuple[str, ...], store: Path | None, *, offline: bool
) -> "tuple[Files, ...]":
    from minbuild.archive.fetch import fetch
    from minbuild.facts.gather import gather, known

    found, doors = _doors(mirror, store, offline=offline)
    packages = [one for one in shipment.packages if not one.installed]
    new = [one for one in packages if not known(one, doors.store)]
    if new:
        fetch(new, found, doors.store, offline=offline, progress=doors.progress)
    files = gather(packages, doors.store, doors.progress)
    doors.progress.done()
    return tuple(files)


def _status(shipment: "Shipment", directory: Path) -> None:
    """One file for each package, as distroless images have them."""
    for package in shipment.packages:
        source = f"Source: {package.source}" + (
            f" ({package.source_version})" if package.source_version else ""
        )
        lines = [f"Package: {package.name}", "Status: install ok installed",
                 *([source] if package.source else []), f"Version: {package.version}",
                 f"Architecture: {package.arch}", "Maintainer: Debian"]  # fmt: skip
        _text(directory / package.name, "\n".join(lines) + "\n")


def _text(path: Path, text: str) -> None:
    write({"text": lambda: text}, {"out_text": str(path)}, tell=False)


@click.group()
def history() -> None:
    """Keep the footprints of past builds, and show their trend."""


@history.command()
@click.argument("image")
@click.option("--file", "place", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True)  # fmt: skip
@click.option("--label", required=True, help="What this build is called: a commit, a version.")
@image_options
def append(image: str, place: Path, label: str) -> None:
    """Add the totals of IMAGE as one JSON line."""
    from minbuild.cli.inspect import subject
    from minbuild.report.history import line, point, read

    before = _read(place) if place.exists() else ""
    read(before, str(place))
    text = before + line(point(subject(image), label))
    write({"text": lambda: text}, {"out_text": str(place)})


@history.command()
@click.option("--file", "place", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True)  # fmt: skip
@click.option("--html", "page", metavar="FILE", help="Write a page with charts; - for stdout.")
def show(place: Path, page: str | None) -> None:
    """Print the trend: a sparkline for each measure, then the builds."""
    from minbuild.report import history as past

    if not place.exists():
        raise UsageError(
            "there is no history yet",
            where=str(place),
            fix="begin one after a build: minbuild history append build/host --label COMMIT",
        )
    points = past.read(_read(place), str(place))
    write(
        {"text": lambda: past.as_text(points), "html": lambda: past.as_html(points)},
        {"out_text": None, "out_html": page},
    )


COMMANDS = (sbom, licences, cve, history)
