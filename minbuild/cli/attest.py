"""The command that vouches for a build: attest."""

from pathlib import Path
from typing import Any

import click

from minbuild.cli.options import build_options, request_of


@click.command()
@click.argument("manifest")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Where the build stands.  [default: build/NAME]")  # fmt: skip
@click.option("--openpgp-key", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              metavar="FILE", help="Sign SHA256SUMS with this private key, without a password.")  # fmt: skip
@build_options
def attest(manifest: str, output: Path | None, openpgp_key: Path | None, store: Path | None,
           **build: Any) -> None:  # fmt: skip
    """Write where a build of MANIFEST came from, for those who did not see it.

    provenance.json is an in-toto statement with SLSA provenance: the outputs, and every document,
    Release, package and tool that they were made from, with SHA-256. With --openpgp-key also
    SHA256SUMS.asc. Every output is held against SHA256SUMS first.
    """
    from minbuild.build import attest as made
    from minbuild.build import life

    del store
    request = request_of(manifest, **build)
    read = life.read(request)
    directory = output or Path("build") / read.name
    keys = [openpgp_key] if openpgp_key else []
    for path in made.attest(request, read, directory, keys):
        click.echo(path)


COMMANDS = (attest,)
