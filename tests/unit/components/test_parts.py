"""The parts of the long scripts, each alone, in this machine's shell and in BusyBox."""

import hashlib
import ipaddress
import json
import random
from pathlib import Path

import pytest

from tests.unit.components.conftest import FILES, PARTS, run

pytestmark = pytest.mark.usefixtures("shell")


def part(directory: Path, name: str) -> str:
    """A part, its absolute paths moved below `directory`; a line that reads it."""
    text = (PARTS / name).read_text()
    for place in ("/sys/class/net", "/data", "/run"):
        text = text.replace(f"{place}/", f"{directory}{place}/")
    text = text.replace(". /usr/lib/minbuild/init", "")
    copy = directory / Path(name).name
    copy.write_text(text)
    return f". {copy}\n"


def link(directory: Path, name: str, **files: str) -> None:
    """A network link as /sys has it."""
    place = directory / "sys/class/net" / name
    place.mkdir(parents=True)
    (place / "device").mkdir()
    for file, text in {"type": "1", "flags": "0x1003", **files}.items():
        (place / file).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("br0", "br0|||"),
        ("br0,52:54:00:00:00:01", "br0|52:54:00:00:00:01||"),
        ("br0,192.0.2.7,shared", "br0|| 192.0.2.7|yes"),
        ("br0,52:54:00:00:00:01,10.0.0.1,10.0.0.2", "br0|52:54:00:00:00:01| 10.0.0.1 10.0.0.2|"),
        ("br0,shared,192.0.2.7", "br0|/| 192.0.2.7|yes"),
        ("br0,", "br0|/||"),
        ("br0,,", "br0|//||"),
    ],
)
def test_a_card_s_line_is_taken_apart(tmp_path: Path, value: str, parts: str) -> None:
    script = part(tmp_path, "hypervisor/guests.conf.sh")
    script += f'split_net {value}; echo "$bridge|$address|$own|$shared"'
    assert run(tmp_path, script) == f"{parts}\n"


def test_a_card_without_an_address_has_one_that_stays(tmp_path: Path) -> None:
    script = part(tmp_path, "hypervisor/guests.conf.sh")
    script += "name=web MAC_RANGE=52:54:00; mac 0; mac 1; mac 0"
    first, second, again = run(tmp_path, script).split()
    digest = hashlib.md5(b"web/0\n").hexdigest()
    assert first == again == f"52:54:00:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"
    assert second != first


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_disk_is_given_to_qemu_in_its_own_words(tmp_path: Path, kind: str, mode: str) -> None:
    row = f"file=/data/guests/web/a,format={kind},readonly={mode}"
    script = part(tmp_path, "hypervisor/guests.qemu.sh") + f"read_row {row}; node 3"
    is_readonly = mode == "on"
    file = {"driver": "file", "filename": "/dev/fdset/3", "read-only": is_readonly}
    wanted = {"driver": kind, "node-name": "disk3", "read-only": is_readonly, "file": file}
    if kind == "qcow2":
        wanted["backing"] = None
    assert json.loads(run(tmp_path, script)) == wanted


def test_of_a_log_that_is_too_long_the_end_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    script = part(tmp_path, "hypervisor/guests.keep.sh")
    script += 'nap() { [ "$1" != 5 ]; }\nLOG_LIMIT=1048576 dir=. ready=up\nsay() { echo "$2"; }\n'
    script += "plain() { cat; }\nwatch"
    log.write_bytes(b"x" * ((1 << 20) - 3) + b"\nup")
    assert run(tmp_path, script) == "ready: up\n"
    assert log.stat().st_size == 1 << 20
    with log.open("ab", buffering=0) as qemu:
        qemu.write(b"!")
        assert run(tmp_path, script) == "ready: up!\n"
        qemu.write(b"next")
    assert log.read_bytes() == b"next"
    assert (tmp_path / "console.log.old").read_bytes() == b"x" * ((1 << 18) - 4) + b"\nup!"


PIECES = r"""
ticks=0
nap() {
    ticks=$((ticks + 1))
    case $ticks in
    2) printf 'log of a kernel\n  lo' >>console.log ;;
    3) printf 'gin' >>console.log ;;
    4) printf ': ' >>console.log ;;
    20) return 1 ;;
    esac
}
say() { echo "$ticks $2"; }
plain() { cat; }
LOG_LIMIT=1048576 dir=. ready=login:
: >console.log
watch
"""


def test_a_ready_line_that_comes_in_pieces_and_has_no_end_is_found(tmp_path: Path) -> None:
    script = part(tmp_path, "hypervisor/guests.keep.sh") + PIECES
    assert run(tmp_path, script) == "4 ready:   login: \n"


DHCP = 'note() { echo "note: $1"; }\nSTATE=.\nNAME=host\n'


def test_addresses_are_counted_as_python_counts_them(tmp_path: Path) -> None:
    chance = random.Random(9)
    rows = [
        (ipaddress.ip_address(chance.getrandbits(32)), chance.randint(1, 32)) for _ in range(60)
    ]
    nets = [ipaddress.ip_network((address, bits), strict=False) for address, bits in rows]
    script = part(tmp_path, "network/bridge.dhcp.sh") + "\n".join(
        f"to_bits {net.netmask} && to_net {address} $bits; echo $number $net"
        for (address, _), net in zip(rows, nets, strict=True)
    )
    lines = [line.split() for line in run(tmp_path, script).splitlines()]
    assert lines == [[str(int(net.network_address)), str(net)] for net in nets]


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.", "a.b.c.d", "$(id)", "1..2.3"],
)
def test_what_is_no_address_is_none(tmp_path: Path, text: str) -> None:
    script = part(tmp_path, "network/bridge.dhcp.sh") + f"to_number '{text}' || echo none"
    assert run(tmp_path, script) == "none\n"


@pytest.mark.parametrize("mask", ["0.0.0.0", "255.0.255.0", "255.255.255.1", "none"])
def test_what_is_no_mask_is_none(tmp_path: Path, mask: str) -> None:
    script = part(tmp_path, "network/bridge.dhcp.sh") + f"to_bits {mask} || echo none"
    assert run(tmp_path, script) == "none\n"


@pytest.mark.parametrize(
    ("lease", "routes", "notes"),
    [
        ({"router": "192.0.2.1"}, "0.0.0.0/0 192.0.2.1", 0),
        ({"router": "192.0.2.1 192.0.2.2"}, "0.0.0.0/0 192.0.2.1", 1),
        ({"staticroutes": "0.0.0.0/0 192.0.2.9 10.0.0.0/8 192.0.2.2", "router": "192.0.2.1"},
         "0.0.0.0/0 192.0.2.9,10.0.0.0/8 192.0.2.2", 1),
        ({"staticroutes": "10.1.2.3/8 192.0.2.7"}, "10.0.0.0/8 0.0.0.0", 0),
        ({"staticroutes": "192.0.2.0/24 192.0.2.3"}, "", 0),
        ({"routes": "10.0.0.0/192.0.2.1"}, "10.0.0.0/8 192.0.2.1", 0),
        ({"staticroutes": "10.0.0.0/8 * $(id) 192.0.2.1"}, "", 2),
        ({}, "", 0),
    ],
)  # fmt: skip
def test_routes_of_a_lease_are_chosen(
    tmp_path: Path, lease: dict[str, str], routes: str, notes: int
) -> None:
    script = f"set -f\n{part(tmp_path, 'network/bridge.dhcp.sh')}{DHCP}"
    script += 'address=$ip/24; choose_routes; echo "$routes_wanted"'
    *said, wanted = run(tmp_path, script, ip="192.0.2.7", interface="host0", **lease).splitlines()
    assert (wanted.strip(","), len(said)) == (routes, notes)


def test_only_plain_values_of_probe_conf_are_taken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/probe.conf").write_text(
        "dns=a;reboot\ndns=$(id)\ntcp=192.0.2.1:80\ntcp=other:81\n"
    )
    script = part(tmp_path, "network/bridge.probe.sh") + "value dns; value tcp"
    assert run(tmp_path, script) == "192.0.2.1:80\n"


@pytest.mark.parametrize(
    ("manifest", "uplink"), [("", "eth1"), ("eth2", "eth2"), ("eth0", ""), ("eth9", "")]
)
def test_the_uplink_is_the_first_link_with_a_carrier_or_the_manifest_s(
    tmp_path: Path, manifest: str, uplink: str
) -> None:
    for name, carrier in {"eth0": "0", "eth1": "1", "eth2": "1"}.items():
        link(tmp_path, name, carrier=carrier)
    link(tmp_path, "wwan0", carrier="1", type="519")
    script = part(tmp_path, "network/bridge.step.sh") + f"nap() {{ :; }}\nUPLINK={manifest}\n"
    script += 'find_uplink 2 && echo "$uplink" || echo'
    assert run(tmp_path, script) == f"{uplink}\n"


def test_a_guest_s_card_and_its_addresses_are_told_to_the_filter(tmp_path: Path) -> None:
    link(tmp_path, "guests4", iflink="7")
    link(tmp_path, "veth0", ifindex="6")
    link(tmp_path, "veth1", ifindex="7")
    script = part(tmp_path, "network/guest-filter.sh")
    script += "change add guests4 52:54:00:0a:0b:0c 192.0.2.1 10.0.0.255"
    mac = "0x5254000a0b0c"
    assert run(tmp_path, script).splitlines() == [
        "add element bridge minbuild ports { veth1 }",
        f"add element bridge minbuild cards {{ veth1 . {mac} }}",
        f"add element bridge minbuild same {{ {mac} . {mac} }}",
        f"add element bridge minbuild owned {{ {mac} . 0xc0000201 }}",
        f"add element bridge minbuild owned {{ {mac} . 0x0a0000ff }}",
    ]
    script = script.replace("change add", "change delete")
    assert [line.split()[0] for line in run(tmp_path, script).splitlines()] == ["delete"] * 4


DRIVERS = """
# Every nap is a fifth of a second; what comes then is in the list `events`: SECOND=WHAT.
ticks=0
nap() {
    ticks=$((ticks + 1))
    for event in $EVENTS; do
        [ "$((${event%=*} * 5))" = "$ticks" ] || continue
        case ${event#*=} in
        all) : >modules-are-loaded/modules ;;
        disk) : >block/sda$ticks ;;
        *) echo "${event#*=} 4096 0" >modules ;;
        esac
    done
}
findfs() { [ $ticks -ge "$((FOUND * 5))" ] && echo /dev/sda1; }
STATE=modules-are-loaded
"""


@pytest.mark.parametrize(
    ("events", "found", "seconds"),
    [
        ("0=all", 9, "9 /dev/sda1"),
        ("1=all", 99, "11 none"),
        ("5=a 55=b 60=all", 65, "65 /dev/sda1"),
        ("1=all 9=disk 18=disk", 27, "27 /dev/sda1"),
        ("1=all 9=disk 18=disk", 99, "28 none"),
        ("5=a", 999, "125 none"),
    ],
)
def test_the_data_partition_is_waited_for_while_drivers_and_disks_come(
    tmp_path: Path, events: str, found: int, seconds: str
) -> None:
    text = FILES["/usr/lib/minbuild/steps/20-data"].replace(". /usr/lib/minbuild/init", "")
    for place, name in (("/proc/modules", "modules"), ("/sys/class/block", "block")):
        text = text.replace(place, f"{tmp_path}/{name}")
    for name in ("modules-are-loaded", "block"):
        (tmp_path / name).mkdir()
    (tmp_path / "modules").touch()
    if events.startswith("0=all"):
        (tmp_path / "modules-are-loaded/modules").touch()
    script = text.partition("case $1 in\nstart)")[0] + DRIVERS
    script += "find_data || device=none\necho $((ticks / 5)) $device"
    assert run(tmp_path, script, EVENTS=events, FOUND=str(found)) == f"{seconds}\n"
