"""Probes of a boot: the lines on the console and in the servers' logs that each one needs."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minbuild.errors import UsageError
from minbuild.footprint.measure import list_probes
from minbuild.footprint.model import ProbeRow
from minbuild.lab.addresses import LabAddresses
from minbuild.lab.model import (
    BootProbe,
    Firmware,
    LabServer,
    LineSource,
    LogLine,
    Network,
    ProbeOutcome,
    ProbePattern,
    ProbeState,
    TcpProbe,
)
from minbuild.lab.worker.network import FIRST_MAC
from minbuild.manifest.model import Manifest

HOST_LINE = re.compile(r"minbuild: (?:\d+\.\d+ )?([a-z]+)(?: \S+)?: (.*)")
"""A line that the host prints: the step (for a guest also its name) and the text.

Source: docs/reference/console.md
"""
UPTIME_PREFIX = re.compile(r"^\[ *(\d+\.\d+)\] |^minbuild: (\d+\.\d+) ")
FAILURE_PREFIX = "FAILED"
"""Start of the text when a step failed."""
DEPENDENT_PROBES = {
    "data": ("dns", "tcp", "confined", "guest", "ovmf"),
    "kvm": ("confined", "guest", "ovmf"),
}
"""Step → the probes that cannot pass once it failed; the data disk requests these."""
NOT_SEEN_PREFIX = "not seen "
FATAL_LINES = (
    ("kernel panic: ", re.compile(r"Kernel panic - not syncing: (.*)")),
    ("the firmware found nothing to boot: ", re.compile(r"(BdsDxe: No bootable option.*)")),
    ("the firmware found nothing on the network: ", re.compile(r"(PXE-E\d+: .*)")),
    ("the firmware found nothing on the network: ", re.compile(r"(Error: (?:Could|Server|URI).*)")),
)
"""Prefix of the reason and pattern: after such a line no probe can pass any more."""
FATAL_DISK_LINES = (
    ("the firmware found nothing to boot: ", re.compile(r"(>>Start (?:PXE|HTTP) .*)")),
)
"""The same for machines that do not boot from the network."""
CRASH_LINE = re.compile(
    r"\(XEN\) Panic on CPU \d+|\bBUG: .*|\bOops: .*|\bgeneral protection fault.*|invalid opcode: 0000.*"
)
"""Crash of a kernel: on some emulated CPU models about one boot in eight."""

CONFINED_LINE = (
    r"confined: guest \S+: user [1-9]\d+, no_new_privs 1, (?:seccomp 2|no filter in this QEMU), "
    r"/dev/kvm 660 0:36, own mnt pid net ipc uts cgroup, nothing of the host in reach"
)

EXPECTED_EXIT = re.compile(r"reboot: |Kernel panic|sysrq: Resetting")
"""Line that a kernel prints before it switches off or restarts the machine."""

DEFAULT_PROBES = (
    ("init", r"init: (?:\d+ steps started|ready)", "the kernel or the first process did not start"),
    ("dhcp", r"dhcp: lease \S+", "the card's driver, the link or the DHCP client does not work"),
    ("dns", r"dns: \S+ is \S+", "the resolver or its configuration does not work"),
    ("tcp", r"tcp: \S+ answered", "no TCP connection leaves the host or comes back"),
    ("kvm", r"kvm: /dev/kvm ready", "the host cannot run virtual machines"),
    (
        "confined",
        CONFINED_LINE,
        "a guest's QEMU runs as root or without a filter, or all may open /dev/kvm",
    ),
    ("guest", r"guest \S+: (?:ready|up)", "the guest on the data partition did not run"),
)
"""Default probes: name, console line, and the meaning of a failure."""

SERVER_PATTERNS = {
    "dhcp": (LabServer.DHCP, ProbePattern(LineSource.DNSMASQ, re.compile(r"DHCPACK\(\S+\) (\S+)"))),
    "dns": (LabServer.DNS, ProbePattern(LineSource.DNSMASQ, re.compile(r"query\[A\] (\S+) from "))),
    "tcp": (
        LabServer.TCP,
        ProbePattern(LineSource.SERVERS, re.compile(r"tcp: connection from (\S+)")),
    ),
}
"""Probe → the server that it needs, and the line that must also be in that server's log."""

PROBE_ALIASES = {"guests": "guest"}
"""Component → its probe, where the names differ."""
DEFAULT_LIMIT = 240
"""Effective seconds; an emulated host can need more than 100 until a guest is up."""


def make_probe(name: str, console: str, limit: int, means: str) -> BootProbe:
    """Make a probe of a console pattern, and of the server's log for dhcp, dns and tcp."""
    console_pattern = ProbePattern(LineSource.CONSOLE, re.compile(console))
    server, server_pattern = SERVER_PATTERNS.get(name, (None, None))
    return BootProbe(
        name,
        (console_pattern, server_pattern) if server_pattern else (console_pattern,),
        limit,
        means,
        server,
        needs_lease=server is LabServer.DHCP,
    )


def make_component_probe(name: str, row: ProbeRow) -> BootProbe:
    """Make the probe of a component, from its `probe:` in the manifest or the footprint.

    Raises: UsageError for an invalid regular expression; the footprint may be untrusted.
    """
    _check_pattern(name, row.console)
    _check_pattern(name, row.says)
    patterns: list[ProbePattern] = []
    server, tcp_probe = None, None
    if row.console:
        probe = make_probe(name, row.console, row.limit, row.means)
        patterns, server = list(probe.patterns), probe.server
    if row.lease:
        server = LabServer.DHCP
        patterns.append(
            ProbePattern(LineSource.DNSMASQ, re.compile(rf"DHCPACK\(\S+\) (\S+) {FIRST_MAC}"))
        )
    if row.lookup:
        server = LabServer.DNS
        lookup_pattern = rf"query\[A+\] ({re.escape(row.lookup)}) from "
        patterns.append(ProbePattern(LineSource.DNSMASQ, re.compile(lookup_pattern)))
    if row.tcp:
        tcp_probe = TcpProbe(row.tcp, row.to, row.says)
        patterns.append(
            ProbePattern(LineSource.SERVERS, re.compile(rf"^probe {re.escape(name)}: (.*)"))
        )
    needs_lease = row.lease or server is LabServer.DHCP
    return BootProbe(name, tuple(patterns), row.limit, row.means, server, tcp_probe, needs_lease)


def _check_pattern(name: str, text: str) -> None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"probe {name}: {text!r} is not a valid regular expression: {error}",
            fix="correct it in the component, or remove footprint.json from the image's directory",
        ) from error


def make_default_probes() -> tuple[BootProbe, ...]:
    """Make the default probes, in the order in which a host passes them."""
    return tuple(
        make_probe(name, rf"minbuild: (?:\d+\.\d+ )?{console}", DEFAULT_LIMIT, means)
        for name, console, means in DEFAULT_PROBES
    )


def list_manifest_probes(manifest: Manifest) -> tuple[BootProbe, ...]:
    """List the probes of a manifest's components: the default ones first, the others by name."""
    return list_footprint_probes(list_probes(manifest))


def list_footprint_probes(rows: Iterable[ProbeRow]) -> tuple[BootProbe, ...]:
    """List the probes in the rows of a footprint, in the same order."""
    defaults = {probe.name: probe for probe in make_default_probes()}
    probes: dict[str, BootProbe] = {}
    for row in rows:
        name = PROBE_ALIASES.get(row.name, row.name)
        if row.console or row.tcp or row.lease or row.lookup:
            probes[name] = make_component_probe(name, row)
        elif name in defaults:
            probes[name] = defaults[name]
    order = {name: number for number, name in enumerate(defaults)}
    return tuple(
        sorted(
            probes.values(), key=lambda probe: (order.get(probe.name, DEFAULT_LIMIT), probe.name)
        )
    )


def list_netboot_probes(firmware: Firmware) -> tuple[BootProbe, ...]:
    """List the probes of a network boot: that the firmware fetched the image."""
    if firmware is Firmware.PXE:
        # dnsmasq logs "sent" for an aborted transfer, too
        done = ProbePattern(LineSource.CONSOLE, re.compile(r"(NBP file downloaded successfully)"))
        sent = ProbePattern(LineSource.DNSMASQ, re.compile(r"sent \S*/(host\.efi) to "))
        return (
            BootProbe(
                "pxe", (done, sent), DEFAULT_LIMIT, "the firmware did not fetch the image by TFTP"
            ),
        )
    if firmware is Firmware.HTTP:
        sent = ProbePattern(LineSource.SERVERS, re.compile(r"http: sent (host\.efi)"))
        return (
            BootProbe(
                "http", (sent,), DEFAULT_LIMIT, "the firmware did not fetch the image by HTTP"
            ),
        )
    return ()


def find_unreachable_probes(
    probes: Iterable[BootProbe], network: Network, addresses: LabAddresses
) -> dict[str, str]:
    """Find the probes that cannot pass on `network`, or for a fixed address, with the reason."""
    reasons = ((probe.name, _find_obstacle(probe, network, addresses)) for probe in probes)
    return {name: reason for name, reason in reasons if reason}


def _find_obstacle(probe: BootProbe, network: Network, addresses: LabAddresses) -> str:
    """Why a probe cannot pass, or "" when it can."""
    if addresses.host and probe.needs_lease:
        return f"the host's address is fixed: {addresses.host}"
    if network is not Network.USER:
        return ""
    if probe.tcp_probe:
        return "QEMU's user network accepts no connection from outside"
    if probe.server is LabServer.DNS:
        return "QEMU's user network does not resolve the lab's names"
    if addresses.host and not addresses.user.options and probe.server is LabServer.TCP:
        return f"QEMU's user network has no room in the network of {addresses.host}"
    return ""


@dataclass
class ProbeTracker:
    """Matches the lines of one boot with the patterns of its probes.

    A probe is pending until all of its patterns matched, the host reported that it failed, or its
    limit is over.
    """

    probes: tuple[BootProbe, ...]
    skip_reasons: Mapping[str, str] = field(default_factory=dict)
    """Probe → why it is skipped."""
    network: Network = Network.NAMESPACE
    netboot: bool = False
    """True: the firmware boots from the network."""
    ignore_fatal_lines: bool = False
    """True: no line of the machine ends the boot."""
    fatal_reason: str = ""
    """Why no further probe can pass; "" while one may."""
    crash_line: str = ""
    """The crash of the kernel or of QEMU; "" for none."""
    exit_expected: bool = False
    """True: the kernel announced that it switches off or restarts."""
    host_failures: dict[str, str] = field(default_factory=dict)
    """Probe → the host's line that its step failed."""
    matches: dict[tuple[str, int], tuple[LogLine, str]] = field(default_factory=dict)
    """Probe and number of its pattern → the line that completed it, and the detail to show."""
    pattern_counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Probe and number of its pattern → how many lines matched so far."""

    def add_line(self, line: LogLine) -> None:
        """Match one more line."""
        if line.source is LineSource.CONSOLE:
            self._add_console_line(line.text)
        for probe in self.probes:
            for number, pattern in self._iter_patterns(probe):
                if pattern.source is line.source and (probe.name, number) not in self.matches:
                    match = pattern.regex.search(line.text)
                    self.pattern_counts[probe.name, number] += match is not None
                    if match and self.pattern_counts[probe.name, number] >= pattern.count:
                        self.matches[probe.name, number] = (line, _extract_detail(match))

    def _add_console_line(self, text: str) -> None:
        """Note a panic, a crash, an announced exit, or a step of the host that failed."""
        fatal_lines = FATAL_LINES if self.netboot else (*FATAL_LINES, *FATAL_DISK_LINES)
        if not self.ignore_fatal_lines:
            self.fatal_reason = self.fatal_reason or _find_fatal_line(text, fatal_lines)
            self.crash_line = self.crash_line or _find_text(CRASH_LINE, text)
        self.exit_expected = self.exit_expected or EXPECTED_EXIT.search(text) is not None
        host_line = HOST_LINE.search(text)
        if host_line and host_line[2].startswith(FAILURE_PREFIX):
            step, failure = host_line[1], host_line[2]
            self.host_failures[step] = failure
            for name in DEPENDENT_PROBES.get(step, ()):
                self.host_failures.setdefault(name, f"{step}: {failure}")

    def describe_exit(self) -> str:
        """Describe a machine that ended itself; without an announcement it crashed."""
        if not self.exit_expected and not self.ignore_fatal_lines:
            self.crash_line = self.crash_line or "it restarted without a message of its kernel"
        return self.fatal_reason or "the machine switched itself off or restarted"

    def _iter_patterns(self, probe: BootProbe) -> Iterable[tuple[int, ProbePattern]]:
        """Number the patterns that can match on this network: QEMU's user network has no log."""
        for number, pattern in enumerate(probe.patterns):
            if self.network is Network.NAMESPACE or pattern.source is not LineSource.DNSMASQ:
                yield number, pattern

    def list_missing_patterns(self, probe: BootProbe) -> list[ProbePattern]:
        """List the patterns of `probe` that are not complete."""
        return [
            pattern
            for number, pattern in self._iter_patterns(probe)
            if (probe.name, number) not in self.matches
        ]

    def is_seen_on_console(self, probe: BootProbe) -> bool:
        """Whether a console pattern of `probe` is complete."""
        return any(
            pattern.source is LineSource.CONSOLE and (probe.name, number) in self.matches
            for number, pattern in enumerate(probe.patterns)
        )

    def list_pending(self, seconds: float) -> list[BootProbe]:
        """List the probes that can still pass after so many effective seconds since power-on."""
        return [
            probe
            for probe in self.probes
            if probe.name not in self.skip_reasons
            and probe.name not in self.host_failures
            and probe.limit > seconds
            and self.list_missing_patterns(probe)
        ]

    def list_outcomes(self) -> tuple[ProbeOutcome, ...]:
        """List the outcome of each probe, in their order."""
        return tuple(self._make_outcome(probe) for probe in self.probes)

    def _make_outcome(self, probe: BootProbe) -> ProbeOutcome:
        if probe.name in self.skip_reasons:
            reason = self.skip_reasons[probe.name]
            return ProbeOutcome(probe.name, ProbeState.SKIPPED, None, None, reason, probe.means)
        hits = [self.matches[key] for key in sorted(self.matches) if key[0] == probe.name]
        missing = self.list_missing_patterns(probe)
        if missing and probe.name in self.host_failures:
            detail = self.host_failures[probe.name]
            return ProbeOutcome(probe.name, ProbeState.FAILED, None, None, detail, probe.means)
        if missing:
            detail = NOT_SEEN_PREFIX + ", ".join(
                dict.fromkeys(_describe_source(sign) for sign in missing)
            )
            return ProbeOutcome(probe.name, ProbeState.FAILED, None, None, detail, probe.means)
        seconds = max(line.seconds for line, _ in hits)
        uptime = next((time for line, _ in hits if (time := _parse_uptime(line)) is not None), None)
        late = max(line.limit_seconds for line, _ in hits) > probe.limit
        state = ProbeState.FAILED if late else ProbeState.PASSED
        detail = f"seen only after the limit of {probe.limit} s" if late else hits[0][1]
        return ProbeOutcome(probe.name, state, seconds, uptime, detail, probe.means)


def _describe_source(pattern: ProbePattern) -> str:
    return {
        LineSource.CONSOLE: "on the console",
        LineSource.DNSMASQ: "in dnsmasq's log",
        LineSource.SERVERS: "by the lab's servers",
    }[pattern.source]


def _extract_detail(match: re.Match[str]) -> str:
    host_line = HOST_LINE.search(match.string)
    if host_line:
        return host_line[2]
    return (match[1] if match.re.groups else match[0]) or ""


def _find_fatal_line(text: str, fatal_lines: Iterable[tuple[str, re.Pattern[str]]]) -> str:
    return next((why + hit[1] for why, pattern in fatal_lines if (hit := pattern.search(text))), "")


def _find_text(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[0].strip() if match else ""


def _parse_uptime(line: LogLine) -> float | None:
    match = UPTIME_PREFIX.match(line.text) if line.source is LineSource.CONSOLE else None
    return float(match[1] or match[2]) if match else None
