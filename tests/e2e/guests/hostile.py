"""Guests that somebody wrote who may write the data partition and wants more."""

import os
from pathlib import Path

from tests.e2e.guests.conftest import write_guest_conf
from tests.unit.components.test_vm import qcow2

VICTIM = "/data/guests/gpt/inside.qcow2"
REFUSED = {
    "program": (["disk=/usr/bin/vm"], "disk: /usr/bin/vm is neither below /data/guests/program"),
    "device": (["disk=/dev/vda"], "disk: /dev/vda is neither below /data/guests/device"),
    "console": (["kernel=/dev/ttyS0"], "kernel: /dev/ttyS0 is neither below"),
    "climbs": (["disk=../gpt/inside.qcow2"], "disk=../gpt/inside.qcow2: a path here has no ."),
    "other": ([f"disk={VICTIM}"], f"disk: {VICTIM} is neither below /data/guests/other"),
    "link": (["disk=link.raw"], "disk: /data/guests/link/link.raw is reached by a link"),
    "linkdir": (["disk=d/vm"], "disk: /data/guests/linkdir/d/vm is reached by a link"),
    "hard": (["disk=hard.qcow2"], "disk: /data/guests/hard/hard.qcow2 has a second name"),
    "itself": (["disk=guest.conf"], "disk=guest.conf is what the host reads"),
    "pipe": (["disk=pipe.raw"], "disk: /data/guests/pipe/pipe.raw is no regular file"),
    "backing": (["disk=b.qcow2"], "disk: /data/guests/backing/b.qcow2 has a backing file"),
    "datafile": (["disk=d.qcow2"], "disk: /data/guests/datafile/d.qcow2 has its data in another"),
    "options": (["net=br0,52:54:00:00:00:01,romfile=/etc/passwd"], "net=br0,52:54:00:00:00:01,rom"),
    "conflink": ([], "/data/guests/conflink/guest.conf is reached by a link"),
    "confpipe": ([], "/data/guests/confpipe/guest.conf is no regular file"),
}
"""Name → lines of guest.conf, and how the refusal begins."""
NAMES = ("\x1b]0;owned\x07", "a\nminbuild: kvm: forged", "b c", "x" * 33)
"""Directories that no guest can have."""


def write_hostile_guests(tree: Path, sector: bytes) -> None:
    """Put them on a disk that has the guest `gpt` already; `sector` is what prints escape sequences."""
    guests = tree / "guests"
    for name, (lines, _) in REFUSED.items():
        if lines:
            write_guest_conf(tree, name, *lines)
    (guests / "link/link.raw").symlink_to("/usr/bin/vm")
    (guests / "linkdir/d").symlink_to("/usr/bin")
    (guests / "off/secret.qcow2").write_bytes(qcow2())
    os.link(guests / "off/secret.qcow2", guests / "hard/hard.qcow2")
    os.mkfifo(guests / "pipe/pipe.raw")
    (guests / "backing/b.qcow2").write_bytes(qcow2(backing=512))
    (guests / "datafile/d.qcow2").write_bytes(qcow2(features=4))
    for name in ("conflink", "confpipe", *NAMES):
        (guests / name).mkdir()
    (guests / "conflink/guest.conf").symlink_to("/etc/passwd")
    os.mkfifo(guests / "confpipe/guest.conf")
    (guests / "dirlink").symlink_to("off")
    for name in NAMES:
        (guests / name / "guest.conf").write_text("kernel=/data/kernel\n")
    escape = write_guest_conf(tree, "escape", "memory=16", "disk=boot.raw", "ready=boot sector runs", "stop-wait=0")  # fmt: skip
    (escape / "boot.raw").write_bytes(sector)
