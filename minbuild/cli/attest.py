"""Commands for the provenance of a build: attest, verify."""

import json
from pathlib import Path

import click

from minbuild.cli.console import escape_for_terminal
from minbuild.cli.options import (
    BuildOptions,
    GatheringCommand,
    build_options,
    complete,
    store_option,
)
from minbuild.cli.output_files import FormatTargets, write_formats
from minbuild.cli.output_options import FormatOptionsCommand, output_options
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.pipeline.attestation import write_attestation
from minbuild.pipeline.installed_root import make_external_readers
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.verification import PartStatus, verify_build


@click.command(cls=GatheringCommand)
@click.argument("manifest", shell_complete=complete("manifests"))
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Directory of the build.  [default: build/NAME]")  # fmt: skip
@click.option("--openpgp-key", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              metavar="FILE", help="Sign SHA256SUMS with this private key, which has no password.")  # fmt: skip
@build_options
def attest(
    manifest: str, output: Path | None, openpgp_key: Path | None, build: BuildOptions
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
    for path in write_attestation(request, loaded, directory, keys, session.store):
        click.echo(path)


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
        {"part": result.part, "verdict": str(result.status), "said": result.message}
        for result in results
    ]
    write_formats(
        {"text": lambda: text, "json": lambda: json.dumps(document, indent=1) + "\n"}, targets
    )
    return int(any(result.status is PartStatus.FAILED for result in results))


def _flatten_line(message: str) -> str:
    """One line, whatever the name of a file contains."""
    return " ".join(escape_for_terminal(message).split())
