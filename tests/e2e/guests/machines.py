"""One boot of the host with all kinds of guests on it, some of them hostile: what is on its disk, and what it does."""

from pathlib import Path

from tests.e2e.guests.conftest import (
    FUNCTIONS,
    START,
    GuestBench,
    list_console_lines,
    write_guest_conf,
)
from tests.e2e.guests.hostile import write_hostile_guests
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, require_namespace

SCRIPT = r"""
try() {
    vm "$@" 2>&1 | tell "$*"
}
# hog NAME MIB: a guest that fills its memory
hog() {
    mkdir -p "/data/guests/$1"
    printf 'kernel=/data/kernel\ninitrd=/data/initrd\nmemory=%s\nrestart=no\ncmdline=console=ttyS0 quiet inside.hog\n' \
        "$2" >"/data/guests/$1/guest.conf"
    vm start "$1"
}

# fill_memory: two guests that want more than there is
fill_memory() {
    free=$(free -m | sed -n 's/^Mem: .* //p')
    hog one $((free * 3 / 4)) && hog two $((free * 2 / 3))
    tries=60
    until dmesg | grep -q 'Killed process' || [ "$((tries -= 1))" = 0 ]; do nap 0.5; done
    dmesg | grep -a 'Killed process' | sed 's/\[.*\] //' | tell killed
    vm list | tell after
}

# as_full COMMAND: as its QEMU's user, where its QEMU is, without its filter
as_full() {
    nsenter -t "$(cat /run/guests/full/qemu.pid)" -m -u -i -n -r -w -G 36 -S "$(cat /run/guests/full/user)" \
        /usr/bin/sh -c "$1" 2>&1
}
attack() {
    as_full 'ls -a / /dev' | tell seen
    as_full 'cat /proc/1/environ /run/guests/mbr/console.log /data/guests/gpt/inside.qcow2' | grep -vc 'No such file' | tell read
    as_full 'echo in | nc -w 2 192.0.2.1 7; ip link' | tell sent
    as_full 'mount -t tmpfs x /own; unshare -U true; (: >/usr/bin/vm); (: >/x); rm /console.log' | tell tried
    as_full 'dd if=/dev/urandom of=/own/fill bs=1M count=600 2>/dev/null; ls -s /own/fill; rm /own/fill' | tell filled
    cd /sys/fs/cgroup/guest-full && tail memory.max pids.max | tell limits
    cd /
    ls -ln /run/guests | tell private
    vm log escape | tell log
    vm log escape | tr -cd '\033\007' | wc -c | tell obeyed
    mount | grep ' /data ' | tell data
}

case $1 in
start)
    until [ -d /run/guests/once ]; do nap 0.2; done
    for pair in "start nobody" "start bad" "start gone" "start lost" "start big" "stop off" "console off" "log off" "strat"; do
        try $pair
    done
    wait_for full 'inside: ready'
    try start full
    try list
    try status full
    grep -a '^inside: ' /run/guests/full/console.log | tell full
    ls -ln /data/guests/full | tell files
    ls -l "/proc/$(cat /run/guests/full/qemu.pid)/fd" | grep -c vhost-net | tell vhost
    [ ! -S /run/guests/full/qmp ] || say bench 'socket: qmp'
    { nap 2; printf 'a word\r'; nap 2; printf '\030'; } | vm console full >/dev/null
    wait_for full 'heard a word'
    grep -a 'heard a' /run/guests/full/console.log | tell heard
    wait_for mbr 'boot sector'
    seconds
    from=$now
    vm stop mbr
    seconds
    gone mbr
    say bench "mbr: unplugged after $((now - from)) s"
    vm start mbr
    until [ -e /run/guests/mbr/console ]; do nap 0.2; done
    vm kill mbr
    gone mbr
    say bench 'mbr: killed'
    wait_for gpt 'inside: ready'
    vm stop gpt
    gone gpt
    grep -a 'going' /run/guests/gpt/console.log | tell gpt
    gone once
    attack
    [ ! -e /data/hog ] || fill_memory
    poweroff
    ;;
stop-80-bench)
    [ ! -e /run/guests/full/pid ] || say bench 'full still runs'
    grep -a 'going' /run/guests/full/console.log | tell ended
    ;;
esac
"""
PRINTS = bytes.fromhex("31c08ed8fcbe157cbaf803ac84c07403eeebf8f4ebfd") + b"boot sector runs\r\n\0"
"""Code for a boot sector: its text goes to the first serial port. Source: Intel's manual, volume 2."""
PRINTS_ESCAPES = PRINTS[:22] + b"\x1b]0;owned\x07\x1b[2J\rminbuild: kvm: forged\r\n" + PRINTS[22:]
"""The same, with what a terminal would obey before it."""
FAULTS = bytes.fromhex("31c08ed80f011e0a7ccc000000000000")
"""The same that loads an empty table of interrupts and asks for one: the processor shuts down."""


def boot_sector(code: bytes) -> bytes:
    return (code + bytes(510 - len(code)) + b"\x55\xaa").ljust(1 << 20, b"\0")


def write_raw_disk(path: Path, size: int, text: str) -> None:
    path.write_bytes(text.encode().ljust(size << 20, b"\0"))


def boot_guests(bench: GuestBench, path: Path, *, hog: bool = False) -> list[str]:
    """What the host said from power-on to power-off; with `hog` its memory runs out before."""
    require_namespace(bench.stage.toolbox)
    tree = bench.write_tree(path / "tree", FUNCTIONS + SCRIPT)
    full = write_guest_conf(
        tree, "full", *START, "cpus=2", "disk=one.raw", "disk=two.qcow2", "disk=three.raw,ro",
        "net=br0", "net=nat0,52:54:00:00:00:77", "ready=inside: ready",
    )  # fmt: skip
    write_raw_disk(full / "one.raw", 2, "first")
    write_raw_disk(full / "three.raw", 3, "third")
    write_raw_disk(path / "two.raw", 4, "second")
    argv = ["convert", "-O", "qcow2", str(path / "two.raw"), str(full / "two.qcow2")]
    ended = minbuild("tool", "--store", str(STORE), "qemu-img", *argv, cwd=path)
    assert ended.code == 0, ended.err
    mbr = write_guest_conf(
        tree, "mbr", "memory=16", "disk=boot.raw", "ready=boot sector runs", "stop-wait=3"
    )
    (mbr / "boot.raw").write_bytes(boot_sector(PRINTS))
    once = write_guest_conf(tree, "once", "memory=16", "disk=boot.raw", "restart=no")
    (once / "boot.raw").write_bytes(boot_sector(FAULTS))
    gpt = write_guest_conf(tree, "gpt", "memory=128", "disk=inside.qcow2", "ready=inside: ready")
    (gpt / "inside.qcow2").write_bytes((bench.guest / "inside.qcow2").read_bytes())
    write_guest_conf(tree, "off", "autostart=no")
    write_guest_conf(tree, "bad", "colour=red")
    write_guest_conf(tree, "gone", "disk=gone.raw")
    write_guest_conf(tree, "lost", "net=br9")
    write_guest_conf(tree, "big", "memory=90000", "autostart=no")
    write_hostile_guests(tree, boot_sector(PRINTS_ESCAPES))
    if hog:
        (tree / "hog").touch()
    disk = bench.make_disk(path / "disk", tree)
    result = bench.boot(disk, "init: stopped", memory=768)
    return list_console_lines(result)
