"""Command that writes a first manifest, and asks on a terminal what the host is for: init."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from minbuild.cli.console import get_colour, print_message
from minbuild.cli.format_arguments import STDOUT
from minbuild.cli.options import complete
from minbuild.cli.output_options import json_option, refuse_json_beside, render_json
from minbuild.cli.requests import make_trust
from minbuild.errors import ToolError, UsageError
from minbuild.file_io import write_atomic
from minbuild.manifest.component_description import build_manifest_schema
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import SCHEMA_FILE, add_modeline, copy_shipped
from minbuild.manifest.starter import Purpose, StarterChoices, compose_starter
from minbuild.manifest.variable_types import VariableDeclaration, VariableType, check_value
from minbuild.pipeline.modaliases import list_modaliases

PURPOSES = {
    Purpose.VIRTUAL: "a virtual machine: in a cloud, or on another host",
    Purpose.MACHINE: "this machine: the drivers of its devices and no others",
    Purpose.RACK: "servers in a rack: watchdog, power button, SSH",
}


@click.command()
@click.option("--from", "origin", metavar="NAME", shell_complete=complete("shipped"),
              help="Start from a manifest that ships: edge; FILE is then NAME.yaml.")  # fmt: skip
@click.option("--for", "purpose", type=click.Choice([*map(str, Purpose)]),
              help="What the host is for.  [default: virtual, without a terminal]")  # fmt: skip
@click.option("--address", metavar="ADDRESS/PREFIX", default="",
              help="A fixed address, 192.0.2.10/24.  [default: by DHCP]")  # fmt: skip
@click.option("--gateway", metavar="ADDRESS", default="", help="Gateway of the fixed address.")
@click.option("--nameserver", "nameservers", metavar="ADDRESS", multiple=True,
              help="Name server of the fixed address; may be repeated.")  # fmt: skip
@click.option("--ssh-key", "key_files", type=click.Path(path_type=Path, dir_okay=False), multiple=True,
              help="Public key that may log in by SSH, ~/.ssh/id_ed25519.pub; may be repeated.")  # fmt: skip
@click.option(
    "--console-shell", is_flag=True, help="A root shell on the console, with no password."
)
@json_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def init(
    origin: str | None, purpose: str | None, address: str, gateway: str,
    nameservers: tuple[str, ...], key_files: tuple[Path, ...], console_shell: bool, as_json: bool, file: Path | None,
) -> None:  # fmt: skip
    """Write a commented manifest to FILE (host.yaml; - for stdout); never replace one.

    On a terminal, without options, it asks what the host is for. Beside it lies
    minbuild.schema.json then, by which editors complete and check manifests.
    """
    target = file or Path(f"{origin or 'host'}.yaml")
    choices = StarterChoices(
        Purpose(purpose or Purpose.VIRTUAL), address, gateway, nameservers,
        tuple(key for path in key_files for key in read_keys(path)), console_shell,
    )  # fmt: skip
    is_plain = choices == StarterChoices() and purpose is None
    if origin is not None and not is_plain:
        raise UsageError("--from copies a manifest as it is", fix="leave the other options out")
    _check_choices(choices, target, as_json=as_json)
    stem = (origin or "host") if str(target) == STDOUT else target.stem
    if origin is not None:
        _write(target, copy_shipped(origin, stem), choices, as_json=as_json)
        return
    if str(target) != STDOUT and target.exists():
        raise _exists_error(target)
    if is_plain and str(target) != STDOUT and sys.stdin.isatty() and sys.stderr.isatty():
        choices = ask_choices()
    _write(target, compose_starter(stem, choices), choices, as_json=as_json)


def _check_choices(choices: StarterChoices, target: Path, *, as_json: bool) -> None:
    """Raises: UsageError for an option that would have no effect."""
    refuse_json_beside(target, as_json=as_json)
    for name, value in (("--gateway", choices.gateway), ("--nameserver", choices.nameservers)):
        if value and not choices.address:
            raise UsageError(
                f"{name} is for a fixed address, and DHCP is asked for this one",
                fix="give the address, too: --address 192.0.2.10/24",
            )
    if choices.purpose is Purpose.MACHINE and str(target) == STDOUT:
        raise UsageError(
            "--for machine writes the list of this machine's devices beside the manifest",
            fix="name a file: minbuild init --for machine host.yaml",
        )


def _write(target: Path, text: str, choices: StarterChoices, *, as_json: bool) -> None:
    """Write the manifest and what lies beside it; a manifest that cannot be read is not written."""
    text = add_modeline(text)
    if str(target) == STDOUT:
        click.echo(text, nl=False)
        return
    drafts = {target: text.encode()}
    hardware = target.with_suffix(".hardware")
    if choices.purpose is Purpose.MACHINE:
        if hardware.exists():
            raise _exists_error(hardware)
        drafts[hardware] = list_modaliases(Path("/sys")).encode()
    read_manifest(target, settings={}, components=(), trust=make_trust(), drafts=drafts)
    for path, data in drafts.items():
        _create(path, data)
    _write_schema(target.with_name(SCHEMA_FILE))
    if as_json:
        click.echo(render_json("init", manifest=target, files=[*drafts]), nl=False)
        return
    beside = f" and {hardware}" if hardware in drafts else ""
    print_message(f"wrote {target}{beside}; build it with: minbuild make {target}", err=False)


def _create(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as out:
            out.write(data)
    except FileExistsError as error:
        raise _exists_error(path) from error
    except OSError as error:
        raise ToolError(
            f"cannot write: {error.strerror}",
            where=str(path),
            fix="name a file in a directory that you may write to",
        ) from error


def _exists_error(path: Path) -> UsageError:
    return UsageError(
        "the file exists, and init does not replace it",
        where=str(path),
        fix="name another file: minbuild init my-host.yaml",
    )


def _write_schema(path: Path) -> None:
    """Write the JSON Schema of manifests, or replace an older one; another file of the name stays."""
    schema = build_manifest_schema()
    text = json.dumps(schema, indent=1, sort_keys=True) + "\n"
    if not path.exists() or f'"$id": "{schema["$id"]}"' in path.read_text("utf-8", "replace"):
        write_atomic(path, text.encode())


def ask_choices() -> StarterChoices:
    """Ask on the terminal what the host is for, its address and who may log in."""
    click.echo("What is the host for?", err=True)
    for number, (purpose, meaning) in enumerate(PURPOSES.items(), 1):
        name = click.style(f"{purpose:<8}", bold=True)
        click.echo(f"  {number}  {name}  {meaning}", err=True, color=get_colour())
    answer = click.prompt("number or word", default="1", err=True, value_proc=_read_purpose)
    choices = StarterChoices(Purpose(answer))
    address = _ask("its address (192.0.2.10/24; empty: DHCP)", VariableType.NETWORK_ADDRESS)
    if address:
        gateway = _ask("its gateway (empty: none)", VariableType.ADDRESS)
        nameserver = _ask("its name server (empty: none)", VariableType.ADDRESS)
        servers = (nameserver,) if nameserver else ()
        choices = replace(choices, address=address, gateway=gateway, nameservers=servers)
    keys = _ask_keys()
    is_shell_wanted = not keys and click.confirm(
        "a root shell on the console, with no password", default=False, err=True
    )
    return replace(choices, ssh_keys=keys, shell=is_shell_wanted)


def _read_purpose(text: str) -> str:
    by_number = {str(number): purpose for number, purpose in enumerate(PURPOSES, 1)}
    matches = [one for one in Purpose if text.strip() and one.startswith(text.strip().lower())]
    if text in by_number:
        return by_number[text]
    if len(matches) != 1:
        raise click.UsageError(f"write a number, or one of {', '.join(PURPOSES)}")
    return matches[0]


def _ask(question: str, kind: VariableType) -> str:
    """Ask until the answer is of its type, or empty."""

    def check(text: str) -> str:
        problem = check_value(VariableDeclaration("", kind), text.strip())
        if problem is not None:
            raise click.UsageError(f"{problem.message}; {problem.fix}")
        return text.strip()

    return _prompt(question, "", check)


def _ask_keys() -> tuple[str, ...]:
    """Ask for a file of public keys; the user's own is offered."""
    own = sorted(Path.home().glob(".ssh/id_*.pub"))

    def check(text: str) -> str:
        if text.strip() not in {"", "none"}:
            try:
                read_keys(Path(text.strip()).expanduser())
            except UsageError as error:
                raise click.UsageError(f"{error.what}; {error.fix}") from error
        return text.strip()

    offered = str(own[0]) if own else ""
    question = "public key that may log in by SSH (none: no SSH)" if own else (
        "file of a public key that may log in by SSH (empty: no SSH)")  # fmt: skip
    answer = _prompt(question, offered, check)
    return () if answer in {"", "none"} else read_keys(Path(answer).expanduser())


def _prompt(question: str, default: str, check: Callable[[str], str]) -> str:
    answer = click.prompt(
        question, default=default, show_default=bool(default), err=True, value_proc=check
    )
    return str(answer)


def read_keys(path: Path) -> tuple[str, ...]:
    """Read public keys, one a line. Raises: UsageError for a file without any, or a private key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(
            f"cannot read the key: {reason}", where=str(path), fix="name a .pub file"
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    for line in lines:
        problem = check_value(VariableDeclaration("", VariableType.SSH_KEY), line)
        if problem is not None:
            raise UsageError(problem.message, where=str(path), fix="name a .pub file")
    if not lines:
        raise UsageError("the file has no key", where=str(path), fix="name a .pub file")
    return tuple(lines)
