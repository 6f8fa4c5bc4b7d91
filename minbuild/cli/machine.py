"""Commands for this machine: store (the cache), tool (programs in it), doctor (what the machine can
do)."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from minbuild.cli.console import get_colour, get_terminal_width
from minbuild.cli.option_defaults import apply_config, check_tables
from minbuild.cli.options import (
    ArchiveOptions,
    BuildOptions,
    GatheringCommand,
    archive_options,
    build_options,
    complete,
    store_option,
    store_remote_option,
)
from minbuild.cli.output_options import json_option, render_json
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.config import find_config_file, load_config
from minbuild.errors import MinbuildError, UsageError
from minbuild.image.ukify import add_stub_argument
from minbuild.lab.accel import forget_kvm_faults
from minbuild.manifest.shipped_manifests import find_manifest, load_tools
from minbuild.pipeline import cache_maintenance, shared_store_gc
from minbuild.pipeline.boot_setup import open_single_tool
from minbuild.pipeline.cache_maintenance import CacheUsage
from minbuild.pipeline.machine_checks import CheckState, MachineCheck, check_machine
from minbuild.pipeline.session import BuildRequest, detect_machine_arch
from minbuild.process import exec_program
from minbuild.report.layout import wrap_line


@click.group()
def store() -> None:
    """Check, clean, export or import the store: the cache of packages, facts and segments.

    It is safe to delete at any time; a build fetches or makes again what it needs.
    """


@store.command("check")
@json_option
@store_option
def check_store(as_json: bool, store: Path | None) -> int:
    """Check every entry against its digest; list and remove damaged ones.

    Exits with 1 when an entry was damaged. The next build fetches or makes it again.
    """
    terminal = Terminal()
    terminal.step("checking the store")
    checked_count, damaged = cache_maintenance.check_cache(open_session(store, terminal).store)
    terminal.finish()
    if as_json:
        rows = [asdict(entry) for entry in damaged]
        click.echo(render_json("store-check", checked=checked_count, damaged=rows), nl=False)
    else:
        for entry in damaged:
            click.echo(f"damaged and removed: {entry.kind} {entry.name}")
        click.echo(f"{checked_count} entries checked, {len(damaged)} damaged")
    return int(bool(damaged))


@store.command()
@click.option("--days", default=30, show_default=True, type=click.IntRange(0),
              help="Remove entries that were not used for so many days.")  # fmt: skip
@json_option
@store_option
def gc(days: int, as_json: bool, store: Path | None) -> None:
    """Remove entries that were not used for a while, and files that killed builds left."""
    rows = cache_maintenance.collect_garbage(open_session(store, Terminal()).store, days=days)
    click.echo(_rows_to_json("gc", rows) if as_json else _render_rows(rows, "removed"), nl=False)


@store.command("gc-shared")
@click.option("--days", default=30, show_default=True, type=click.IntRange(0),
              help="Remove what was written so many days ago.")  # fmt: skip
@click.option("--keep", "locks", multiple=True, metavar="LOCK",
              type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Keep what this lock lists; may be repeated.")  # fmt: skip
@json_option
@store_option
@store_remote_option
def gc_shared(days: int, locks: tuple[Path, ...], as_json: bool, store: Path | None) -> None:
    """Remove old entries of the shared store, but for what the named locks list.

    Ages are by the clock of the shared store. A build that needs an entry again writes it anew.
    """
    remote = open_session(store, Terminal()).store.remote
    if remote is None:
        raise UsageError(
            "no shared store is named",
            fix="name it: --store-remote URL, or store.remote in the config",
        )
    rows = shared_store_gc.collect_shared_garbage(remote, days=days, locks=locks)
    click.echo(
        _rows_to_json("gc-shared", rows) if as_json else _render_rows(rows, "removed"), nl=False
    )


@store.command()
@json_option
@store_option
def size(as_json: bool, store: Path | None) -> None:
    """Print the size of the store, by kind of entry."""
    rows = cache_maintenance.measure_cache(open_session(store, Terminal()).store)
    click.echo(_rows_to_json("size", rows) if as_json else _render_rows(rows, "in all"), nl=False)


@store.command("forget-kvm")
@store_option
@json_option
def forget_kvm(store: Path | None, as_json: bool) -> None:
    """Forget recorded failures of this machine's KVM, so that it is tried again."""
    reasons = forget_kvm_faults(open_session(store, Terminal()).store)
    text = "".join(f"forgotten: {reason}\n" for reason in reasons)
    document = render_json("store-forget-kvm", forgotten=list(reasons))
    click.echo(document if as_json else text, nl=False)


@store.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("locks", nargs=-1, required=True, metavar="LOCK...",
                type=click.Path(path_type=Path, dir_okay=False, exists=True))  # fmt: skip
@json_option
@store_option
def export_store(file: Path, locks: tuple[Path, ...], as_json: bool, store: Path | None) -> None:
    """Write every package of the LOCKs to FILE, for a machine without a network."""
    terminal = Terminal()
    count = cache_maintenance.export_packages(
        open_session(store, terminal).store, file, locks, terminal
    )
    terminal.finish()
    size = file.stat().st_size
    document = render_json("store-export", file=file, packages=count, bytes=size)
    text = f"wrote {count} packages, {size:,} bytes, to {file}\n"
    click.echo(document if as_json else text, nl=False)


@store.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@json_option
@store_option
def import_file(file: Path, as_json: bool, store: Path | None) -> None:
    """Copy the packages of FILE into the store; each is checked by its SHA-256."""
    terminal = Terminal()
    count = cache_maintenance.import_exported_packages(
        open_session(store, terminal).store, file, terminal
    )
    terminal.finish()
    document = render_json("store-import", file=file, packages=count)
    click.echo(document if as_json else f"took {count} packages from {file}\n", nl=False)


def _rows_to_json(name: str, rows: Sequence[CacheUsage]) -> str:
    return render_json(f"store-{name}", rows=[asdict(row) for row in rows])


def _render_rows(rows: Sequence[CacheUsage], total: str) -> str:
    cells = [(row.kind, row.entries, row.bytes) for row in rows]
    cells.append((total, sum(row.entries for row in rows), sum(row.bytes for row in rows)))
    return "".join(f"{kind:<8} {entries:>8,} {size:>16,} bytes\n" for kind, entries, size in cells)


@click.command(cls=GatheringCommand, context_settings={"allow_interspersed_args": False})
@click.argument("name", shell_complete=complete("tools"))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--manifest", default="host", metavar="MANIFEST", show_default=True,
              shell_complete=complete("manifests"), help="Whose lock pins the tool.")  # fmt: skip
@build_options
def tool(name: str, args: tuple[str, ...], manifest: str, build: BuildOptions) -> None:
    """Run a tool of the toolbox: minbuild tool mcopy -i disk.img ::

    All that follows NAME is the tool's; options of minbuild stand before it. Tools come from the
    archive, pinned by the lock, and run with none of this machine's libraries. `minbuild tool list`
    lists them.
    """
    args = args[1:] if args[:1] == ("--",) else args
    if name == "list" and not set(args) - {"--json"}:
        _list_tools(as_json=bool(args))
        return
    terminal = Terminal()
    toolbox = open_single_tool(
        build_request(manifest, build), open_session(build.store, terminal), name
    )
    arguments = [*args]
    if name == "ukify":
        arguments = add_stub_argument(args, toolbox, detect_machine_arch())
    argv = [*toolbox.build_argv(name), *arguments]
    terminal.finish()
    exec_program(argv, env=toolbox.build_environment(), purpose=f"running {name}")


def _list_tools(*, as_json: bool) -> None:
    tools = load_tools()
    if as_json:
        rows = [{"name": one.name, "summary": one.summary} for one in tools]
        click.echo(render_json("tools", tools=rows), nl=False)
        return
    width = max(len(known_tool.name) for known_tool in tools)
    for known_tool in tools:
        click.echo(f"{known_tool.name:<{width}}  {known_tool.summary}")


COLOURS = {CheckState.OK: "green", CheckState.LIMITED: "yellow", CheckState.FAILED: "red"}


@click.command()
@json_option
@archive_options
@click.pass_context
def doctor(context: click.Context, as_json: bool, archive: ArchiveOptions) -> int:
    """Say what this machine can do for builds and boots, and what to do about the rest.

    Tries each thing: store, disk space, keys, mirror, clock, QEMU, sandbox, namespaces, KVM with a
    guest. The first run brings QEMU. Exits with 1 when something failed; what is only limited
    works, slower or with less protection.
    """
    terminal = Terminal()
    session = open_session(archive.store, terminal)
    request = BuildRequest(find_manifest("host"), mirror=archive.mirror, offline=archive.offline)
    checks = []
    for check in itertools.chain([_check_config(context)], check_machine(request, session)):
        checks.append(check)
        if not as_json:
            terminal.finish()
            click.echo(render_check(check, get_terminal_width()), color=get_colour())
    terminal.finish()
    failed = [check for check in checks if check.state is CheckState.FAILED]
    if as_json:
        rows = [*map(asdict, checks)]
        click.echo(render_json("doctor", ok=not failed, checks=rows), nl=False)
    else:
        click.echo(f"\n{summarize_checks(checks)}")
    return int(bool(failed))


def _check_config(context: click.Context) -> MachineCheck:
    """Every key and table of the config file, though one command needs few of them."""
    file = find_config_file()
    try:
        config = load_config(file)
        check_tables(config, context)
        apply_config(context, config)
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
