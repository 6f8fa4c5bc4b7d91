"""Command that says what this machine can do, and what to do about the rest: doctor."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from minbuild.cli.console import get_colour, get_terminal_width
from minbuild.cli.options import ArchiveOptions, archive_options
from minbuild.cli.requests import open_session
from minbuild.cli.terminal import Terminal
from minbuild.config import find_config_file, load_config
from minbuild.errors import MinbuildError
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline.machine_checks import CheckState, MachineCheck, check_machine
from minbuild.pipeline.session import BuildRequest
from minbuild.report.layout import wrap_line

SCHEMA = "minbuild.doctor/1"
COLOURS = {CheckState.OK: "green", CheckState.LIMITED: "yellow", CheckState.FAILED: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@archive_options
def doctor(as_json: bool, archive: ArchiveOptions) -> int:
    """Say what this machine can do for builds and boots, and what to do about the rest.

    Tries each thing: store, disk space, keys, mirror, clock, QEMU, sandbox, namespaces, KVM with a
    guest. The first run brings QEMU. Exits with 1 when something failed; what is only limited
    works, slower or with less protection.
    """
    terminal = Terminal()
    session = open_session(archive.store, terminal)
    request = BuildRequest(find_manifest("host"), mirror=archive.mirror, offline=archive.offline)
    checks = []
    for check in itertools.chain([_check_config()], check_machine(request, session)):
        checks.append(check)
        if not as_json:
            terminal.finish()
            click.echo(render_check(check, get_terminal_width()), color=get_colour())
    terminal.finish()
    failed = [check for check in checks if check.state is CheckState.FAILED]
    if as_json:
        document = {"schema": SCHEMA, "ok": not failed, "checks": [*map(asdict, checks)]}
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(f"\n{summarize_checks(checks)}")
    return int(bool(failed))


def _check_config() -> MachineCheck:
    file = find_config_file()
    try:
        load_config(file)
    except MinbuildError as error:
        return MachineCheck("config", CheckState.FAILED, f"{error.what} ({error.where})", error.fix)
    finding = str(file) if Path(file).exists() else "no config file: defaults apply"
    return MachineCheck("config", CheckState.OK, finding)


def render_check(check: MachineCheck, width: int) -> str:
    """One check in lines of `width` columns, 0 for no limit: state, name, finding; then the fix."""
    state = click.style(f"{check.state:<7}", fg=COLOURS[check.state])
    indent = " " * 21
    columns = max(40, width) if width else 0
    lines = wrap_line(check.finding, columns, indent)
    if check.fix:
        lines += wrap_line(f"→ {check.fix}", columns, indent)
    return "\n".join([f"{state}  {check.name:<10}  {lines[0].lstrip()}", *lines[1:]])


def summarize_checks(checks: Sequence[MachineCheck]) -> str:
    """One sentence: whether this machine builds, and whether it boots."""
    failed = [check.name for check in checks if check.state is CheckState.FAILED]
    limited = [check.name for check in checks if check.state is CheckState.LIMITED]
    if failed:
        return f"not ready: {', '.join(failed)}"
    return "ready" + (f"; limited: {', '.join(limited)}" if limited else "")
