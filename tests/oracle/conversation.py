"""DHCP conversations, made from a seed: what a server answers, first and at each renewal."""

import ipaddress
import random
from dataclasses import dataclass, field

SERVER = "192.0.2.1"
NETS = (
    ("192.0.2.50", 24, "192.0.2.1"),
    ("192.0.2.77", 26, "192.0.2.65"),
    ("10.9.0.5", 16, "10.9.0.1"),
    ("10.77.3.9", 8, "10.0.0.1"),
    ("172.20.1.5", 20, "172.20.0.1"),
    ("198.51.100.2", 31, "198.51.100.3"),
    ("203.0.113.9", 32, "192.0.2.1"),
)
"""An address, the length of its network's prefix, and a router that can be reached there."""

Options = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Lease:
    """An answer of the server."""

    ip: str
    options: Options = field(default_factory=dict)
    """By number, beside 51, 53 and 54. Source: RFC 2132."""


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    leases: tuple[Lease, ...]
    """The first one, and what each renewal gives."""


def pack_addresses(*addresses: str) -> bytes:
    """Addresses as options have them."""
    return b"".join(ipaddress.IPv4Address(one).packed for one in addresses)


def mask(bits: int) -> bytes:
    """Option 1."""
    return (0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF).to_bytes(4)


def pack_routes(*routes: tuple[str, str]) -> bytes:
    """Option 121: destinations and their gateways. Source: RFC 3442."""
    data = b""
    for net, gateway in routes:
        address, _, bits = net.partition("/")
        octets = (int(bits) + 7) // 8
        data += bytes([int(bits)]) + pack_addresses(address)[:octets] + pack_addresses(gateway)
    return data


def pack_names(*names: str) -> bytes:
    """Option 119. Source: RFC 3397, RFC 1035, 3.1."""
    data = b""
    for name in names:
        for label in name.split("."):
            data += bytes([len(label)]) + label.encode()
        data += b"\0"
    return data


def random_conversations(seed: int, count: int) -> list[Conversation]:
    """Random ones; each lease of one conversation is drawn anew."""
    chance = random.Random(seed)
    result = []
    for number in range(count):
        net = chance.choice(NETS)
        leases = tuple(_lease(chance, net) for _ in range(chance.choice((1, 2, 3))))
        result.append(Conversation(f"{number}", leases))
    return result


def _lease(chance: random.Random, net: tuple[str, int, str]) -> Lease:
    """A lease whose server can be reached, so that it can be renewed."""
    address, bits, router = net
    if bits < 31 and chance.random() < 0.3:
        address = str(ipaddress.IPv4Address(address) + chance.randrange(1, 5))
    options: Options = {1: mask(bits)}
    if bits in {8, 16, 24} and chance.random() < 0.4:
        del options[1]
    _draw_routes(chance, options, router, bits)
    _draw_names(chance, options)
    if chance.random() < 0.5:
        options[26] = chance.choice((1280, 1400, 1492, 1500)).to_bytes(2)
    return Lease(address, options)


def _draw_routes(chance: random.Random, options: Options, router: str, bits: int) -> None:
    other = str(ipaddress.IPv4Address(router) + 1) if bits < 31 else router
    if chance.random() < 0.8 or bits == 32:
        options[3] = pack_addresses(*[router, other][: chance.choice((1, 1, 2))])
    if chance.random() < 0.3:
        options[33] = pack_addresses("203.0.113.0", router)
    if chance.random() < 0.5:
        routes = [("0.0.0.0/0", router)] if bits == 32 or chance.random() < 0.7 else []
        more = [
            ("100.64.0.0/10", router), ("198.18.5.77/15", router), ("203.0.113.128/25", other),
            ("192.0.2.200/32", router), ("198.51.100.128/25", "0.0.0.0"),
        ]  # fmt: skip
        routes += chance.sample(more, chance.randrange(0, 4))
        link = [(f"{router}/32", "0.0.0.0")] if bits == 32 else []
        if link + routes:
            options[121] = pack_routes(*link, *routes)


def _draw_names(chance: random.Random, options: Options) -> None:
    servers = ["192.0.2.1", "192.0.2.2", "198.51.100.53", "203.0.113.53"]
    if count := chance.randrange(0, 4):
        options[6] = pack_addresses(*chance.sample(servers, count))
    if count := chance.randrange(0, 3):
        options[42] = pack_addresses(*chance.sample(servers, count))
    if chance.random() < 0.5:
        options[15] = chance.choice((b"example.net", b"rack7.example.org"))
    if chance.random() < 0.4:
        options[119] = pack_names(*chance.sample(["a.test", "example.net", "b.c.test"], 2))
    if chance.random() < 0.3:
        options[12] = b"node17"
