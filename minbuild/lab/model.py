"""What a boot is asked for, and what came of it: frozen data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Protocol

from minbuild.cache.records import Records
from minbuild.paths import RootPath


class Tools(Protocol):
    """The programs that the lab runs: qemu-system-x86_64, dnsmasq, ip, mke2fs, mtools and so on."""

    def build_argv(self, name: str) -> tuple[str, ...]:
        """The words that start the tool `name`; its own arguments follow them."""
        ...

    def build_environment(self) -> Mapping[str, str]:
        """The whole environment that the tools run in."""
        ...

    def find_path(self, path: RootPath) -> Path:
        """Where a data file of the tools (/usr/share/OVMF/OVMF_CODE_4M.fd) lies."""
        ...

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directories of this machine that hold all of these."""
        ...

    @property
    def store(self) -> Records:
        """Where it is kept what this machine was found to do."""
        ...


MEMORY_LINE = re.compile(r"minbuild: memory: (\d+) MiB in use")


class Accel(StrEnum):
    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Firmware(StrEnum):
    """How the machine comes to the image."""

    UEFI = "uefi"
    BIOS = "bios"
    """SeaBIOS, which starts the boot loader of the disk's first sector."""
    DIRECT = "direct"
    PXE = "pxe"
    """UEFI, which fetches host.efi from the lab's TFTP server."""
    HTTP = "http"
    """UEFI, which fetches host.efi from the lab's HTTP server."""

    @property
    def by_network(self) -> bool:
        return self in {Firmware.PXE, Firmware.HTTP}


class BootStage(IntEnum):
    """How far a machine came, by what it said on its console."""

    FIRMWARE = 0
    KERNEL = 1
    SYSTEM = 2
    """A process spoke."""


class AttachAs(StrEnum):
    """What the image is to the machine."""

    DISK = "disk"
    CD = "cd"
    STICK = "stick"


class Network(StrEnum):
    AUTO = "auto"
    NAMESPACE = "namespace"
    """dnsmasq and the lab's servers in a network namespace, joined to the machine's card."""
    USER = "user"
    """QEMU's own network, where namespaces are not allowed."""


class LabServer(StrEnum):
    """What the lab's network offers; each can be left out to see what the host does then."""

    DHCP = "dhcp"
    DNS = "dns"
    TCP = "tcp"
    NTP = "ntp"


class LeaseShape(StrEnum):
    """What the lab's leases are like."""

    PLAIN = "plain"
    SLASH32 = "slash32"
    """The mask of one address: the router is on no network of the link."""
    CLASSLESS = "classless"
    """Routes of option 121, and a router that is none."""
    MTU1400 = "mtu1400"
    NOMASK = "nomask"


@dataclass(frozen=True, slots=True)
class FaultInjection:
    """What goes wrong around the machine; the network's part needs the namespace."""

    outages: tuple[tuple[float, float], ...] = ()
    """Seconds from power-on between which there is no DHCP and DNS server."""
    lease: int = 3600
    """Seconds that a lease holds; dnsmasq grants none under 120."""
    silent_dns: bool = False
    """True: the DNS server never answers."""
    no_disk: bool = False
    """True: there is no data disk."""
    clock: str = ""
    """What the machine's own clock says at power-on (2020-01-01T00:00:00); "" for the truth."""
    ignore_fatal_lines: bool = False
    """True: a kernel panic does not end the boot, and any restart is one that was meant to be."""


@dataclass(frozen=True, slots=True)
class ConsoleAction:
    """What is done once, when a line of the console was seen."""

    trigger: re.Pattern[str]
    keys: str = ""
    """Typed on the console; behind Ctrl-A c (\\x01c) QEMU's monitor reads it."""
    name: str = ""
    """Of the program below: its lines are `NAME: …` of the lab's servers."""
    argv: tuple[str, ...] = ()
    """A program that is started in the lab's network, beside its servers."""


class LineSource(StrEnum):
    """Where a line comes from."""

    CONSOLE = "console"
    DNSMASQ = "dnsmasq"
    """dnsmasq's own log."""
    TRACE = "trace"
    """What the kernel says of opened files, on the console too."""
    SERVERS = "servers"
    """What the lab's TCP and time servers saw."""


@dataclass(frozen=True, slots=True)
class ProbePattern:
    """One line that proves something."""

    source: LineSource
    regex: re.Pattern[str]
    """Searched for in the line; what its first group matches is shown as the detail."""
    count: int = 1
    """How often it must be seen."""


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A TCP connection that the lab makes to what it booted."""

    port: int
    target: str = "host"
    """host, guest, or an address."""
    banner: str = ""
    """Regular expression that the first bytes from there must match; "" for any or none."""


@dataclass(frozen=True, slots=True)
class BootProbe:
    """One thing that a booted host must show."""

    name: str
    patterns: tuple[ProbePattern, ...]
    """All must be seen, in any order."""
    limit: int
    """Seconds since power-on that the machine had, without those that it waited for a processor."""
    means: str
    """What a failure means, for people."""
    server: LabServer | None = None
    """The lab's server that it needs; None for none."""
    tcp_probe: TcpProbe | None = None
    """What the lab does from outside."""


class ProbeState(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What came of one probe."""

    name: str
    state: ProbeState
    seconds: float | None
    """Wall time since power-on when its last sign was seen; None when it was not."""
    uptime: float | None
    """The guest's own clock at that line, in seconds; None when the line does not say it."""
    detail: str
    """What was seen, or what was missing."""
    means: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was taken of several ways, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class BootRequest:
    """One boot: what, on what machine, and what to wait for."""

    image: Path
    """host.raw, host.efi, …, or a bare kernel when `initramfs` is given."""
    probes: tuple[BootProbe, ...]
    initramfs: Path | None = None
    cmdline: str = ""
    """Added to the image's own command line; direct boots only."""
    firmware: Firmware = Firmware.UEFI
    attach: AttachAs | None = None
    """None: an ISO image is a CD, all others are disks."""
    accel: Accel | None = None
    """None: what the environment says, else auto."""
    network: Network = Network.AUTO
    disabled_servers: frozenset[LabServer] = frozenset()
    lease: LeaseShape = LeaseShape.PLAIN
    """The namespace's alone."""
    faults: FaultInjection = FaultInjection()
    memory: int = 1024
    """MiB."""
    cpus: int = 2
    cards: int = 1
    """Network cards, all on the lab's wire."""
    actions: tuple[ConsoleAction, ...] = ()
    timeout: int = 180
    """Seconds of one try, from power-on, counted as those of a probe's limit."""
    dnsmasq_conf: Path | None = None
    """A file for dnsmasq, which says what is booted from the network; None: the lab's own."""
    guest_kernel: Path | None = None
    """Kernel of the guest on the data disk; None: that of the image, if it can be read there."""
    guest_initramfs: Path | None = None
    """Initramfs of that guest; None: the lab's own, one program of 169 bytes."""
    guest_ready: str = ""
    """What the guest of `guest_initramfs` says on its console when it is up."""
    guest_cpus: int = 1
    data_disk: Path | None = None
    """A raw disk attached in place of the lab's data disk; it is written to."""
    trace: bool = False
    """True: the kernel says which files are opened."""
    ports: bool = False
    """True: the kernel says which ports are opened."""
    disks: tuple[Path, ...] = ()
    """Further raw or qcow2 disks; nothing is written to them."""
    log: Path | None = None
    """Every line, with its time and source."""
    certificate: Path | None = None
    """A certificate (PEM) that the firmware trusts, and no other: Secure Boot is on. None: off."""
    keep: Path | None = None
    """A directory for the working files, left there afterwards; None: they are removed."""

    @property
    def boot_firmware(self) -> Firmware:
        """What starts the system: a bare kernel is started directly."""
        return self.firmware if self.initramfs is None else Firmware.DIRECT


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that was seen."""

    source: LineSource
    seconds: float
    """Wall time since power-on."""
    text: str
    effective_seconds: float | None = None
    """The part of it that the machine had, without waiting for a processor; None: all of it."""

    @property
    def limit_seconds(self) -> float:
        """Seconds that limits are held against."""
        return self.seconds if self.effective_seconds is None else self.effective_seconds


@dataclass(frozen=True, slots=True)
class BootResult:
    """What came of a boot."""

    image: str
    outcomes: tuple[ProbeOutcome, ...]
    """In the order of the request's probes."""
    end_reason: str
    """Why the lab stopped: "every probe was seen", "kernel panic: …", "no answer within 180 s"."""
    accel: Decision
    network: Decision
    firmware: Firmware
    memory: int
    """MiB."""
    cpus: int
    tries: int
    """2 when the first one was repeated: the kernel crashed under emulation, or KVM ran none."""
    retry_reason: str
    """What made the lab try again; "" when it did not."""
    seconds: float
    """Wall time of the last try, power-on to power-off."""
    lines: tuple[LogLine, ...]
    """All that was seen in the last try."""
    stage: BootStage = BootStage.FIRMWARE
    """How far the machine came."""
    stall_reason: str = ""
    """Why KVM is taken to run no system here; "" when it ran one, and without KVM."""

    @property
    def memory_used(self) -> int | None:
        """MiB that the host's kernel and processes hold beside files; None when it did not say."""
        matches = (
            MEMORY_LINE.search(line.text)
            for line in self.lines
            if line.source is LineSource.CONSOLE
        )
        return next((int(match[1]) for match in matches if match), None)

    @property
    def passed(self) -> bool:
        """No probe failed and none is open."""
        return all(outcome.state is not ProbeState.FAILED for outcome in self.outcomes)
