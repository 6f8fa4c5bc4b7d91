"""Guest: a virtual machine in guest.yaml, and the guest.conf that the host reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.containers import Key, ListOf, Record, TextOrMapping
from minbuild.manifest.document.nodes import Node, Problems
from minbuild.manifest.document.scalars import (
    Boolean,
    Integer,
    Json,
    Keyword,
    Located,
    ReadContext,
    Size,
    Text,
)
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import LocatedName, Location

MIB = 1 << 20
UEFI = "uefi"


class MachineType(StrEnum):
    """Machine types of QEMU."""

    MICROVM = "microvm"
    """virtio devices only; every host supports it."""
    Q35 = "q35"
    """A PC; the host needs hypervisor/qemu-full."""
    XEN_PVH = "xen-pvh"
    """A domain of Xen without QEMU; the host starts Xen."""


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """A disk of a guest."""

    file: LocatedName
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class NetworkCard:
    """A network card of a guest."""

    bridge: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """IPv4 addresses that it can send from, if the host filters them."""
    shared: bool = False
    """True: it can talk to the host and to guests on its bridge."""


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """A virtual machine as written; files are relative to the document."""

    where: Location
    machine: MachineType = MachineType.MICROVM
    cpus: int = 1
    memory: int = 256 * MIB
    """Bytes."""
    kernel: LocatedName | None = None
    initrd: LocatedName | None = None
    cmdline: tuple[str, ...] = ()
    firmware: LocatedName | None = None
    disks: tuple[LocatedName | GuestDisk, ...] = ()
    nets: tuple[str | NetworkCard, ...] = ()
    autostart: bool = True
    restart: bool = True
    stop_wait: int = 30
    """Seconds."""
    ready: str = ""
    pin: str = ""
    """Processors of the host, a list such as `0-3,8`."""
    nodes: str = ""
    """Memory nodes of the host, a list such as `0`."""
    cpu_limit: int | None = None
    """Percent of one processor."""
    cpu_weight: int | None = None
    """Share of busy processors; 100 where nothing is said."""
    disk_rate: int | None = None
    """Bytes a second that its disks read at most, and as many that they write."""
    disk_ops: int | None = None
    """Operations a second, likewise."""
    huge_pages: bool = False
    balloon: bool = False


_FILE_PATH = Located(
    Text(
        "a file's path",
        r"(?!(.*/)?\.\.?(/|$))(?!.*//)[A-Za-z0-9._/+-]+",
        "use letters, digits and ._/+- only, and neither . nor .. between two /",
        template=False,
    )
)
_TEXT_LINE = Text("one line", r"[^\x00-\x1f\x7f]*", "write it on one line", template=False)
_BRIDGE_NAME = Text(
    "a bridge's name", r"[A-Za-z0-9._-]{1,15}", "name one, such as br0", template=False
)
_MAC_ADDRESS = Text(
    "an address of a card",
    r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}",
    'write six pairs of hex digits, the first one even: "52:54:00:12:34:56"',
    template=False,
)
_IPV4_ADDRESS = Text(
    "an IPv4 address",
    r"((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}",
    'write four numbers: "192.0.2.9"',
    template=False,
)
_DISK_RECORD: Record[GuestDisk] = Record(
    GuestDisk,
    "A disk.",
    (
        Key(
            "file",
            _FILE_PATH,
            "The image: raw, or qcow2 if its name ends with .qcow2.",
            required=True,
        ),
        Key("read-only", Boolean(), "true: the guest cannot write to it."),
    ),
)
_CARD_RECORD: Record[NetworkCard] = Record(
    NetworkCard,
    "A network card.",
    (
        Key("bridge", _BRIDGE_NAME, "Bridge of the host.", required=True),
        Key("mac", _MAC_ADDRESS, "MAC address; by default derived from the name of the guest."),
        Key(
            "addresses",
            ListOf(_IPV4_ADDRESS),
            "IPv4 addresses of the guest, which network/guest-filter enforces.",
        ),
        Key("shared", Boolean(), "true: it can reach the host and other guests."),
    ),
)


_NUMBER_LIST = Text(
    "a list of numbers",
    r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*",
    'write it like "0-3,8"',
    template=False,
)


@dataclass(frozen=True, slots=True)
class _WholeMib:
    """A size in whole MiB, from `least` to `most` of them."""

    noun: str
    least: int
    most: int
    example: str

    def read(self, node: Node, context: ReadContext) -> int | None:
        size = Size().read(node, context)
        if size is None or (size % MIB == 0 and self.least <= size // MIB <= self.most):
            return size
        fix = f"write whole MiB from {self.least} on: {self.example}"
        context.problems.add(f"the {self.noun} is {size} bytes", node.where, fix)
        return None

    def schema(self) -> Json:
        return Size().schema()


GUEST_DOCUMENT: Record[GuestConfig] = Record(
    GuestConfig,
    "A virtual machine.",
    (
        Key(
            "machine",
            Keyword("machine", MachineType),
            "microvm, q35 for an ordinary PC, or xen-pvh where the host starts Xen.",
        ),
        Key("cpus", Integer(1, 64), "Virtual processors."),
        Key(
            "memory",
            _WholeMib("memory", 8, 999_999, "memory: 512 MiB"),
            "Memory, with a unit: 512 MiB.",
        ),
        Key("kernel", _FILE_PATH, "A kernel to boot directly, without firmware."),
        Key("initrd", _FILE_PATH, "Its initramfs."),
        Key("cmdline", ListOf(_TEXT_LINE), "Words of its command line."),
        Key("firmware", _FILE_PATH, "uefi (with machine: q35), or a firmware file."),
        Key(
            "disks",
            ListOf(TextOrMapping(_FILE_PATH, _DISK_RECORD)),
            "Disks; without a kernel, the guest boots from the first one.",
        ),
        Key(
            "nets",
            ListOf(TextOrMapping(_BRIDGE_NAME, _CARD_RECORD)),
            "Bridges of the host, each with a card.",
        ),
        Key("autostart", Boolean(), "false: do not start it with the host."),
        Key("restart", Boolean(), "false: do not restart it when it ends."),
        Key("stop-wait", Integer(0, 3600), "Seconds from the ACPI power button to a forced stop."),
        Key("ready", _TEXT_LINE, "Text of a console line that marks the guest as ready."),
        Key("pin", _NUMBER_LIST, "Processors of the host that it runs on: 0-3,8."),
        Key("nodes", _NUMBER_LIST, "Memory nodes of the host that its memory is on."),
        Key("cpu-limit", Integer(1, 6400), "Percent of one processor that it takes at most."),
        Key("cpu-weight", Integer(1, 10_000), "Its share of busy processors; others have 100."),
        Key(
            "disk-rate",
            _WholeMib("rate of its disks", 1, 99_999, "disk-rate: 50 MiB"),
            "What its disks read, and write, in a second at most, with a unit.",
        ),
        Key("disk-ops", Integer(1, 999_999), "Operations of its disks in a second, likewise."),
        Key("huge-pages", Boolean(), "true: its memory is pages of 2 MiB that the host set aside."),
        Key("balloon", Boolean(), "true: pages that it frees, or gives back, are the host's."),
    ),
)


def load_guest(path: Path) -> GuestConfig:
    """Read a guest.yaml; files with relative paths must exist.

    Raises: ManifestError with every problem, each with its place.
    """
    problems = Problems()
    inputs = InputFiles(problems)
    data = inputs.require(path, Location(display_path(path), 1, 1))
    node = None if data is None else yaml_reader.parse_document(data, display_path(path), problems)
    guest = None if node is None else GUEST_DOCUMENT.read(node, ReadContext(problems))
    if guest is not None:
        _check_guest(guest, path.parent, problems)
    problems.raise_if_any()
    assert guest is not None
    return guest


def render_guest_conf(guest: GuestConfig) -> str:
    """Render guest.conf: settings that differ from the defaults of the host, one a line.

    Source: docs/reference/console.md, "guests/NAME/guest.conf"
    """
    return "".join(f"{key}={value}\n" for key, value in _list_settings(guest))


def _list_settings(guest: GuestConfig) -> Iterator[tuple[str, str]]:
    files = {"kernel": guest.kernel, "initrd": guest.initrd, "firmware": guest.firmware}
    defaults = GuestConfig(guest.where)
    if guest.machine is not defaults.machine:
        yield "machine", guest.machine
    yield "cpus", str(guest.cpus)
    yield "memory", str(guest.memory // MIB)
    yield from ((key, file.text) for key, file in files.items() if file is not None)
    if guest.cmdline:
        yield "cmdline", " ".join(guest.cmdline)
    yield from (("disk", _format_disk(disk)) for disk in guest.disks)
    yield from (("net", _format_card(net)) for net in guest.nets)
    switches = {"autostart": guest.autostart, "restart": guest.restart}
    yield from ((key, "no") for key, wanted in switches.items() if not wanted)
    if guest.stop_wait != defaults.stop_wait:
        yield "stop-wait", str(guest.stop_wait)
    if guest.ready:
        yield "ready", guest.ready
    yield from _list_shares(guest)


def _list_shares(guest: GuestConfig) -> Iterator[tuple[str, str]]:
    """List what the guest is given of the machine, as guest.conf has it."""
    rate = None if guest.disk_rate is None else guest.disk_rate // MIB
    numbers = {
        "cpu-limit": guest.cpu_limit,
        "cpu-weight": guest.cpu_weight,
        "disk-rate": rate,
        "disk-ops": guest.disk_ops,
    }
    lists = {"pin": guest.pin, "nodes": guest.nodes}
    switches = {"huge-pages": guest.huge_pages, "balloon": guest.balloon}
    yield from ((key, text) for key, text in lists.items() if text)
    yield from ((key, str(number)) for key, number in numbers.items() if number is not None)
    yield from ((key, "yes") for key, wanted in switches.items() if wanted)


def _format_disk(disk: LocatedName | GuestDisk) -> str:
    read_only = isinstance(disk, GuestDisk) and disk.read_only
    return get_disk_file(disk).text + (",ro" if read_only else "")


def _format_card(net: str | NetworkCard) -> str:
    if not isinstance(net, NetworkCard):
        return net
    return ",".join(
        filter(None, (net.bridge, net.mac, *net.addresses, "shared" if net.shared else ""))
    )


def get_disk_file(disk: LocatedName | GuestDisk) -> LocatedName:
    """Return the file of a disk."""
    return disk.file if isinstance(disk, GuestDisk) else disk


def _check_domain(guest: GuestConfig, problems: Problems) -> None:
    """Add what a domain of Xen without QEMU cannot have."""
    if guest.firmware is not None:
        fix = "remove firmware: the domain starts from its kernel"
        problems.add("machine xen-pvh has no firmware", guest.firmware.where, fix)
    if guest.kernel is None and guest.disks:
        problems.add("machine xen-pvh starts from a kernel", guest.where, "add kernel:")
    for file in map(get_disk_file, guest.disks):
        if file.text.endswith(".qcow2"):
            fix = f"convert it: qemu-img convert -O raw {file.text} {file.text.removesuffix('qcow2')}raw"
            problems.add("machine xen-pvh has raw disks alone", file.where, fix)
    if any('"' in word or "\\" in word for word in guest.cmdline):
        fix = "write it without quotes and backslashes"
        problems.add('the command line of a domain of Xen has a " or \\', guest.where, fix)
    for key, _ in _list_shares(guest):
        fix = f"remove {key}: it is of KVM and QEMU"
        problems.add(f"machine xen-pvh has no {key}", guest.where, fix)


def _check_guest(guest: GuestConfig, directory: Path, problems: Problems) -> None:
    if guest.kernel is None and not guest.disks and not len(problems):
        fix = "add kernel: or disks:"
        problems.add("the guest has neither a kernel nor a disk to boot from", guest.where, fix)
    if guest.machine is MachineType.XEN_PVH:
        _check_domain(guest, problems)
        if guest.firmware is not None:
            return
    if guest.huge_pages and guest.memory % (2 * MIB):
        fix = "give it a memory of whole 2 MiB"
        problems.add("huge pages have 2 MiB, and the memory is no multiple", guest.where, fix)
    uefi = guest.firmware is not None and guest.firmware.text == UEFI
    if guest.firmware is not None and uefi and guest.machine is not MachineType.Q35:
        problems.add("UEFI requires machine: q35", guest.firmware.where, "add machine: q35")
    boot_files = [guest.kernel, guest.initrd, None if uefi else guest.firmware]
    for file in (*boot_files, *map(get_disk_file, guest.disks)):
        if file is None or file.text.startswith("/") or (directory / file.text).exists():
            continue
        fix = f"put it into {display_path(directory)}, or correct the name"
        problems.add(f"there is no file {file.text}", file.where, fix)
