"""Command that boots an image in the lab: boot."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from minbuild.cli.console import get_terminal_width, print_text
from minbuild.cli.options import BuildOptions, GatheringCommand, build_options, complete
from minbuild.cli.output_options import json_option
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.data import is_manifest_name
from minbuild.errors import UsageError
from minbuild.escape import dump_json
from minbuild.footprint.boot_trace import TraceSummary, render_trace
from minbuild.footprint.model import FixedAddress
from minbuild.lab import boot_results
from minbuild.lab.addresses import apply_credentials
from minbuild.lab.credentials import Credential, parse_credential
from minbuild.lab.interactive import boot_interactively
from minbuild.lab.metal import CARD_MODELS
from minbuild.lab.model import (
    Accel,
    AttachAs,
    BootProbe,
    BootRequest,
    BootResult,
    FaultInjection,
    Firmware,
    LeaseShape,
    Machine,
    Network,
    PortForward,
)
from minbuild.pipeline.boot_setup import (
    BootSetup,
    prepare_boot,
    require_footprint,
    save_observed_ports,
    save_trace,
)
from minbuild.report.removals import render_trace_summary
from minbuild.toolbox.toolbox import Toolbox

CREDENTIALS_PROBE = "credentials"
"""The probe of boot/credentials."""
PATH = click.Path(path_type=Path)


@click.command(cls=GatheringCommand)
@click.argument("target", metavar="IMAGE|MANIFEST", shell_complete=complete("sources"))
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
              help="How the image is attached.  [default: cd for an ISO, else disk]")  # fmt: skip
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]),
              help="KVM where it works (auto), KVM, or emulation.  "
                   "[default: MINBUILD_ACCEL, else auto]")  # fmt: skip
@click.option("--network", type=click.Choice(["auto", "namespace", "user"]), default="auto",
              show_default=True, help="A namespace with a real dnsmasq, or QEMU's user network.")  # fmt: skip
@click.option("--lease", type=click.Choice(["plain", "slash32", "classless", "mtu1400", "nomask"]),
              default="plain", show_default=True, help="Kind of DHCP lease that the lab gives.")  # fmt: skip
@click.option("--memory", default=1024, show_default=True, help="MiB.")
@click.option("--cpus", type=click.IntRange(1, 255),
              help="Processors.  [default: 2, and 1 for an image that starts Xen]")  # fmt: skip
@click.option("--machine", type=click.Choice(["virtio", "metal"]), default="virtio", show_default=True,
              help="Devices of a virtual machine, or those of a server (AHCI, NVMe, e1000e, igb, IPMI).")  # fmt: skip
@click.option("--cards", type=click.IntRange(0, 8),
              help="Network cards, all on the lab's network.  [default: 1; metal: 2]")  # fmt: skip
@click.option(
    "--disk", "disks", type=PATH, multiple=True, help="Attach a further disk; may be repeated."
)
@click.option("--credential", "credentials", multiple=True, metavar="[WAY:]NAME=VALUE",
              help="Tell this machine its own value of a variable (minbuild.hostname=rack7), by smbios: "
                   "(default), fw_cfg: or esp:; may be repeated.")  # fmt: skip
@click.option("--guest-cpus", default=1, show_default=True, type=click.IntRange(1, 64),
              help="Processors of the lab's guest, which prints how many it sees.")  # fmt: skip
@click.option("--no-data", is_flag=True, help="Attach no data disk: no guest is run.")
@click.option("--probe", "names", multiple=True, shell_complete=complete("probes"), metavar="NAME",
              help="Wait for this probe only; may be repeated.")  # fmt: skip
@click.option("--secure-boot", "certificate", type=PATH, metavar="CERTIFICATE",
              help="Turn Secure Boot on; the firmware trusts only this certificate (PEM).")  # fmt: skip
@click.option("--timeout", default=180, show_default=True, help="Seconds until a boot is given up.")
@click.option("--log", type=PATH, help="Write every line of the consoles to this file.")
@click.option("--keep", type=PATH, help="Keep the lab's working files in this directory.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1, 1000),
              help="Boot so many times, and show the spread of the times.")  # fmt: skip
@click.option(
    "--junit", type=PATH, help="Write the result to this file as JUnit XML, for a build server."
)
@click.option("--trace", is_flag=True,
              help="List the files of the image that were never opened, and those that were missed.")  # fmt: skip
@click.option("--no-ports", is_flag=True,
              help="Do not record which ports are opened.")  # fmt: skip
@click.option("--forward", "forwards", multiple=True, metavar="PORT:PORT",
              help="Lead a port of this machine to one of the host (8080:80), on QEMU's user network; "
                   "may be repeated.")  # fmt: skip
@click.option("--interactive", is_flag=True, help="Connect the console to this terminal.")
@json_option
@build_options
def boot(
    target: str, firmware: str, attach: str | None, accel: str | None, network: str, lease: str,
    memory: int, cpus: int | None, machine: str, cards: int | None, disks: tuple[Path, ...],
    credentials: tuple[str, ...], forwards: tuple[str, ...], guest_cpus: int, no_data: bool,
    names: tuple[str, ...], certificate: Path | None, timeout: int, log: Path | None,
    keep: Path | None, repeat: int, junit: Path | None, trace: bool, no_ports: bool,
    interactive: bool, as_json: bool, build: BuildOptions,
) -> int:  # fmt: skip
    """Boot an image in QEMU and wait until it proves that it works.

    IMAGE is host.raw, host.efi or a build directory; a MANIFEST is built first. The host must
    come up, take a lease, resolve a name, open a TCP connection and run a virtual machine, or
    show what else the components of its manifest ask. Exits with 1 when a probe fails.
    """
    terminal = Terminal()
    request = build_request(target if is_manifest_name(target) else "host", build)
    setup = prepare_boot(
        target, request, open_session(build.store, terminal), firmware=Firmware(firmware)
    )
    told = tuple(map(parse_credential, credentials))
    boot_request = BootRequest(
        image=setup.image, probes=_select_probes(setup.probes, names), firmware=Firmware(firmware),
        attach=AttachAs(attach) if attach else None, accel=Accel(accel) if accel else None,
        network=_choose_network(network, forwards),
        forwards=tuple(map(parse_forward, forwards)), lease=LeaseShape(lease), faults=FaultInjection(no_disk=no_data),
        memory=memory, cpus=cpus or 0, machine=Machine(machine),
        cards=_count_cards(machine, cards), disks=disks, guest_cpus=guest_cpus,
        guest_kernel=setup.guest_kernel,
        fixed_address=_choose_fixed_address(setup, told, secure=certificate is not None),
        credentials=told,
        certificate=certificate, timeout=timeout, log=log, keep=keep, trace=trace,
        ports=not (no_ports or interactive),
    )  # fmt: skip
    if interactive:
        _connect_terminal(boot_request, setup.toolbox, terminal)
        return 0
    if trace:
        require_footprint(setup.image)
    results = boot_results.boot_repeatedly(boot_request, setup.toolbox, terminal, repeat)
    terminal.finish()
    _save_and_show(boot_request, results, terminal, junit=junit, as_json=as_json)
    return 0


def _connect_terminal(boot_request: BootRequest, toolbox: Toolbox, terminal: Terminal) -> None:
    keys, screen = sys.stdin.fileno(), sys.stdout.fileno()
    boot_interactively(boot_request, toolbox, terminal, input_fd=keys, output_fd=screen)


def _save_and_show(
    boot_request: BootRequest,
    results: Sequence[BootResult],
    terminal: Terminal,
    *,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Keep what the boots have shown beside the image, and print it.

    Raises: the error of the first one that failed.
    """
    if junit is not None:
        boot_results.write_boot_junit(junit, results)
    if boot_request.ports:
        save_observed_ports(boot_request.image, results, terminal)
    summary = save_trace(boot_request.image, results) if boot_request.trace else None
    if as_json:
        click.echo(_results_to_json(results, summary), nl=False)
    else:
        print_text(_render_results(results, summary))
    for result in results:
        failure = boot_results.make_boot_error(result)
        if failure is not None:
            raise failure


def parse_forward(text: str) -> PortForward:
    """Parse LOCAL:REMOTE. Raises: UsageError."""
    local, _, remote = text.partition(":")
    ports = [int(port) if port.isascii() and port.isdigit() else 0 for port in (local, remote)]
    if not all(0 < port < 1 << 16 for port in ports):
        raise UsageError(
            f"{text!r} are no two ports",
            fix="write --forward 8080:80: a port of this machine, then one of the host",
        )
    return PortForward(*ports)


def _choose_fixed_address(
    setup: BootSetup, credentials: Sequence[Credential], *, secure: bool
) -> FixedAddress | None:
    """The host's fixed address: credentials count with boot/credentials, without Secure Boot."""
    reads_credentials = any(probe.name == CREDENTIALS_PROBE for probe in setup.probes)
    if secure or not reads_credentials:
        return setup.fixed_address
    return apply_credentials(setup.fixed_address, credentials)


def _choose_network(requested: str, forwards: Sequence[str]) -> Network:
    """QEMU's user network where ports are forwarded. Raises: UsageError for the namespace then."""
    if not forwards:
        return Network(requested)
    if requested == Network.NAMESPACE:
        raise UsageError(
            "no port of this machine leads into the lab's namespace",
            fix="leave out --network namespace: --forward uses QEMU's user network",
        )
    return Network.USER


def _count_cards(machine: str, requested: int | None) -> int:
    if requested is not None:
        return requested
    return len(CARD_MODELS) if machine == Machine.METAL else 1


def _select_probes(probes: tuple[BootProbe, ...], names: tuple[str, ...]) -> tuple[BootProbe, ...]:
    """The probes with these names; without names all. Raises: UsageError for an unknown one."""
    known = {probe.name for probe in probes}
    for name in names:
        if name not in known:
            raise UsageError(
                f"there is no probe {name}", fix=f"name one of {', '.join(sorted(known))}"
            )
    return tuple(probe for probe in probes if not names or probe.name in names)


def _results_to_json(results: Sequence[BootResult], trace: TraceSummary | None) -> str:
    data = (
        boot_results.statistics_to_json(results)
        if len(results) > 1
        else boot_results.result_to_json(results[0])
    )
    if trace is not None:
        data |= {"trace": json.loads(render_trace(trace))}
    return dump_json(data)


def _render_results(results: Sequence[BootResult], trace: TraceSummary | None) -> str:
    columns = get_terminal_width()
    lines = (
        boot_results.format_statistics_table(results, columns)
        if len(results) > 1
        else boot_results.format_result_table(results[0], columns)
    )
    summary = f"\n{render_trace_summary(trace)}" if trace is not None else ""
    return "\n".join(lines) + "\n" + summary
