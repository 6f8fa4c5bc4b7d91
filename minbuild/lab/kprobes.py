"""Kernel probes (kprobes) of opened files and ports: boot parameters, and their console lines.

The kernel sets up the probes before the first process and prints each hit on the console; the image
stays unchanged. `do_filp_open` opens every file: for open(2), programs, interpreters, libraries,
modules and firmware; `filename_lookup` looks up paths for stat(2), access(2), mount(2) and others.
Source: Linux, admin-guide/kernel-parameters (kprobe_event, tp_printk), trace/kprobetrace.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from minbuild.lab.model import LineSource, LogLine

SOCKET_FIELDS = "port=+14($arg1):u16 family=+16($arg1):u16 address=+4($arg1):x32 by=$comm"
PORT_PROBES = (
    f"p:minbuild/listen,inet_csk_listen_start,{SOCKET_FIELDS}",
    f"p:minbuild/bind,udp_lib_get_port,{SOCKET_FIELDS.replace('+14($arg1):u16', '$arg2:u16')}",
)
PORT_EVENT = re.compile(
    r"^\[ *[\d.]+\] (listen|bind): \([^)]*\) port=(\d+) family=(\d+) address=0x([0-9a-f]+)"
    r' by="([^"]*)"$'
)
INET = "2"
"""AF_INET; the address of an IPv6 socket is not read. Source: socket(2)."""
LOOPBACK = 0x7F
"""The first byte of a loopback address in memory. Source: RFC 1122, 3.2.1.3."""


@dataclass(frozen=True, slots=True, order=True)
class PortEvent:
    """A port that a process opened: 22, tcp, dropbear."""

    number: int
    protocol: str
    """tcp or udp."""
    process: str
    """The process's name."""
    is_local: bool
    """True: only the loopback address."""


def build_port_kprobes() -> tuple[str, ...]:
    """Build the probes of ports, as values of `kprobe_event=`."""
    return tuple(probe.replace(" ", ",") for probe in PORT_PROBES)


def read_open_ports(lines: Iterable[LogLine]) -> tuple[PortEvent, ...] | None:
    """Read the ports of one or more boots, sorted; None when the kernel printed no event."""
    events = [event for line in lines if (event := PORT_EVENT.match(line.text)) is not None]
    if not events:
        return None
    return tuple(sorted({_parse_port(event) for event in events if event[2] != "0"}))


def _parse_port(event: re.Match[str]) -> PortEvent:
    kind, number, family, address, process = event.groups()
    local = family == INET and int(address, 16) & 0xFF == LOOPBACK
    return PortEvent(int(number), "tcp" if kind == "listen" else "udp", process, local)


FIRST_KERNEL_WITH_RESULT = (6, 9)
"""The first kernel whose return probes can read arguments; older ones give no result."""
FILE_PROBES = (("open", "do_filp_open", "s64"), ("look", "filename_lookup", "s32"))
NAME_FIELD = "name=+0(+0($arg2)):string"
FILE_EVENT = re.compile(r'^\[ *[\d.]+\] (open|look): \([^)]*\) name="([^"]*)"(?: ret=(-?\d+))?$')
ENOENT_RESULT = -2
"""ENOENT. Source: errno(3)."""
ERROR_RANGE = (-4095, -1)
"""A result in this range is an error. Source: Linux, include/linux/err.h."""
KERNEL_OPENS = ("/dev/console", "/sbin/modprobe")
"""Files that the kernel opens before the first process; unpacked files are relative paths."""


@dataclass(frozen=True, slots=True)
class OpenedFiles:
    """The paths that were opened or looked up during a boot."""

    opened: frozenset[str]
    """Opened, executed or mapped; a path without a leading slash is relative."""
    missing: tuple[tuple[str, int], ...]
    """Absolute paths that never existed, and how often each was looked up; sorted."""


def build_file_kprobes(release: str = "") -> tuple[str, ...]:
    """Build the probes of files for a kernel release ("": a recent one), for `kprobe_event=`."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if numbers and numbers < FIRST_KERNEL_WITH_RESULT:
        return tuple(
            f"p:minbuild/{name},{symbol},{NAME_FIELD}" for name, symbol, _ in FILE_PROBES[:1]
        )
    return tuple(
        f"r:minbuild/{name},{symbol},{NAME_FIELD},ret=$retval:{kind}"
        for name, symbol, kind in FILE_PROBES
    )


def read_opened_files(lines: Iterable[LogLine]) -> OpenedFiles:
    """Read the kernel's events of opened files, of one or more boots."""
    opened_names: set[str] = set()
    existing: set[str] = set()
    missing: Counter[str] = Counter()
    started = False
    for line in lines:
        if line.source is not LineSource.TRACE:
            # the first line of a kernel: another boot
            started = started and line.text.find("Linux version ") < 0
            continue
        event = FILE_EVENT.match(line.text)
        if event is None:
            continue
        kind, name, result = event[1], event[2], int(event[3] or 0)
        started = started or (kind == "open" and name.startswith("/") and name not in KERNEL_OPENS)
        if not started:
            continue
        if result == ENOENT_RESULT:
            missing[name] += name.startswith("/")
        elif not ERROR_RANGE[0] <= result <= ERROR_RANGE[1]:
            existing.add(name)
            if kind == "open":
                opened_names.add(name)
    never_opened = {
        name: count for name, count in missing.items() if count and name not in existing
    }
    return OpenedFiles(frozenset(opened_names), tuple(sorted(never_opened.items())))
