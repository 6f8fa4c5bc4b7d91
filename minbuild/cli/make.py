"""Commands that resolve and build: make, plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli.options import build_options, doors_of, request_of
from minbuild.cli.terminal import Terminal

if TYPE_CHECKING:
    from minbuild.footprint.types import Footprint


@click.command()
@click.argument("manifest")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Output directory.  [default: build/NAME]")  # fmt: skip
@click.option("--compression", type=click.Choice(["xz", "zstd", "none"]),
              help="How the initramfs is packed.  [default: the manifest's]")  # fmt: skip
@click.option("--locked", is_flag=True, help="Refuse to build without a lock.")
@click.option("--top", default=10, show_default=True, help="Largest files to list; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print footprint.json instead of the page.")
@build_options
def make(manifest: str, output: Path | None, compression: str | None, locked: bool, top: int,
         as_json: bool, store: Path | None, **build: Any) -> int:  # fmt: skip
    """Build the images of MANIFEST and print the footprint.

    MANIFEST is a file, or the name of one that ships (host.yaml). Writes host.efi, host.raw,
    footprint.json, the lock and SHA256SUMS to the output directory, all or none of them.
    """
    from minbuild.build import life
    from minbuild.build.verdict import judge, limits
    from minbuild.manifest.types import Compression

    terminal = Terminal()
    request = request_of(
        manifest,
        output=output,
        compression=Compression(compression) if compression else None,
        locked=locked,
        **build,
    )
    built = life.make(request, doors_of(store, terminal))
    terminal.done()
    if as_json:
        click.echo((built.directory / "footprint.json").read_text(encoding="utf-8"), nl=False)
    else:
        from minbuild.report.text import budget, page

        click.echo(page(built.footprint, top=top), nl=False)
        click.echo(budget(limits(built.manifest.budget, built.footprint.totals)), nl=False)
        click.echo(_wrote(built.directory, built.footprint, fresh=built.fresh))
    judge(built.manifest, built.footprint.totals)
    return 0


def _wrote(directory: Path, footprint: "Footprint", *, fresh: bool) -> str:
    images = ", ".join(f"{footprint.name}.{suffix}" for suffix in footprint.packed)
    done = "wrote" if fresh else "nothing changed since the last build:"
    return f"\n{done} {images}, footprint.json, the lock and SHA256SUMS in {directory}/"


@click.command()
@click.argument("manifest")
@click.option("--top", default=10, show_default=True, help="Largest files to list; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print a footprint document.")
@build_options
def plan(manifest: str, top: int, as_json: bool, store: Path | None, **build: Any) -> int:
    """Resolve MANIFEST and print what would be in the image, without building it."""
    from minbuild.build import life
    from minbuild.footprint import document
    from minbuild.report.text import page, possible_dlopens

    terminal = Terminal()
    planned = life.plan(request_of(manifest, **build), doors_of(store, terminal))
    terminal.done()
    if as_json:
        click.echo(document.render(planned.footprint), nl=False)
    else:
        click.echo(page(planned.footprint, top=top), nl=False)
        click.echo(possible_dlopens(planned.ground.closure.maybe_dlopen), nl=False)
    return 0


COMMANDS = (make, plan)
