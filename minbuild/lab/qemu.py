"""QEMU's command line for the machine of a boot: processors, disks, network cards, console."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from minbuild.lab.accel import build_accel_args, build_data_directory_args
from minbuild.lab.addresses import UserNetwork
from minbuild.lab.boot_source import BootSource
from minbuild.lab.credentials import build_credential_args
from minbuild.lab.drives import build_disk_args, detect_drive_format
from minbuild.lab.metal import CARD_MODELS, METAL_ARGS, build_metal_disk_args
from minbuild.lab.model import BootRequest, Decision, Machine, PortForward, Tools
from minbuild.lab.netboot import build_tftp_arg
from minbuild.lab.worker import echo_pipe
from minbuild.lab.worker.network import build_netdev_arg, make_mac

DEFAULT_CPUS = 2
ECHO_PORT = 7
CONSOLE_ARGS = (
    *("-chardev", "stdio,id=c,mux=on,signal=off"),
    *("-serial", "chardev:c"),
    *("-mon", "chardev=c,mode=readline"),
)
"""Serial console and monitor on stdin and stdout."""


def choose_cpus(request: BootRequest, source: BootSource) -> int:
    """The processors of the machine: as requested, else two, and one for Xen.

    Of several emulated ones, those that do not run hold locks that the others of Xen wait for.
    """
    return request.cpus or (1 if source.xen else DEFAULT_CPUS)


def build_qemu_args(
    request: BootRequest,
    tools: Tools,
    source: BootSource,
    data_disk: Path | None,
    accel: Decision,
    echo_reachable: bool | None,
    work: Path,
    user_network: UserNetwork,
) -> tuple[str, ...]:
    """Build QEMU's arguments for the whole machine, its console on stdin and stdout.

    `work`: where their files are.
    `echo_reachable`: whether the lab's TCP server is reachable on QEMU's user network; None when
    the machine is on the lab's network.
    """
    size_args = ("-smp", str(choose_cpus(request, source)), "-m", str(request.memory))
    args = ["-M", "q35", *build_accel_args(accel.name, xen=source.xen), *size_args]
    args += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    args += [*build_data_directory_args(tools), *source.args]
    args += build_credential_args(request.credentials, work)
    if request.faults.clock:
        args += ["-rtc", f"base={request.faults.clock}"]
    if request.machine is Machine.METAL:
        args += [*METAL_ARGS, *build_metal_disk_args(data_disk, request.disks)]
    else:
        args += _build_virtual_args(request, data_disk)
    for number in range(request.cards):
        args += _build_card_args(
            number, request, source.served_directory, echo_reachable, user_network
        )
    return (*args, *CONSOLE_ARGS)


def _build_virtual_args(request: BootRequest, data_disk: Path | None) -> tuple[str, ...]:
    """Build the arguments of a virtual machine's disks, watchdog and random numbers."""
    # the watchdog resets a machine that hangs, once the host uses it; any reset ends QEMU
    args = ["-device", "i6300esb"]
    if data_disk is not None:
        args += build_disk_args(data_disk.absolute(), "raw", writable=True)
    for path in request.disks:
        args += build_disk_args(path.absolute(), detect_drive_format(path), writable=False)
    # OVMF's network stack needs random numbers, too
    args += ["-object", "rng-random,id=r,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r"]
    return tuple(args)


def _build_card_args(
    number: int,
    request: BootRequest,
    served_directory: Path | None,
    echo_reachable: bool | None,
    user_network: UserNetwork,
) -> tuple[str, ...]:
    """Build the arguments of a network card; a firmware boots from the first one."""
    firmware = request.firmware
    model = CARD_MODELS[number % len(CARD_MODELS)]
    if request.machine is Machine.VIRTIO:
        model = "virtio-net-pci"
    netdev_arg = build_netdev_arg(number)
    if echo_reachable is not None:
        tftp_arg = build_tftp_arg(firmware, served_directory)
        netdev_arg = f"user,id=n{number},restrict=on{user_network.options}{tftp_arg}"
        netdev_arg += _build_guestfwd_arg(user_network.tcp_server) if echo_reachable else ""
        netdev_arg += "" if number else build_forward_args(request.forwards, user_network.host)
    # romfile= : without a boot ROM the firmware does not try the network first
    boot_index = ",bootindex=1" if firmware.is_netboot and not number else ""
    card = f"{model},netdev=n{number},mac={make_mac(number)},romfile={boot_index}"
    return ("-netdev", netdev_arg, "-device", card)


def build_forward_args(forwards: Sequence[PortForward], host: str) -> str:
    """Build the options of a user network for these ports of `host`; "" for the leased address.

    Source: qemu(1), hostfwd.
    """
    return "".join(f",hostfwd=tcp:127.0.0.1:{one.local}-{host}:{one.remote}" for one in forwards)


def _build_guestfwd_arg(server: str) -> str:
    """Forward the echo port to a program that QEMU starts for each connection.

    A character device instead of a program would serve the first connection only.
    """
    program = shlex.join((sys.executable, "-IS", echo_pipe.__file__))
    return f",guestfwd=tcp:{server}:{ECHO_PORT}-cmd:{program.replace(',', ',,')}"
