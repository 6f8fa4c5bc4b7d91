"""Commands for hosts in registries: push, pull, keygen."""

import os
import time
from pathlib import Path

import click

from minbuild.cli.options import complete, store_option
from minbuild.cli.output_options import json_option, render_json
from minbuild.cli.requests import open_session
from minbuild.cli.terminal import Terminal
from minbuild.distribution.reference import parse_reference
from minbuild.distribution.signify import (
    format_key_number,
    generate_keys,
    read_public_key,
    read_secret_key,
)
from minbuild.pipeline.push_pull import (
    PullRequest,
    PullResult,
    PushRequest,
    PushResult,
    pull_host,
    push_builds,
)
from minbuild.pipeline.session import detect_machine_arch

DAY = 86_400
DEFAULT_DAYS = 90
"""Days for which a signed host is believed, unless something else is asked for."""
_KEY_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_plain_http = click.option("--plain-http", is_flag=True, help="Use no TLS; passwords then only go to this machine.")  # fmt: skip


@click.command()
@click.argument("reference", metavar="REGISTRY/NAME:TAG")
@click.argument("builds", metavar="BUILD...", nargs=-1, required=True,
                type=click.Path(path_type=Path, file_okay=False, exists=True))  # fmt: skip
@click.option("--layout", type=click.Path(path_type=Path, file_okay=False),
              help="OCI layout that is written first.  [default: BUILD.oci]")  # fmt: skip
@click.option("--name", default="", help="The host's name.  [default: NAME of the registry]")
@click.option("--version", type=click.IntRange(min=1), help="A number that only goes up.  "
              "[default: the image's, if it has one; else the date of the lock's newest Release, seconds UTC]")  # fmt: skip
@click.option("--sign", "keys", type=_KEY_FILE, multiple=True, metavar="FILE",
              help="Sign with this key, which has no password; may be repeated.")  # fmt: skip
@click.option("--days", type=click.IntRange(min=1), default=DEFAULT_DAYS, show_default=True,
              help="With --sign: for how long the host may be installed.")  # fmt: skip
@_plain_http
@json_option
def push(
    reference: str, builds: tuple[Path, ...], layout: Path | None, name: str, version: int | None,
    keys: tuple[Path, ...], days: int, plain_http: bool, as_json: bool,
) -> None:  # fmt: skip
    """Publish the host of each BUILD directory, one for each architecture.

    The UKI is stored as its parts and a recipe; what the registry has already is not sent. oci:DIR
    instead of a registry only writes an OCI layout. Files of a build that refer to it go along:
    footprint.json, sbom.cdx.json, sbom.spdx.json, vex.cdx.json, provenance.json. Passwords are
    those of podman login and docker login.
    """
    request = PushRequest(
        reference=parse_reference(reference),
        builds=builds,
        layout=layout,
        name=name,
        version=version or 0,
        expires=int(time.time()) + days * DAY if keys else 0,
        keys=tuple(read_secret_key(path) for path in keys),
        plain_http=plain_http,
    )
    terminal = Terminal()
    result = push_builds(request, os.environ, terminal)
    terminal.finish()
    click.echo(_render_push(request, result, as_json=as_json), nl=False)


def _render_push(request: PushRequest, result: PushResult, *, as_json: bool) -> str:
    if as_json:
        hosts = [
            {
                "arch": host.recipe.arch,
                "digest": host.manifest.digest,
                "sha256": host.recipe.sha256,
                "parts": [
                    {"name": part.name, "size": part.size, "sha256": part.sha256}
                    for part in host.recipe.parts
                ],
            }
            for host in result.hosts
        ]
        first = result.hosts[0].recipe
        return render_json(
            "push", reference=str(request.reference), digest=result.digest, layout=result.layout,
            host=first.name, version=first.version, expires=first.expires, sent=result.sent, hosts=hosts,
        )  # fmt: skip
    lines = []
    for host in result.hosts:
        recipe = host.recipe
        lines.append(f"{recipe.name} {recipe.version} {recipe.arch}  {recipe.size:,} bytes in {len(recipe.parts)} parts")  # fmt: skip
        lines += [f"{part.size:12,}  {part.name}" for part in recipe.parts]
    lines.append(f"layout  {result.layout}/")
    if request.reference.layout is None:
        lines.append(f"sent {result.sent:,} bytes to {request.reference}")
    lines.append(f"digest  {result.digest}")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("reference", metavar="REGISTRY/NAME:TAG")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path(),
              help="Directory.  [default: the current one]")  # fmt: skip
@click.option("--arch", default="", help="Architecture.  [default: this machine's]")
@click.option("--name", default="", help="The host's name.  [default: NAME of the registry]")
@click.option("--key", "keys", type=_KEY_FILE, multiple=True, metavar="FILE",
              help="Believe hosts that this key signed; may be repeated.")  # fmt: skip
@click.option(
    "--allow-downgrade", is_flag=True, help="Accept an older version than the one before."
)
@click.option("--all", "with_referrers", is_flag=True,
              help="Fetch what refers to the host, too: footprint, SBOM, provenance, signatures.")  # fmt: skip
@_plain_http
@json_option
@store_option
def pull(
    reference: str, output: Path, arch: str, name: str, keys: tuple[Path, ...],
    allow_downgrade: bool, with_referrers: bool, plain_http: bool, as_json: bool, store: Path | None,
) -> None:  # fmt: skip
    """Fetch a host's UKI: the parts that are not in the store, put together and checked.

    With --key only what one of the keys has signed is written, no version older than one that was
    pulled before, and none whose time has passed.
    """
    terminal = Terminal()
    request = PullRequest(
        reference=parse_reference(reference),
        directory=output,
        arch=arch or detect_machine_arch(),
        name=name,
        keys=tuple(read_public_key(path) for path in keys),
        now=int(time.time()),
        allow_downgrade=allow_downgrade,
        with_referrers=with_referrers,
        plain_http=plain_http,
    )
    session = open_session(store, terminal)
    result = pull_host(request, session.store, os.environ, terminal)
    terminal.finish()
    click.echo(_render_pull(result, as_json=as_json), nl=False)


def _render_pull(result: PullResult, *, as_json: bool) -> str:
    recipe, signer = result.recipe, result.signer
    key = format_key_number(signer.number) if signer is not None else ""
    if as_json:
        return render_json(
            "pull", host=recipe.name, version=recipe.version, arch=recipe.arch, sha256=recipe.sha256,
            key=key, fetched=result.fetched, files=result.files,
        )  # fmt: skip
    said = f"signed by key {key}" if key else "signature not checked: give --key FILE"
    files = "".join(f"{path}\n" for path in result.files)
    return (
        f"{recipe.name} {recipe.version} {recipe.arch}, {said}\n"
        f"fetched {result.fetched:,} of {recipe.size:,} bytes\n{files}"
    )


@click.command()
@click.argument("key", type=click.Path(path_type=Path, dir_okay=False),
                shell_complete=complete("files"))  # fmt: skip
@json_option
def keygen(key: Path, as_json: bool) -> None:
    """Write a pair of keys for push --sign: KEY.sec, without a password, and KEY.pub.

    The files are signify's: signify -G -n makes such a pair, too. KEY.sec is readable by its
    user alone.
    """
    public, secret = (key.with_name(f"{key.name}.{ending}") for ending in ("pub", "sec"))
    generate_keys(public, secret)
    files = [public, secret]
    text = "".join(f"{path}\n" for path in files)
    click.echo(render_json("keygen", files=files) if as_json else text, nl=False)
