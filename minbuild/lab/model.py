"""Types of the lab: the request for a boot, its probes and its result; frozen data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Protocol

from minbuild.cache.records import Records
from minbuild.footprint.model import FixedAddress
from minbuild.lab.credentials import Credential
from minbuild.paths import RootPath


class Tools(Protocol):
    """The programs that the lab runs: qemu-system-x86_64, dnsmasq, ip, mke2fs, mtools and others.

    A `Toolbox` has these methods; tests put a program in front of one tool.
    """

    def build_argv(self, name: str) -> tuple[str, ...]:
        """Build the command line of the tool `name`, without the arguments of a call."""
        ...

    def build_environment(self) -> Mapping[str, str]:
        """Build the whole environment of a tool."""
        ...

    def find_path(self, path: RootPath) -> Path:
        """Find the path on this machine of a data file such as /usr/share/OVMF/OVMF_CODE_4M.fd."""
        ...

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directories of this machine that contain the programs and their files."""
        ...

    @property
    def store(self) -> Records:
        """The cache, in which the results of KVM trials are recorded."""
        ...


MEMORY_LINE = re.compile(r"minbuild: memory: (\d+) MiB in use")


class Accel(StrEnum):
    """The accelerator of QEMU that is requested."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Firmware(StrEnum):
    """How the machine is started."""

    UEFI = "uefi"
    BIOS = "bios"
    """SeaBIOS, which starts the boot loader in the disk's first sector."""
    DIRECT = "direct"
    """QEMU loads the kernel itself (-kernel)."""
    PXE = "pxe"
    """UEFI, which fetches host.efi from the lab's TFTP server."""
    HTTP = "http"
    """UEFI, which fetches host.efi from the lab's HTTP server."""

    @property
    def is_netboot(self) -> bool:
        """Whether the firmware fetches the image from the network."""
        return self in {Firmware.PXE, Firmware.HTTP}


class BootStage(IntEnum):
    """How far a boot got, judged by the output on the console."""

    FIRMWARE = 0
    KERNEL = 1
    SYSTEM = 2
    """A process wrote a line."""


class Machine(StrEnum):
    """The devices of the machine."""

    VIRTIO = "virtio"
    METAL = "metal"
    """Those of a server: AHCI, NVMe, MegaRAID, USB, e1000e, igb, IPMI, a screen; nothing of virtio."""


class AttachAs(StrEnum):
    """The kind of drive that the image is attached as."""

    DISK = "disk"
    CD = "cd"
    STICK = "stick"


class Network(StrEnum):
    """The network between the lab and the machine."""

    AUTO = "auto"
    NAMESPACE = "namespace"
    """dnsmasq and the lab's servers in a network namespace, connected to the machine's card."""
    USER = "user"
    """QEMU's user network (slirp), for machines on which namespaces are not allowed."""


class LabServer(StrEnum):
    """The servers on the lab's network; tests disable single ones."""

    DHCP = "dhcp"
    DNS = "dns"
    TCP = "tcp"
    NTP = "ntp"


class LeaseShape(StrEnum):
    """The kind of DHCP lease that the lab gives."""

    PLAIN = "plain"
    SLASH32 = "slash32"
    """Mask 255.255.255.255: the router is outside of every network of the link."""
    CLASSLESS = "classless"
    """Routes in option 121, and a router that does not exist."""
    MTU1400 = "mtu1400"
    """An MTU of 1400."""
    NOMASK = "nomask"
    """No mask."""


@dataclass(frozen=True, slots=True)
class FaultInjection:
    """Faults around the machine; those of the network need the namespace."""

    outages: tuple[tuple[float, float], ...] = ()
    """Seconds from power-on between which there is no DHCP and DNS server."""
    lease: int = 3600
    """Seconds that a lease lasts; dnsmasq grants none below 120."""
    silent_dns: bool = False
    """True: the DNS server never answers."""
    no_disk: bool = False
    """True: there is no data disk."""
    clock: str = ""
    """The machine's clock at power-on (2020-01-01T00:00:00); "" for the current time."""
    ignore_fatal_lines: bool = False
    """True: a kernel panic does not end the boot, and neither it nor a restart counts as a crash."""


@dataclass(frozen=True, slots=True)
class ConsoleAction:
    """Keys or a program, sent or started once when a console line matches `trigger`."""

    trigger: re.Pattern[str]
    keys: str = ""
    """Typed on the console; after Ctrl-A c (\\x01c) they go to QEMU's monitor."""
    name: str = ""
    """Name of the program `argv`: its output is logged as `NAME: …` among the servers' lines."""
    argv: tuple[str, ...] = ()
    """A program that is started in the lab's network."""


class LineSource(StrEnum):
    """Where a log line comes from."""

    CONSOLE = "console"
    DNSMASQ = "dnsmasq"
    """dnsmasq's own log."""
    TRACE = "trace"
    """The kernel's events of opened files and ports, printed on the console."""
    SERVERS = "servers"
    """The log of the lab's own servers (TCP, NTP, HTTP, syslog)."""


@dataclass(frozen=True, slots=True)
class ProbePattern:
    """A line that must be seen for a probe to pass."""

    source: LineSource
    regex: re.Pattern[str]
    """Searched for in the line; the match of its first group is shown as the detail."""
    count: int = 1
    """Number of lines that must match."""


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A TCP connection from the lab to the booted host or to a guest on it."""

    port: int
    target: str = "host"
    """host, guest, or an address."""
    banner: str = ""
    """Regular expression that the first bytes received must match; "" to only connect."""


@dataclass(frozen=True, slots=True)
class BootProbe:
    """One thing that a booted host must show: `dhcp` with its console and dnsmasq lines."""

    name: str
    patterns: tuple[ProbePattern, ...]
    """All must be seen, in any order."""
    limit: int
    """Effective seconds since power-on: wall time without waiting for a processor."""
    means: str
    """What a failure means, as text for people."""
    server: LabServer | None = None
    """The lab's server that it needs; None for none."""
    tcp_probe: TcpProbe | None = None
    """The connection that the lab makes; None for none."""
    needs_lease: bool = False
    """True: the lab's DHCP server must give the host its address."""


class ProbeState(StrEnum):
    """The result of a probe in one word."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """The result of one probe."""

    name: str
    state: ProbeState
    seconds: float | None
    """Wall time since power-on when its last pattern matched; None when one did not."""
    uptime: float | None
    """The host's own clock at that line, in seconds; None when the line has no time."""
    detail: str
    """The matched text, or what was missing."""
    means: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The accelerator or network that was chosen, and why: `tcg`, "there is no /dev/kvm"."""

    name: str
    """A value of Accel or Network, never `auto`."""
    reason: str


@dataclass(frozen=True, slots=True)
class PortForward:
    """A TCP port of this machine, on loopback, and the port of the booted host that it leads to."""

    local: int
    remote: int


@dataclass(frozen=True, slots=True)
class BootRequest:
    """One boot: the image, the machine, the network and the probes to wait for."""

    image: Path
    """host.raw, host.efi, …, or a bare kernel when `initramfs` is given."""
    probes: tuple[BootProbe, ...]
    initramfs: Path | None = None
    cmdline: str = ""
    """Added to the image's kernel command line; direct boots only."""
    firmware: Firmware = Firmware.UEFI
    attach: AttachAs | None = None
    """None: an ISO image is a CD, all others are disks."""
    accel: Accel | None = None
    """None: MINBUILD_ACCEL of the environment, else auto."""
    network: Network = Network.AUTO
    disabled_servers: frozenset[LabServer] = frozenset()
    lease: LeaseShape = LeaseShape.PLAIN
    """Any other than PLAIN needs the namespace."""
    faults: FaultInjection = FaultInjection()
    memory: int = 1024
    """MiB."""
    cpus: int = 0
    """0: two, and one where Xen is emulated."""
    cards: int = 1
    """Network cards, all on the lab's network."""
    machine: Machine = Machine.VIRTIO
    actions: tuple[ConsoleAction, ...] = ()
    timeout: int = 180
    """Effective seconds of one boot, from power-on."""
    silence: int = 0
    """Effective seconds without a line on the console after which the boot is given up; 0: `timeout`."""
    dnsmasq_conf: Path | None = None
    """dnsmasq's configuration file for network boot; None: the lab's arguments."""
    guest_kernel: Path | None = None
    """Kernel of the guest on the data disk; None: that of the image, if it is readable."""
    guest_initramfs: Path | None = None
    """Initramfs of that guest; None: the lab's own, with one program of 169 bytes."""
    guest_ready: str = ""
    """The text that the guest of `guest_initramfs` writes on its console when it is up."""
    guest_cpus: int = 1
    forwards: tuple[PortForward, ...] = ()
    """Ports of this machine that lead to the host's; QEMU's user network alone has them."""
    fixed_address: FixedAddress | None = None
    """The host's address when it asks no DHCP server; the lab then has its network."""
    credentials: tuple[Credential, ...] = ()
    """What this machine alone is told; those of the ESP need an EFI file, started by UEFI."""
    data_disk: Path | None = None
    """A raw disk attached instead of the lab's data disk; the machine writes to it."""
    trace: bool = False
    """True: the kernel prints which files are opened."""
    ports: bool = False
    """True: the kernel prints which ports are opened."""
    disks: tuple[Path, ...] = ()
    """More disks, of any format; writes are discarded."""
    log: Path | None = None
    """File for every line with its time and source; None for none."""
    certificate: Path | None = None
    """The only certificate (PEM) that the firmware trusts, with Secure Boot on. None: off."""
    keep: Path | None = None
    """A new directory for the working files; None: a temporary directory."""

    @property
    def boot_firmware(self) -> Firmware:
        """The firmware that starts the system: none for a bare kernel."""
        return self.firmware if self.initramfs is None else Firmware.DIRECT


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the console or of a log."""

    source: LineSource
    seconds: float
    """Wall time since power-on."""
    text: str
    effective_seconds: float | None = None
    """`seconds` without the time that the machine waited for a processor; None: the same."""

    @property
    def limit_seconds(self) -> float:
        """The seconds that are compared with limits."""
        return self.seconds if self.effective_seconds is None else self.effective_seconds


@dataclass(frozen=True, slots=True)
class BootResult:
    """The result of a boot."""

    image: str
    outcomes: tuple[ProbeOutcome, ...]
    """In the order of the request's probes, those of a network boot first."""
    end_reason: str
    """Why the lab stopped: "every probe was seen", "kernel panic: …", "180 s passed without: …"."""
    accel: Decision
    network: Decision
    firmware: Firmware
    memory: int
    """MiB."""
    cpus: int
    tries: int
    """2 when the boot was repeated: it crashed under emulation, or KVM ran no system."""
    retry_reason: str
    """Why the boot was repeated; "" when it was not."""
    seconds: float
    """Wall time of the last boot, power-on to power-off."""
    lines: tuple[LogLine, ...]
    """Every line of the last boot."""
    stage: BootStage = BootStage.FIRMWARE
    """How far the last boot got."""
    stall_reason: str = ""
    """The sign that KVM runs no system on this machine; "" for none, and without KVM."""

    @property
    def memory_used(self) -> int | None:
        """MiB used by kernel and processes, without files; None when the host did not print it."""
        matches = (
            MEMORY_LINE.search(line.text)
            for line in self.lines
            if line.source is LineSource.CONSOLE
        )
        return next((int(match[1]) for match in matches if match), None)

    @property
    def passed(self) -> bool:
        """Whether no probe failed."""
        return all(outcome.state is not ProbeState.FAILED for outcome in self.outcomes)
