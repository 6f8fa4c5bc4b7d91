"""Which lines on the console and in the servers' logs prove that a host does its job."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minbuild.errors import UsageError
from minbuild.footprint.measure import probe_rows
from minbuild.footprint.types import ProbeRow
from minbuild.lab.link import MAC
from minbuild.lab.types import (
    Dial,
    Firmware,
    Line,
    Network,
    Outcome,
    Probe,
    Server,
    Sign,
    Source,
    State,
)
from minbuild.manifest.types import Manifest

HOST = re.compile(r"minbuild: (?:\d+\.\d+ )?([a-z]+)(?: \S+)?: (.*)")
"""A line of the host's own: step, for a guest its name, and text.

Source: docs/reference/console.md
"""
UPTIME = re.compile(r"^\[ *(\d+\.\d+)\] |^minbuild: (\d+\.\d+) ")
REFUSED = "FAILED"
"""How the text begins when a step gave up."""
NEEDED = {
    "data": ("dns", "tcp", "confined", "guest", "ovmf"),
    "kvm": ("confined", "guest", "ovmf"),
}
"""Steps, and the probes that are not met after they gave up: the data disk asks for these."""
UNSEEN = "not seen "
DEAD = (
    ("kernel panic: ", re.compile(r"Kernel panic - not syncing: (.*)")),
    ("the firmware found nothing to boot: ", re.compile(r"(BdsDxe: No bootable option.*)")),
    ("the firmware found nothing on the network: ", re.compile(r"(PXE-E\d+: .*)")),
    ("the firmware found nothing on the network: ", re.compile(r"(Error: (?:Could|Server|URI).*)")),
)
"""After such a line no probe can be met any more."""
ONLY_DISK = (("the firmware found nothing to boot: ", re.compile(r"(>>Start (?:PXE|HTTP) .*)")),)
"""The same, unless the machine was to start from the network."""
CRASH = re.compile(r"\bBUG: .*|\bOops: .*|\bgeneral protection fault.*|invalid opcode: 0000.*")
"""A kernel that went wrong by itself: of emulated boots about one in eight did on some models."""

CONFINED = (
    r"confined: guest \S+: user [1-9]\d+, no_new_privs 1, (?:seccomp 2|no filter in this QEMU), "
    r"/dev/kvm 660 0:36, own mnt pid net ipc uts cgroup, nothing of the host in reach"
)

FAREWELL = re.compile(r"reboot: |Kernel panic|sysrq: Resetting")
"""A kernel that ends or restarts its machine says one of these before."""

STANDARD = (
    ("init", r"init: (?:\d+ steps started|ready)", "the kernel or the first process did not start"),
    ("dhcp", r"dhcp: lease \S+", "the card's driver, the link or the DHCP client does not work"),
    ("dns", r"dns: \S+ is \S+", "the resolver or its configuration does not work"),
    ("tcp", r"tcp: \S+ answered", "no TCP connection leaves the host or comes back"),
    ("kvm", r"kvm: /dev/kvm ready", "the host cannot run virtual machines"),
    (
        "confined",
        CONFINED,
        "a guest's QEMU runs as root or without a filter, or all may open /dev/kvm",
    ),
    ("guest", r"guest \S+: (?:ready|up)", "the guest on the data partition did not run"),
)
"""What every host is asked: name, its line on the console, and what it means when it is missing."""

SEEN_OUTSIDE = {
    "dhcp": (Server.DHCP, Sign(Source.DNSMASQ, re.compile(r"DHCPACK\(\S+\) (\S+)"))),
    "dns": (Server.DNS, Sign(Source.DNSMASQ, re.compile(r"query\[A\] (\S+) from "))),
    "tcp": (Server.TCP, Sign(Source.SERVERS, re.compile(r"tcp: connection from (\S+)"))),
}
"""What must also be in the log of the server that the host speaks to."""

SAME = {"guests": "guest"}
"""Components whose probe has another name here."""
LIMIT = 240
"""Seconds of wall time; an emulated host on a busy machine has needed more than 100 for a guest."""


def make(name: str, console: str, limit: int, means: str) -> Probe:
    """Make a probe of a pattern for the console and of what the lab's servers see of it."""
    own = Sign(Source.CONSOLE, re.compile(console))
    server, outside = SEEN_OUTSIDE.get(name, (None, None))
    return Probe(name, (own, outside) if outside else (own,), limit, means, server)


def asked(name: str, wish: ProbeRow) -> Probe:
    """Make the probe that a component asks for: of its console line, and of what is seen outside.

    Raises: UsageError for a pattern that is none; a footprint may come from a stranger.
    """
    _check_pattern(name, wish.console)
    _check_pattern(name, wish.says)
    signs: list[Sign] = []
    server, dial = None, None
    if wish.console:
        made = make(name, wish.console, wish.limit, wish.means)
        signs, server = list(made.signs), made.server
    if wish.lease:
        server = Server.DHCP
        signs.append(Sign(Source.DNSMASQ, re.compile(rf"DHCPACK\(\S+\) (\S+) {MAC}")))
    if wish.lookup:
        server = Server.DNS
        looked_up = rf"query\[A+\] ({re.escape(wish.lookup)}) from "
        signs.append(Sign(Source.DNSMASQ, re.compile(looked_up)))
    if wish.tcp:
        dial = Dial(wish.tcp, wish.to, wish.says)
        signs.append(Sign(Source.SERVERS, re.compile(rf"^probe {re.escape(name)}: (.*)")))
    return Probe(name, tuple(signs), wish.limit, wish.means, server, dial)


def _check_pattern(name: str, text: str) -> None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"the probe {name} looks for {text!r}, which is no regular expression: {error}",
            fix="correct it in the component; or remove the footprint.json beside the image",
        ) from error


def standard() -> tuple[Probe, ...]:
    """List what every host is asked, in the order in which a person would."""
    return tuple(
        make(name, rf"minbuild: (?:\d+\.\d+ )?{console}", LIMIT, means)
        for name, console, means in STANDARD
    )


def wanted(manifest: Manifest) -> tuple[Probe, ...]:
    """List the probes of a manifest's components, in the order of `standard`, others after them."""
    return told(probe_rows(manifest))


def told(rows: Iterable[ProbeRow]) -> tuple[Probe, ...]:
    """List the probes that a footprint tells of, in the same order."""
    known = {probe.name: probe for probe in standard()}
    found: dict[str, Probe] = {}
    for row in rows:
        name = SAME.get(row.name, row.name)
        if row.console or row.tcp or row.lease or row.lookup:
            found[name] = asked(name, row)
        elif name in known:
            found[name] = known[name]
    order = {name: number for number, name in enumerate(known)}
    return tuple(
        sorted(found.values(), key=lambda probe: (order.get(probe.name, LIMIT), probe.name))
    )


def network_boot(firmware: Firmware) -> tuple[Probe, ...]:
    """List what a boot from the network shows in the lab's own servers' logs."""
    if firmware is Firmware.PXE:
        # dnsmasq says "sent" of a transfer that was given up, too
        done = Sign(Source.CONSOLE, re.compile(r"(NBP file downloaded successfully)"))
        sent = Sign(Source.DNSMASQ, re.compile(r"sent \S*/(host\.efi) to "))
        return (Probe("pxe", (done, sent), LIMIT, "the firmware did not fetch the image by TFTP"),)
    if firmware is Firmware.HTTP:
        sent = Sign(Source.SERVERS, re.compile(r"http: sent (host\.efi)"))
        return (Probe("http", (sent,), LIMIT, "the firmware did not fetch the image by HTTP"),)
    return ()


def skipped(probes: Iterable[Probe], network: Network) -> dict[str, str]:
    """Name the probes that cannot be asked on `network`, and why."""
    if network is not Network.USER:
        return {}
    names = "QEMU's own network has no names of the lab"
    door = "QEMU's own network lets nobody in"
    return {
        probe.name: door if probe.dial else names
        for probe in probes
        if probe.dial or probe.server is Server.DNS
    }


@dataclass
class Watch:
    """Follows the lines of one boot and knows which probes are still open."""

    probes: tuple[Probe, ...]
    skip: Mapping[str, str] = field(default_factory=dict)
    """Probes that are not asked, and why."""
    network: Network = Network.NAMESPACE
    from_network: bool = False
    """True: the firmware is to fetch the image."""
    patient: bool = False
    """True: nothing that the machine says is its end."""
    dead: str = ""
    """Why nothing more can come; "" while something may."""
    crash: str = ""
    farewell: bool = False
    """True: the kernel said that it would go."""
    refused: dict[str, str] = field(default_factory=dict)
    """What the host itself said of a probe that it gave up."""
    seen: dict[tuple[str, int], tuple[Line, str]] = field(default_factory=dict)
    count: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often each sign was seen so far."""

    def feed(self, line: Line) -> None:
        """Take one more line into account."""
        if line.source is Source.CONSOLE:
            signs = DEAD if self.from_network else (*DEAD, *ONLY_DISK)
            self.dead = self.dead or ("" if self.patient else _dead(line.text, signs))
            self.crash = self.crash or _found(CRASH, line.text)
            self.farewell = self.farewell or FAREWELL.search(line.text) is not None
            own = HOST.search(line.text)
            if own and own[2].startswith(REFUSED):
                self.refused[own[1]] = own[2]
                for name in NEEDED.get(own[1], ()):
                    self.refused.setdefault(name, f"{own[1]}: {own[2]}")
        for probe in self.probes:
            for number, sign in self._signs(probe):
                if sign.source is line.source and (probe.name, number) not in self.seen:
                    match = sign.pattern.search(line.text)
                    self.count[probe.name, number] += match is not None
                    if match and self.count[probe.name, number] >= sign.times:
                        self.seen[probe.name, number] = (line, _detail(match))

    def gone(self) -> str:
        """Say that the machine ended itself; one whose kernel ran and said nothing crashed."""
        if not self.farewell and not self.patient:
            self.crash = self.crash or "it restarted without a word"
        return self.dead or "the machine switched itself off or restarted"

    def _signs(self, probe: Probe) -> Iterable[tuple[int, Sign]]:
        """The signs that can be seen on this network, numbered: QEMU's own keeps no log."""
        for number, sign in enumerate(probe.signs):
            if self.network is Network.NAMESPACE or sign.source is not Source.DNSMASQ:
                yield number, sign

    def missing(self, probe: Probe) -> list[Sign]:
        """The signs of `probe` that were not seen yet."""
        return [sign for n, sign in self._signs(probe) if (probe.name, n) not in self.seen]

    def met(self, probe: Probe) -> bool:
        """Whether a sign of `probe` was seen on the console."""
        return any(
            sign.source is Source.CONSOLE and (probe.name, number) in self.seen
            for number, sign in enumerate(probe.signs)
        )

    def open(self, seconds: float) -> list[Probe]:
        """The probes that may still be met when the machine had so many seconds since power-on."""
        return [
            probe
            for probe in self.probes
            if probe.name not in self.skip
            and probe.name not in self.refused
            and probe.limit > seconds
            and self.missing(probe)
        ]

    def outcomes(self) -> tuple[Outcome, ...]:
        """What came of each probe, in their order."""
        return tuple(self._outcome(probe) for probe in self.probes)

    def _outcome(self, probe: Probe) -> Outcome:
        if probe.name in self.skip:
            reason = self.skip[probe.name]
            return Outcome(probe.name, State.SKIPPED, None, None, reason, probe.means)
        hits = [self.seen[key] for key in sorted(self.seen) if key[0] == probe.name]
        missing = self.missing(probe)
        if missing and probe.name in self.refused:
            detail = self.refused[probe.name]
            return Outcome(probe.name, State.FAILED, None, None, detail, probe.means)
        if missing:
            detail = UNSEEN + ", ".join(dict.fromkeys(_place(sign) for sign in missing))
            return Outcome(probe.name, State.FAILED, None, None, detail, probe.means)
        seconds = max(line.seconds for line, _ in hits)
        uptime = next((time for line, _ in hits if (time := _uptime(line)) is not None), None)
        late = max(line.counted for line, _ in hits) > probe.limit
        state = State.FAILED if late else State.PASSED
        detail = f"seen only after the limit of {probe.limit} s" if late else hits[0][1]
        return Outcome(probe.name, state, seconds, uptime, detail, probe.means)


def _place(sign: Sign) -> str:
    return {
        Source.CONSOLE: "on the console",
        Source.DNSMASQ: "in dnsmasq's log",
        Source.SERVERS: "by the lab's servers",
    }[sign.source]


def _detail(match: re.Match[str]) -> str:
    own = HOST.search(match.string)
    if own:
        return own[2]
    return (match[1] if match.re.groups else match[0]) or ""


def _dead(text: str, signs: Iterable[tuple[str, re.Pattern[str]]]) -> str:
    return next((why + hit[1] for why, pattern in signs if (hit := pattern.search(text))), "")


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[0].strip() if match else ""


def _uptime(line: Line) -> float | None:
    match = UPTIME.match(line.text) if line.source is Source.CONSOLE else None
    return float(match[1] or match[2]) if match else None
