"""What a host opens, told by its own kernel: the image stays as it is, its command line grows.

The kernel sets up two probes by itself before the first process and prints each hit on the console.
`do_filp_open` is the one way to every file: of open(2), of programs, interpreters and libraries,
of modules and of firmware; `filename_lookup` is that of stat(2), access(2), mount(2) and others.
Source: Linux, admin-guide/kernel-parameters (kprobe_event, tp_printk), trace/kprobetrace.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from minbuild.lab.types import Line, Source

WITH_RESULT = (6, 9)
"""The first kernel whose return probes see the arguments, too; an older one tells no result."""
PROBES = (("open", "do_filp_open", "s64"), ("look", "filename_lookup", "s32"))
NAME = "name=+0(+0($arg2)):string"
EVENT = re.compile(r'^\[ *[\d.]+\] (open|look): \([^)]*\) name="([^"]*)"(?: ret=(-?\d+))?$')
MISSING = -2
"""ENOENT. Source: errno(3)."""
NOT_FOUND = (-4095, -1)
"""A result in this range is an error. Source: Linux, include/linux/err.h."""
BEFORE = ("/dev/console", "/sbin/modprobe")
"""What the kernel itself opens before the first process; unpacking names no path with a slash."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What was asked for during a boot, in the host's own names."""

    found: frozenset[str]
    """Opened, executed or mapped; a name without a slash in front is relative."""
    missing: tuple[tuple[str, int], ...]
    """Absolute paths that were never there, and how often each was asked for; sorted."""


def words(release: str = "") -> tuple[str, ...]:
    """The probes, as `kprobe_event=` takes them, of a kernel of that release ("": a new one)."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if numbers and numbers < WITH_RESULT:
        return tuple(f"p:minbuild/{name},{symbol},{NAME}" for name, symbol, _ in PROBES[:1])
    return tuple(
        f"r:minbuild/{name},{symbol},{NAME},ret=$retval:{kind}" for name, symbol, kind in PROBES
    )


def opened(lines: Iterable[Line]) -> Opened:
    """Read what the kernel printed of one or more boots."""
    found: set[str] = set()
    known: set[str] = set()
    missing: Counter[str] = Counter()
    started = False
    for line in lines:
        if line.source is not Source.TRACE:
            # another boot begins when time does
            started = started and line.text.find("Linux version ") < 0
            continue
        event = EVENT.match(line.text)
        if event is None:
            continue
        kind, name, result = event[1], event[2], int(event[3] or 0)
        started = started or (kind == "open" and name.startswith("/") and name not in BEFORE)
        if not started:
            continue
        if result == MISSING:
            missing[name] += name.startswith("/")
        elif not NOT_FOUND[0] <= result <= NOT_FOUND[1]:
            known.add(name)
            if kind == "open":
                found.add(name)
    never = {name: count for name, count in missing.items() if count and name not in known}
    return Opened(frozenset(found), tuple(sorted(never.items())))
