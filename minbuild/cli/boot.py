"""Commands that run things: boot, tool."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.console import Terminal, get_terminal_width
from minbuild.cli.options import build_options, build_request, open_session

if TYPE_CHECKING:
    from minbuild.pipeline.session import BuildRequest

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("target", metavar="IMAGE|MANIFEST", shell_complete=shell.complete_sources)
@click.option("--uefi", "firmware", flag_value="uefi", default="uefi",
              help="Start by UEFI from the image.  [default]")  # fmt: skip
@click.option("--bios", "firmware", flag_value="bios",
              help="Start by BIOS from the disk, which needs the component boot/bios.")  # fmt: skip
@click.option("--direct", "firmware", flag_value="direct",
              help="Start kernel and initramfs without firmware.")  # fmt: skip
@click.option("--pxe", "firmware", flag_value="pxe",
              help="UEFI fetches the image from the lab's TFTP server.")  # fmt: skip
@click.option("--http", "firmware", flag_value="http",
              help="UEFI fetches the image from the lab's HTTP server.")  # fmt: skip
@click.option("--as", "attach", type=click.Choice(["disk", "cd", "stick"]),
              help="What the image is to the machine.  [default: cd for an ISO, else disk]")  # fmt: skip
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]),
              help="KVM where it really works (auto), KVM or emulation.  "
                   "[default: MINBUILD_ACCEL, else auto]")  # fmt: skip
@click.option("--network", type=click.Choice(["auto", "namespace", "user"]), default="auto",
              show_default=True, help="A namespace with a real dnsmasq, or QEMU's own network.")  # fmt: skip
@click.option("--lease", type=click.Choice(["plain", "slash32", "classless", "mtu1400", "nomask"]),
              default="plain", show_default=True, help="What the lab's DHCP leases are like.")  # fmt: skip
@click.option("--memory", default=1024, show_default=True, help="MiB.")
@click.option("--cpus", default=2, show_default=True, help="Processors.")
@click.option("--cards", default=1, show_default=True, type=click.IntRange(0, 8),
              help="Network cards, all on the lab's wire.")  # fmt: skip
@click.option(
    "--disk", "disks", type=PATH, multiple=True, help="Attach a further disk; may be repeated."
)
@click.option("--guest-cpus", default=1, show_default=True, type=click.IntRange(1, 64),
              help="Processors of the lab's guest, which says how many it sees.")  # fmt: skip
@click.option("--no-data", is_flag=True, help="Without the lab's data disk: no guest is run.")
@click.option("--probe", "names", multiple=True, shell_complete=shell.complete_probes, metavar="NAME",
              help="Wait for this probe only; may be repeated.")  # fmt: skip
@click.option("--secure-boot", "certificate", type=PATH, metavar="CERTIFICATE",
              help="Secure Boot is on, and trusts this certificate (PEM) and no other.")  # fmt: skip
@click.option(
    "--timeout", default=180, show_default=True, help="Seconds that the machine of each boot has."
)
@click.option("--log", type=PATH, help="Write every line that was seen to this file.")
@click.option("--keep", type=PATH, help="Keep the lab's working files in this directory.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1, 1000),
              help="Boot that many times, and show the spread of the times.")  # fmt: skip
@click.option(
    "--junit", type=PATH, help="Write the result to this file as JUnit XML, for a build server."
)
@click.option("--trace", is_flag=True,
              help="Say which files of the image were never opened, and what was missed.")  # fmt: skip
@click.option("--no-ports", is_flag=True,
              help="Do not have the kernel tell which ports are opened, for report.")  # fmt: skip
@click.option("--interactive", is_flag=True, help="Hand the console to this terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@build_options
def boot(target: str, firmware: str, attach: str | None, names: tuple[str, ...], interactive: bool, as_json: bool, no_ports: bool,
         repeat: int, junit: Path | None, store: Path | None, **options: Any) -> int:  # fmt: skip
    """Boot an image in QEMU and wait until it proves that it works.

    IMAGE is host.raw, host.efi or a build directory; a MANIFEST is built first. The host must
    come up, take a lease, resolve a name, open a TCP connection and run a virtual machine, or
    show what else the components of its manifest ask. Exits with 1 when a probe fails.
    """
    from minbuild.lab.model import Firmware
    from minbuild.lab.repeats import boot_repeatedly
    from minbuild.pipeline.boot_setup import is_manifest_name, prepare_boot

    build_args = {name: options.pop(name) for name in _BUILD_OPTION_NAMES}
    terminal = Terminal()
    request = build_request(target if is_manifest_name(target) else "host", **build_args)
    stage = prepare_boot(
        target, request, open_session(store, terminal), firmware=Firmware(firmware)
    )
    probes = _select_probes(stage.probes, names)
    ports = not (no_ports or interactive)
    boot_request = _make_boot_request(
        options, image=stage.image, probes=probes, firmware=firmware, attach=attach, ports=ports
    )
    if interactive:
        return _run_interactive(boot_request, stage.toolbox, terminal)
    if boot_request.trace:
        from minbuild.pipeline.boot_records import require_footprint

        require_footprint(stage.image)
    results = boot_repeatedly(boot_request, stage.toolbox, terminal, repeat)
    terminal.finish()
    if junit is not None:
        from minbuild.lab.boot_results import write_boot_junit

        write_boot_junit(junit, results)
    return _print_results(
        results, _save_observations(boot_request, results, terminal), as_json=as_json
    )


_BUILD_OPTION_NAMES = (
    "settings", "cell", "components", "mirror", "lock", "root", "offline", "allow_downgrade",
    "trust_lock", "outside", "code",
)  # fmt: skip
"""Options that a manifest is built with."""


def _make_boot_request(
    options: dict[str, Any], *, firmware: str, attach: str | None, **fields: Any
) -> Any:
    """The boot that the options ask for."""
    from minbuild.lab import model

    accel = options.pop("accel")
    return model.BootRequest(
        firmware=model.Firmware(firmware),
        attach=model.AttachAs(attach) if attach else None,
        accel=model.Accel(accel) if accel else None,
        network=model.Network(options.pop("network")),
        lease=model.LeaseShape(options.pop("lease")),
        faults=model.FaultInjection(no_disk=options.pop("no_data")),
        **fields,
        **options,
    )


def _run_interactive(boot_request: Any, toolbox: Any, terminal: Terminal) -> int:
    from minbuild.lab.interactive import boot_interactively

    boot_interactively(
        boot_request, toolbox, terminal, input_fd=sys.stdin.fileno(), output_fd=sys.stdout.fileno()
    )
    return 0


def _save_observations(boot_request: Any, results: Any, terminal: Terminal) -> Any:
    """Keep what boots showed of ports and files; what the trace says."""
    if boot_request.ports:
        from minbuild.pipeline.boot_records import save_observed_ports

        save_observed_ports(boot_request.image, results, terminal)
    if not boot_request.trace:
        return None
    from minbuild.pipeline.boot_records import save_trace

    return save_trace(boot_request.image, results)


def _select_probes(probes: tuple[Any, ...], names: tuple[str, ...]) -> tuple[Any, ...]:
    from minbuild.errors import UsageError

    known = {probe.name for probe in probes}
    for name in names:
        if name not in known:
            raise UsageError(
                f"there is no probe {name}", fix=f"name one of {', '.join(sorted(known))}"
            )
    return tuple(probe for probe in probes if not names or probe.name in names)


def _print_results(results: Any, trace: Any, *, as_json: bool) -> int:
    from minbuild.lab import boot_results, repeats

    is_series = len(results) > 1
    if as_json:
        data = (
            repeats.statistics_to_json(results)
            if is_series
            else boot_results.result_to_json(results[0])
        )
        if trace is not None:
            from minbuild.footprint.boot_trace import render_trace

            data |= {"trace": json.loads(render_trace(trace))}
        from minbuild.escape import dump_json

        click.echo(dump_json(data), nl=False)
    else:
        columns = get_terminal_width()
        result_lines = (
            repeats.format_statistics_table(results, columns)
            if is_series
            else boot_results.format_result_table(results[0], columns)
        )
        click.echo("\n".join(result_lines))
        if trace is not None:
            from minbuild.report.unused_files import render_trace_summary

            click.echo(f"\n{render_trace_summary(trace)}", nl=False)
    for result in results:
        failure = boot_results.make_boot_error(result)
        if failure is not None:
            raise failure
    return 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=shell.complete_tools)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--manifest", default="host", metavar="MANIFEST", show_default=True, shell_complete=shell.complete_manifests,
              help="Whose lock pins the tool.")  # fmt: skip
@build_options
def tool(
    name: str, args: tuple[str, ...], manifest: str, store: Path | None, **build_args: Any
) -> None:
    """Run a tool of the toolbox: minbuild tool mcopy -- -i disk.img ::

    Tools come from the archive, pinned by the lock, and run with none of this machine's
    libraries. `minbuild tool list` lists them.
    """
    from minbuild.manifest.tool_documents import load_tools
    from minbuild.pipeline.boot_setup import open_single_tool
    from minbuild.process import exec_program

    tools = load_tools()
    if name == "list" and not args:
        width = max(len(known_tool.name) for known_tool in tools)
        for known_tool in tools:
            click.echo(f"{known_tool.name:<{width}}  {known_tool.summary}")
        return
    terminal = Terminal()
    request: BuildRequest = build_request(manifest, **build_args)
    session = open_session(store, terminal)
    toolbox = open_single_tool(request, session, name)
    argv = toolbox.build_argv(name)
    arguments = [*args]
    if name == "ukify":
        from minbuild.image.ukify import add_stub_argument
        from minbuild.pipeline.session import detect_machine_arch

        arguments = add_stub_argument(args, toolbox, detect_machine_arch())
    terminal.finish()
    exec_program([*argv, *arguments], env=toolbox.build_environment(), purpose=f"running {name}")


COMMANDS = (boot, tool)
