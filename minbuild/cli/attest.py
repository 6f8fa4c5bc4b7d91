"""The command that vouches for a build: attest."""

import json
from pathlib import Path
from typing import Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import build_options, doors_of, request_of, store_option
from minbuild.cli.outputs import Outputting, output_options, write
from minbuild.cli.terminal import Terminal, plain


@click.command()
@click.argument("manifest", shell_complete=shell.manifests)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Where the build stands.  [default: build/NAME]")  # fmt: skip
@click.option("--openpgp-key", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              metavar="FILE", help="Sign SHA256SUMS with this private key, without a password.")  # fmt: skip
@build_options
def attest(manifest: str, output: Path | None, openpgp_key: Path | None, store: Path | None,
           **build: Any) -> None:  # fmt: skip
    """Write where a build of MANIFEST came from, for those who did not see it.

    provenance.json is an in-toto statement with SLSA provenance: the outputs, and every document,
    Release, package and tool that they were made from, with SHA-256, as the build itself recorded
    them; it is added to SHA256SUMS. With --openpgp-key also SHA256SUMS.asc. Every output is held
    against SHA256SUMS first, and a manifest that has changed since the build is refused.
    """
    from minbuild.build import attest as made
    from minbuild.build import life

    doors = doors_of(store, Terminal())
    request = request_of(manifest, **build)
    read = life.read(request)
    directory = output or Path("build") / read.name
    keys = [openpgp_key] if openpgp_key else []
    for path in made.attest(request, read, directory, keys, doors.store):
        click.echo(path)


@click.command(cls=Outputting)
@click.argument("build", type=click.Path(path_type=Path, exists=True), metavar="DIR|IMAGE",
                shell_complete=shell.images)  # fmt: skip
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="OpenPGP certificate of whoever signed SHA256SUMS.")  # fmt: skip
@output_options("text", "json")
@store_option
def verify(build: Path, key: Path | None, store: Path | None, **given: str | None) -> int:
    """Say whether a build that somebody handed over is one: each part held against the others.

    SHA256SUMS and its signature, provenance.json, the lock, footprint.json and the images, which
    are unpacked. Exits with 1 when a part fails. Of an IMAGE the other outputs need not be there.
    """
    from minbuild.build.rooted import readers
    from minbuild.build.verify import Verdict
    from minbuild.build.verify import verify as verified

    terminal = Terminal()
    findings = verified(build, lambda: readers(doors_of(store, terminal)), key)
    terminal.done()
    rows = [(str(one.verdict), one.part, one.said) for one in findings]
    text = "".join(f"{verdict:4}  {part:10}  {_line(said)}\n" for verdict, part, said in rows)
    told = [{"part": part, "verdict": verdict, "said": said} for verdict, part, said in rows]
    write({"text": lambda: text, "json": lambda: json.dumps(told, indent=1) + "\n"}, given)
    return int(any(one.verdict is Verdict.FAILED for one in findings))


def _line(said: str) -> str:
    """One line, whatever a name holds: no part speaks for another."""
    return " ".join(plain(said).split())


COMMANDS = (attest, verify)
