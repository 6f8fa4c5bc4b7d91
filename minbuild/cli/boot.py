"""Commands that run things: boot, tool."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import build_options, doors_of, request_of
from minbuild.cli.terminal import Terminal, width

if TYPE_CHECKING:
    from minbuild.build.request import Request

PLACE = click.Path(path_type=Path)


@click.command()
@click.argument("target", metavar="IMAGE|MANIFEST", shell_complete=shell.either)
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
    "--disk", "disks", type=PLACE, multiple=True, help="Attach a further disk; may be repeated."
)
@click.option("--guest-cpus", default=1, show_default=True, type=click.IntRange(1, 64),
              help="Processors of the lab's guest, which says how many it sees.")  # fmt: skip
@click.option("--no-data", is_flag=True, help="Without the lab's data disk: no guest is run.")
@click.option("--probe", "names", multiple=True, shell_complete=shell.probes, metavar="NAME",
              help="Wait for this probe only; may be repeated.")  # fmt: skip
@click.option("--secure-boot", "certificate", type=PLACE, metavar="CERTIFICATE",
              help="Secure Boot is on, and trusts this certificate (PEM) and no other.")  # fmt: skip
@click.option(
    "--timeout", default=180, show_default=True, help="Seconds that the machine of each boot has."
)
@click.option("--log", type=PLACE, help="Write every line that was seen to this file.")
@click.option("--keep", type=PLACE, help="Keep the lab's working files in this directory.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1, 1000),
              help="Boot that many times, and show the spread of the times.")  # fmt: skip
@click.option(
    "--junit", type=PLACE, help="Write the result to this file as JUnit XML, for a build server."
)
@click.option("--trace", is_flag=True,
              help="Say which files of the image were never opened, and what was missed.")  # fmt: skip
@click.option("--no-ports", is_flag=True,
              help="Do not have the kernel tell which ports are opened, for report.")  # fmt: skip
@click.option("--interactive", is_flag=True, help="Hand the console to this terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@build_options
def boot(target: str, firmware: str, attach: str | None, names: tuple[str, ...], interactive: bool, as_json: bool, no_ports: bool,
         repeat: int, junit: Path | None, store: Path | None, **rest: Any) -> int:  # fmt: skip
    """Boot an image in QEMU and wait until it proves that it works.

    IMAGE is host.raw, host.efi or a build directory; a MANIFEST is built first. The host must
    come up, take a lease, resolve a name, open a TCP connection and run a virtual machine, or
    show what else the components of its manifest ask. Exits with 1 when a probe fails.
    """
    from minbuild.build.booting import is_manifest, set_stage
    from minbuild.lab.series import boots
    from minbuild.lab.types import Firmware

    build = {name: rest.pop(name) for name in _OF_THE_BUILD}
    terminal = Terminal()
    request = request_of(target if is_manifest(target) else "host", **build)
    stage = set_stage(target, request, doors_of(store, terminal), firmware=Firmware(firmware))
    probes = _chosen(stage.probes, names)
    ports = not (no_ports or interactive)
    wanted = _wanted(
        rest, image=stage.image, probes=probes, firmware=firmware, attach=attach, ports=ports
    )
    if interactive:
        return _hand_over(wanted, stage.toolbox, terminal)
    if wanted.trace:
        from minbuild.build.tracing import traceable

        traceable(stage.image)
    results = boots(wanted, stage.toolbox, terminal, repeat)
    terminal.done()
    if junit is not None:
        from minbuild.lab.junit import write

        write(junit, results)
    return _show(results, _recorded(wanted, results, terminal), as_json=as_json)


_OF_THE_BUILD = (
    "settings", "cell", "components", "mirror", "lock", "root", "offline", "allow_downgrade",
    "trust_lock", "outside", "code",
)  # fmt: skip
"""Options that a manifest is built with."""


def _wanted(rest: dict[str, Any], *, firmware: str, attach: str | None, **more: Any) -> Any:
    """The boot that the options ask for."""
    from minbuild.lab import types as lab

    accel = rest.pop("accel")
    return lab.BootRequest(
        firmware=lab.Firmware(firmware),
        attach=lab.Attach(attach) if attach else None,
        accel=lab.Accel(accel) if accel else None,
        network=lab.Network(rest.pop("network")),
        lease=lab.Shape(rest.pop("lease")),
        trouble=lab.Trouble(no_disk=rest.pop("no_data")),
        **more,
        **rest,
    )


def _hand_over(wanted: Any, toolbox: Any, terminal: Terminal) -> int:
    from minbuild.lab.interact import interact

    interact(wanted, toolbox, terminal, keys=sys.stdin.fileno(), screen=sys.stdout.fileno())
    return 0


def _recorded(wanted: Any, results: Any, terminal: Terminal) -> Any:
    """Keep what boots showed of ports and files; what the trace says."""
    if wanted.ports:
        from minbuild.build.listening import keep

        keep(wanted.image, results, terminal)
    if not wanted.trace:
        return None
    from minbuild.build.tracing import record

    return record(wanted.image, results)


def _chosen(probes: tuple[Any, ...], names: tuple[str, ...]) -> tuple[Any, ...]:
    from minbuild.errors import UsageError

    known = {probe.name for probe in probes}
    for name in names:
        if name not in known:
            raise UsageError(
                f"there is no probe {name}", fix=f"name one of {', '.join(sorted(known))}"
            )
    return tuple(probe for probe in probes if not names or probe.name in names)


def _show(results: Any, traced: Any, *, as_json: bool) -> int:
    from minbuild.lab import series, table

    several = len(results) > 1
    if as_json:
        data = series.document(results) if several else table.to_json(results[0])
        if traced is not None:
            from minbuild.footprint.usage import render

            data |= {"trace": json.loads(render(traced))}
        from minbuild.escape import dump

        click.echo(dump(data), nl=False)
    else:
        wide = width()
        shown = series.table(results, wide) if several else table.table(results[0], wide)
        click.echo("\n".join(shown))
        if traced is not None:
            from minbuild.report.usage import text

            click.echo(f"\n{text(traced)}", nl=False)
    for result in results:
        failed = table.verdict(result)
        if failed is not None:
            raise failed
    return 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=shell.tools)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--manifest", default="host", metavar="MANIFEST", show_default=True, shell_complete=shell.manifests,
              help="Whose lock pins the tool.")  # fmt: skip
@build_options
def tool(name: str, args: tuple[str, ...], manifest: str, store: Path | None, **build: Any) -> None:
    """Run a tool of the toolbox: minbuild tool mcopy -- -i disk.img ::

    Tools come from the archive, pinned by the lock, and run with none of this machine's
    libraries. `minbuild tool list` lists them.
    """
    from minbuild.build.booting import open_tool
    from minbuild.manifest.tools import load_tools
    from minbuild.run import replace

    tools = load_tools()
    if name == "list" and not args:
        width = max(len(one.name) for one in tools)
        for one in tools:
            click.echo(f"{one.name:<{width}}  {one.summary}")
        return
    terminal = Terminal()
    request: Request = request_of(manifest, **build)
    doors = doors_of(store, terminal)
    toolbox = open_tool(request, doors, name)
    argv = toolbox.argv(name)
    words = [*args]
    if name == "ukify":
        from minbuild.build.request import machine_arch
        from minbuild.image.uki import with_stub

        words = with_stub(args, toolbox, machine_arch())
    terminal.done()
    replace([*argv, *words], env=toolbox.environment(), what=f"running {name}")


COMMANDS = (boot, tool)
