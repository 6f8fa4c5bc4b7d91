"""Names of network cards that stay: the step in BusyBox's shell, on trees laid out as /sys is."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.manifest.loader import read_manifest
from tests.unit.components.conftest import run

pytestmark = pytest.mark.usefixtures("shell")

MANIFEST = """\
minbuild: 1
name: rack
extends: [host]
network: {use: [link-names]}
"""
KERNEL = r"""
take() { :; }
await() { :; }
nap() { :; }
reached() { :; }
say() { echo "$2"; }
# ip link set LINK up|down|name NAME, as a kernel before 6.2 takes it
ip() {
    link_place=/sys/class/net/$3
    read -r flags <"$link_place/flags"
    case $4 in
    up) echo 0x1003 >"$link_place/flags" ;;
    down) echo 0x1002 >"$link_place/flags" ;;
    name)
        [ "$flags" = 0x1002 ] && [ ! -e "/sys/class/net/$5" ] || return 2
        real=$(readlink -f "$link_place")
        mv "$real" "${real%/*}/$5" && rm "$link_place" && ln -s "${real%/*}/$5" "/sys/class/net/$5"
        ;;
    esac
}
"""
"""What init gives the step, without waiting, and the kernel's part."""


@dataclass(frozen=True, slots=True)
class Card:
    """Where a card is and what it says of itself."""

    place: str
    """Below /sys/devices."""
    address: str
    driver: str
    port: int = 0


CARDS = (
    Card("pci0000:00/0000:00:02.0/0000:01:00.0", "52:54:00:00:00:0a", "igb"),
    Card("pci0000:00/0000:00:02.0/0000:01:00.1", "52:54:00:00:00:02", "igb"),
    Card("pci0000:00/0000:00:03.0/virtio1", "52:54:00:00:00:01", "virtio_net"),
    Card("pci0000:00/0000:00:14.0/usb1/1-1/1-1.4/1-1.4:1.0", "52:54:00:00:00:0c", "cdc_ether"),
)
NAMES = (
    "wan=MACAddress=52:54:00:00:00:0A",
    "lan=Driver=igb+Order=2",
    "eth0=Path=pci-0000:00:03.0",
    "eth1=Path=pci-*-usb-0:1.4:1.0",
)


def write_tree(root: Path, cards: Mapping[str, Card], *, flags: str = "0x1003") -> None:
    """The links of /sys/class/net with their devices, and the bridge br0, which has none."""
    net = root / "sys/class/net"
    net.mkdir(parents=True)
    (root / "run").mkdir()
    for index, (name, card) in enumerate(cards.items(), start=2):
        device = root / "sys/devices" / card.place
        place = device / "net" / name
        place.mkdir(parents=True)
        rows = {"type": "1", "address": card.address, "ifindex": index, "flags": flags}
        for file, text in {**rows, "dev_port": card.port}.items():
            (place / file).write_text(f"{text}\n")
        (place / "device").symlink_to("../..")
        if not (device / "driver").is_symlink():
            (device / "driver").symlink_to(f"../../../bus/pci/drivers/{card.driver}")
        (net / name).symlink_to(place)
    (net / "br0").mkdir()
    (net / "br0/type").write_text("1\n")
    (net / "br0/ifindex").write_text("90\n")


def read_names(root: Path) -> dict[str, str]:
    """The links with a card: name → address."""
    links = (root / "sys/class/net").iterdir()
    return {
        link.name: (link / "address").read_text().strip()
        for link in links
        if (link / "device").exists()
    }


@pytest.fixture
def step(tmp_path: Path) -> str:
    """The step as the image has it, whose `start` looks below $ROOT."""
    manifest = tmp_path / "rack.yaml"
    manifest.write_text(MANIFEST)
    components = read_manifest(manifest, settings={}, components=()).components
    files = {str(file.path): file.content.decode() for one in components for file in one.files}
    if (tmp_path / "bin/busybox").exists():
        for applet in {applet.text for one in components for applet in one.applets}:
            (tmp_path / "bin" / applet).unlink(missing_ok=True)
            (tmp_path / "bin" / applet).symlink_to("busybox")
    text = files["/usr/lib/minbuild/steps/22-link-names"]
    text = text.replace(". /usr/lib/minbuild/init", KERNEL).replace("$STATE", "$ROOT/run")
    return (
        text.replace("/sys/class/net", "$ROOT/sys/class/net").partition("\n    late &\n")[0]
        + "\n}\n"
    )


def give(directory: Path, step: str, *names: str) -> list[str]:
    return run(
        directory, f"ROOT={directory}\n{step}\nWANTED='{' '.join(names)}'\nstart"
    ).splitlines()


def test_four_cards_have_their_names_whatever_order_they_come_in(tmp_path: Path, step: str) -> None:
    """A hundred starts in BusyBox, ten in this machine's shell: another order of the cards each time, and
    other addresses of those not named by one.
    """
    starts = 100 if (tmp_path / "bin/busybox").exists() else 10
    chance = random.Random(19)
    wanted = {}
    for number in range(starts):
        cards = [
            CARDS[0],
            *(Card(card.place, f"52:54:01:00:00:{chance.randrange(256):02x}", card.driver)
              for card in CARDS[1:]),
        ]  # fmt: skip
        root = tmp_path / "starts" / str(number)
        wanted[root] = dict(
            zip(("wan", "lan", "eth0", "eth1"), (c.address for c in cards), strict=True)
        )
        chance.shuffle(cards)
        write_tree(root, {f"eth{place}": card for place, card in enumerate(cards)})
    script = f"{step}\nWANTED='{' '.join(NAMES)}'\n"
    script += f"for ROOT in {tmp_path}/starts/*; do start; done"
    said = run(tmp_path, script).splitlines()
    assert said.count("4 cards named, 0 failed") == starts
    assert {root: read_names(root) for root in wanted} == wanted


def test_what_is_said_names_place_address_and_driver(tmp_path: Path, step: str) -> None:
    write_tree(tmp_path, {"eth0": CARDS[2], "eth1": CARDS[3]})
    assert give(tmp_path, step, *NAMES[2:]) == [
        "eth0 is pci-0000:00:03.0, 52:54:00:00:00:01, virtio_net (was eth0)",
        "eth1 is pci-0000:00:14.0-usb-0:1.4:1.0, 52:54:00:00:00:0c, cdc_ether (was eth1)",
        "2 cards named, 0 failed",
    ]


def test_ports_of_one_device_are_counted_in_their_order(tmp_path: Path, step: str) -> None:
    place = "pci0000:00/0000:00:02.0/0000:01:00.0"
    ports = [Card(place, f"52:54:00:00:00:{port:02}", "mlx4_en", port) for port in (10, 2, 0)]
    write_tree(tmp_path, {f"eth{number}": card for number, card in enumerate(ports)})
    give(tmp_path, step, *(f"p{order}=Driver=mlx4_en+Order={order}" for order in (1, 2, 3)))
    assert sorted(read_names(tmp_path)) == ["p1", "p2", "p3"]
    assert read_names(tmp_path)["p3"] == "52:54:00:00:00:10"


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["lan=Driver=igb"], "lan=Driver=igb: 2 cards are so: add +Order=1 to +Order=2"),
        (["br0=Order=1"], "br0=Order=1: br0 is the name of another link"),
        (
            ["a=Driver=igb+Order=1", "b=MACAddress=52:54:00:00:00:0a"],
            "b=MACAddress=52:54:00:00:00:0a: the name is given already, or the card has one",
        ),
        (
            ["a=Order=1", "a=Order=2"],
            "a=Order=2: the name is given already, or the card has one",
        ),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_given_is_told(
    tmp_path: Path, step: str, names: list[str], why: str
) -> None:
    write_tree(tmp_path, {f"eth{number}": card for number, card in enumerate(CARDS)})
    said = give(tmp_path, step, *names)
    assert f"FAILED: {why}" in said
    assert said[-1] == f"{len(names) - 1} cards named, 1 failed"
    assert len(read_names(tmp_path)) == 4


def test_a_card_that_is_not_there_is_told_and_the_others_have_their_names(
    tmp_path: Path, step: str
) -> None:
    write_tree(tmp_path, {"eth0": CARDS[1], "eth1": CARDS[0]}, flags="0x1002")
    said = give(tmp_path, step, *NAMES)
    assert "no card for eth0=Path=pci-0000:00:03.0 yet" in said
    assert said[-1] == "2 cards named, 0 failed"
    assert set(read_names(tmp_path)) == {"wan", "lan"}


def test_who_has_a_name_that_is_another_s_makes_room(tmp_path: Path, step: str) -> None:
    write_tree(tmp_path, {"eth0": CARDS[0], "eth1": CARDS[1]})
    give(tmp_path, step, "eth0=MACAddress=52:54:00:00:00:02")
    assert read_names(tmp_path) == {"other2": "52:54:00:00:00:0a", "eth0": "52:54:00:00:00:02"}
