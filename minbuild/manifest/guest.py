"""guest.yaml: a virtual machine for people and tools, and the guest.conf that a host reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from minbuild.manifest import document
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.nodes import Node
from minbuild.manifest.problems import Problems
from minbuild.manifest.scalars import Choice, Flag, Named, Size, Text, Whole
from minbuild.manifest.shape import Json, Reading
from minbuild.manifest.shapes import Either, Key, Many, Record
from minbuild.manifest.types import Name, Where

MIB = 1 << 20
UEFI = "uefi"


class Machine(StrEnum):
    MICROVM = "microvm"
    """virtio devices alone; every host has it."""
    Q35 = "q35"
    """A PC; the host needs hypervisor/qemu-full."""


@dataclass(frozen=True, slots=True)
class Disk:
    file: Name
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    bridge: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """IPv4, which it may send from where the host looks at that."""
    shared: bool = False
    """The host and the guests of its bridge reach it, and it them."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual machine as it is written; files are relative to the document."""

    where: Where
    machine: Machine = Machine.MICROVM
    cpus: int = 1
    memory: int = 256 * MIB
    """Bytes."""
    kernel: Name | None = None
    initrd: Name | None = None
    cmdline: tuple[str, ...] = ()
    firmware: Name | None = None
    disks: tuple[Name | Disk, ...] = ()
    nets: tuple[str | Card, ...] = ()
    autostart: bool = True
    restart: bool = True
    stop_wait: int = 30
    """Seconds."""
    ready: str = ""


_FILE = Named(
    Text(
        "a file's path",
        r"(?!(.*/)?\.\.?(/|$))(?!.*//)[A-Za-z0-9._/+-]+",
        "use letters, digits and ._/+- only, and neither . nor .. between two /",
        template=False,
    )
)
_LINE = Text("one line", r"[^\x00-\x1f\x7f]*", "write it on one line", template=False)
_BRIDGE = Text("a bridge's name", r"[A-Za-z0-9._-]{1,15}", "name one, such as br0", template=False)
_MAC = Text(
    "an address of a card",
    r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}",
    'write six pairs of hex digits, the first one even: "52:54:00:12:34:56"',
    template=False,
)
_IPV4 = Text(
    "an IPv4 address",
    r"((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}",
    'write four numbers: "192.0.2.9"',
    template=False,
)
_DISK: Record[Disk] = Record(
    Disk,
    "A disk.",
    (
        Key("file", _FILE, "Raw, or qcow2 when its name ends so.", required=True),
        Key("read-only", Flag(), "true: the guest cannot write to it."),
    ),
)
_CARD: Record[Card] = Record(
    Card,
    "A network card.",
    (
        Key("bridge", _BRIDGE, "The host's bridge that it is joined to.", required=True),
        Key("mac", _MAC, "Its address; without it, one that follows from the guest's name."),
        Key("addresses", Many(_IPV4), "IPv4 addresses of its own, with network/guest-filter."),
        Key("shared", Flag(), "true: the host and other guests can be reached by it."),
    ),
)


class _Memory:
    """Whole MiB."""

    def read(self, node: Node, reading: Reading) -> int | None:
        size = Size().read(node, reading)
        if size is None or (size % MIB == 0 and 8 * MIB <= size <= 999_999 * MIB):
            return size
        fix = "write whole MiB from 8 on: memory: 512 MiB"
        reading.problems.add(f"the memory is {size} bytes", node.where, fix)
        return None

    def schema(self) -> Json:
        return Size().schema()


GUEST: Record[Guest] = Record(
    Guest,
    "A virtual machine.",
    (
        Key("machine", Choice("machine", Machine), "microvm, or q35 for an ordinary PC."),
        Key("cpus", Whole(1, 64), "Virtual processors."),
        Key("memory", _Memory(), "With a unit: 512 MiB."),
        Key("kernel", _FILE, "A kernel to start without firmware."),
        Key("initrd", _FILE, "Its initramfs."),
        Key("cmdline", Many(_LINE), "Words of its command line."),
        Key("firmware", _FILE, "uefi (with machine: q35), or a firmware file."),
        Key("disks", Many(Either(_FILE, _DISK)), "The first one is booted without a kernel."),
        Key("nets", Many(Either(_BRIDGE, _CARD)), "Bridges of the host, a card on each."),
        Key("autostart", Flag(), "false: not started with the host."),
        Key("restart", Flag(), "false: not started again when it ends."),
        Key("stop-wait", Whole(0, 3600), "Seconds from the power button to the plug."),
        Key("ready", _LINE, "Text of a console line that means that it is up."),
    ),
)


def load_guest(path: Path) -> Guest:
    """Read a guest.yaml; the files that it names by relative paths must be there.

    Raises: ManifestError with every problem, each with its place.
    """
    problems = Problems()
    inputs = Inputs(problems)
    data = inputs.wanted(path, Where(shown(path), 1, 1))
    node = None if data is None else document.parse(data, shown(path), problems)
    guest = None if node is None else GUEST.read(node, Reading(problems))
    if guest is not None:
        _check(guest, path.parent, problems)
    problems.check()
    assert guest is not None
    return guest


def render(guest: Guest) -> str:
    """Write the guest.conf of a guest: what differs from the host's defaults, one key a line.

    Source: docs/reference/console.md, "guests/NAME/guest.conf"
    """
    return "".join(f"{key}={value}\n" for key, value in _lines(guest))


def _lines(guest: Guest) -> Iterator[tuple[str, str]]:
    files = {"kernel": guest.kernel, "initrd": guest.initrd, "firmware": guest.firmware}
    usual = Guest(guest.where)
    if guest.machine is not usual.machine:
        yield "machine", guest.machine
    yield "cpus", str(guest.cpus)
    yield "memory", str(guest.memory // MIB)
    yield from ((key, file.text) for key, file in files.items() if file is not None)
    if guest.cmdline:
        yield "cmdline", " ".join(guest.cmdline)
    yield from (("disk", _disk(disk)) for disk in guest.disks)
    yield from (("net", _net(net)) for net in guest.nets)
    switches = {"autostart": guest.autostart, "restart": guest.restart}
    yield from ((key, "no") for key, wanted in switches.items() if not wanted)
    if guest.stop_wait != usual.stop_wait:
        yield "stop-wait", str(guest.stop_wait)
    if guest.ready:
        yield "ready", guest.ready


def _disk(disk: Name | Disk) -> str:
    read_only = isinstance(disk, Disk) and disk.read_only
    return file_of(disk).text + (",ro" if read_only else "")


def _net(net: str | Card) -> str:
    if not isinstance(net, Card):
        return net
    return ",".join(
        filter(None, (net.bridge, net.mac, *net.addresses, "shared" if net.shared else ""))
    )


def file_of(disk: Name | Disk) -> Name:
    """The file behind a disk, however it is written."""
    return disk.file if isinstance(disk, Disk) else disk


def _check(guest: Guest, directory: Path, problems: Problems) -> None:
    if guest.kernel is None and not guest.disks and not len(problems):
        fix = "add kernel: or disks:"
        problems.add("there is neither a kernel nor a disk to start from", guest.where, fix)
    uefi = guest.firmware is not None and guest.firmware.text == UEFI
    if guest.firmware is not None and uefi and guest.machine is not Machine.Q35:
        problems.add("UEFI needs an ordinary PC", guest.firmware.where, "add machine: q35")
    named = [guest.kernel, guest.initrd, None if uefi else guest.firmware]
    for file in (*named, *map(file_of, guest.disks)):
        if file is None or file.text.startswith("/") or (directory / file.text).exists():
            continue
        fix = f"put it into {shown(directory)}, or correct the name"
        problems.add(f"there is no file {file.text}", file.where, fix)
