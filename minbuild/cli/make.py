"""Command that builds images: make."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cache.store import Store
from minbuild.cli.options import BuildOptions, build_options, complete
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    FormatTargets,
    find_text_width,
    output_options,
    write_formats,
)
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.lazy_import import import_lazily
from minbuild.manifest.image_settings import Compression, DibLocation
from minbuild.pipeline.session import BuildRequest, Session, expand_matrices
from minbuild.pipeline.up_to_date import BuildResult, find_last_build, find_page

if TYPE_CHECKING:
    from minbuild.cli import build_results
    from minbuild.pipeline import batch, reproducibility, shards
    from minbuild.pipeline import build as build_steps
else:  # only a change needs them: a build without one is shown as it was kept
    (build_results,) = import_lazily("minbuild.cli", "build_results")
    batch, build_steps, reproducibility, shards = import_lazily(
        "minbuild.pipeline", "batch", "build", "reproducibility", "shards"
    )


@click.command(
    cls=FormatOptionsCommand, short_help="Build the images of a manifest and print the footprint."
)
@click.argument("manifests", nargs=-1, required=True, metavar="MANIFEST...",
                shell_complete=complete("manifests"))  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Output directory.  [default: build/NAME]")  # fmt: skip
@click.option("--compression", type=click.Choice([*map(str, Compression)]),
              help="Compression of the initramfs.  [default: the manifest's]")  # fmt: skip
@click.option("--locked", is_flag=True, help="Refuse to build without a lock.")
@click.option("--check-reproducible", is_flag=True,
              help="Build again under other conditions; exit with 1 when one byte differs.")  # fmt: skip
@click.option(
    "--jobs", default=0, help="Manifests built in parallel, of several.  [default: cores + 1]"
)
@click.option("--dib-in", type=click.Choice([*map(str, DibLocation)]), default="auto", show_default=True,
              help="Where diskimage-builder runs for images of the format dib.")  # fmt: skip
@click.option("--fail-fast", is_flag=True, help="Of several, stop at the first that fails.")
@click.option("--shard", default="", metavar="I/N",
              help="Of all manifests and variants, build share I of N, cut alike on every machine.")  # fmt: skip
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Largest files to list; 0: all.")  # fmt: skip
@output_options("text", "json")
@build_options
def make(
    manifests: tuple[str, ...], output: Path | None, compression: str | None, locked: bool,
    check_reproducible: bool, jobs: int, dib_in: str, fail_fast: bool, shard: str, top: int,
    targets: FormatTargets, build: BuildOptions,
) -> int:  # fmt: skip
    """Build the images of MANIFEST and print the footprint.

    MANIFEST is a file, or the name of one that ships (host.yaml). Writes host.efi, host.raw,
    footprint.json, the lock and SHA256SUMS to the output directory, all or none of them.

    Several manifests, or one with a matrix, share packages, facts and packed segments; each goes
    to OUTPUT/NAME, and one table sums them up. With --shard each of N machines builds its share of
    them, without a word to the others.
    """
    terminal = Terminal()
    session = open_session(build.store, terminal)
    chosen = Compression(compression) if compression else None
    build_requests = [
        replace(build_request(name, build), compression=chosen, locked=locked, dib_in=DibLocation(dib_in))
        for name in manifests
    ]  # fmt: skip
    requests = _take_share(expand_matrices(build_requests), shard, terminal)
    if len(requests) == 1 and not shard:
        request = replace(requests[0], output=output)
        built = find_last_build(request, session)
        if built is None:
            built = build_steps.build_host(request, session)
        if check_reproducible:
            _check_reproducible(request, built, session, terminal)
        terminal.finish()
        return _show_build(built, targets, session.store, top=top)
    if check_reproducible or build.lock is not None:
        raise UsageError(
            "--lock and --check-reproducible are for one build", fix="name one manifest"
        )
    several = [replace(request, output_root=output) for request in requests]
    outcomes = batch.build_all(several, session, jobs=jobs, fail_fast=fail_fast)
    terminal.finish()
    return build_results.show_outcomes(outcomes, targets)


def _take_share(
    requests: tuple[BuildRequest, ...], shard: str, terminal: Terminal
) -> tuple[BuildRequest, ...]:
    """The builds of one machine: of a share I/N of them, or all. Raises: UsageError."""
    if not shard:
        return requests
    share = shards.take_shard(requests, shards.parse_shard(shard))
    if not share:
        terminal.note(f"share {shard} has no build: there are fewer of them than shares")
    return share


def _check_reproducible(
    request: BuildRequest, built: BuildResult, session: Session, terminal: Terminal
) -> None:
    reproducibility.verify_reproducible(request, built.manifest.name, built.directory, session)
    terminal.note(f"built twice, the same bytes: {reproducibility.CONDITIONS}")


def _show_build(built: BuildResult, targets: FormatTargets, store: Store, *, top: int) -> int:
    """Write what was asked for; a build that nothing has changed is shown as it was kept.

    Raises: CheckFailed for a build over its budget, of which no page is kept.
    """
    columns = find_text_width(targets)
    page = None if built.rebuilt else find_page(store, built, top=top, columns=columns)
    if page is None:
        return build_results.show_build(built, targets, store, top=top)
    write_formats({"text": lambda: page, "json": built.read_document}, targets)
    return 0
