"""Addresses of the lab's network: those of its servers, and that of a host with a fixed one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from itertools import chain, islice

from minbuild.errors import UsageError
from minbuild.footprint.model import FixedAddress
from minbuild.lab.credentials import Credential

VLAN_NETWORKS = ("198.51.100", "203.0.113")
"""TEST-NET-2, and TEST-NET-3 for hosts in the former. Source: RFC 5737, section 3."""
LEASES = 50
"""Addresses that the DHCP server gives at most."""
USER_NETWORK_ROOM = 3
"""Addresses of QEMU's user network besides the host's and the router's: DNS, DHCP, TCP server."""


@dataclass(frozen=True, slots=True)
class UserNetwork:
    """Addresses of QEMU's user network. Source: qemu(1), "-netdev user"."""

    tcp_server: str = "10.0.2.100"
    """The only address that a machine reaches, and one port of it."""
    options: str = ""
    """Options of QEMU's `-netdev user`; "" for its own addresses."""
    host: str = ""
    """The host's address; "" for the one that QEMU leases."""


@dataclass(frozen=True, slots=True)
class LabAddresses:
    """Addresses of the lab's network; the defaults are TEST-NET-1. Source: RFC 5737, section 3."""

    server: str = "192.0.2.1"
    """DHCP, DNS, TCP, NTP, HTTP and syslog of the lab."""
    prefix: int = 24
    aliases: tuple[str, ...] = ()
    """More addresses of that server: the name servers of a host with a fixed address."""
    dhcp_range: str = "192.0.2.50,192.0.2.99"
    """First and last address that are leased; "" for a network without room."""
    vlan: str = VLAN_NETWORKS[0]
    """The first three numbers of the VLAN's network, a /24."""
    host: str = ""
    """The host's fixed address with its prefix, 192.0.2.10/24; "" for one that is leased."""
    user: UserNetwork = field(default_factory=UserNetwork)

    @property
    def vlan_server(self) -> str:
        """The server's address in the VLAN."""
        return f"{self.vlan}.1"

    @property
    def host_address(self) -> str:
        """The host's fixed address without its prefix; "" for one that is leased."""
        return self.host.partition("/")[0]


def choose_addresses(fixed: FixedAddress | None) -> LabAddresses:
    """Choose a network in which a host with a fixed address reaches the servers that it knows.

    The lab's server has the address of the host's gateway, else of its name server, else the first
    of the network; it answers for all of the host's name servers.
    Raises: UsageError for an address that is none; a footprint may be untrusted.
    """
    if fixed is None or not fixed.address:
        return LabAddresses()
    host, gateway, nameservers = _parse(fixed)
    known = [each for each in (gateway, *nameservers) if each is not None and each != host.ip]
    others = chain(known, _iter_others(host.network, [host.ip]))
    server = next((one for one in others if one in host.network), None)
    if server is None:  # a network of one address: nothing can be beside the host
        return LabAddresses(host=str(host))
    return LabAddresses(
        server=str(server),
        prefix=host.network.prefixlen,
        aliases=tuple(str(one) for one in dict.fromkeys(known) if one != server),
        dhcp_range=_choose_range(host),
        vlan=next(
            (one for one in VLAN_NETWORKS if not host.network.overlaps(IPv4Network(f"{one}.0/24"))),
            VLAN_NETWORKS[0],
        ),
        host=str(host),
        user=_choose_user_network(host, server),
    )


def apply_credentials(
    fixed: FixedAddress | None, credentials: Sequence[Credential]
) -> FixedAddress | None:
    """The fixed address of a machine that is told its own by credentials; None stays None.

    Source: docs/reference/credentials.md.
    """
    if fixed is None:
        return None
    values = dict(_iter_values(credentials))
    nameservers = values.get("nameservers")
    return FixedAddress(
        values.get("address", fixed.address),
        values.get("gateway", fixed.gateway),
        fixed.nameservers if nameservers is None else tuple(nameservers.replace(",", " ").split()),
    )


def _iter_values(credentials: Sequence[Credential]) -> Iterator[tuple[str, str]]:
    for one in credentials:
        name = one.name.removeprefix("minbuild.")
        if name == "network":
            yield from (
                (variable, value)
                for variable, equals, value in (word.partition("=") for word in one.value.split())
                if equals
            )
        else:
            yield name, one.value.strip()


def _parse(fixed: FixedAddress) -> tuple[IPv4Interface, IPv4Address | None, list[IPv4Address]]:
    """The three values of a fixed address. Raises: UsageError."""
    try:
        return (
            IPv4Interface(fixed.address),
            IPv4Address(fixed.gateway) if fixed.gateway else None,
            [IPv4Address(one) for one in fixed.nameservers],
        )
    except (AddressValueError, NetmaskValueError) as error:
        raise UsageError(
            f"the host's fixed address cannot be used: {error}",
            fix="correct address, gateway and nameservers in the manifest or the credentials",
        ) from error


def _iter_others(network: IPv4Network, taken: Sequence[IPv4Address]) -> Iterator[IPv4Address]:
    """The addresses of a network that machines can have, without those that are taken."""
    return (one for one in network.hosts() if one not in taken)


def _choose_range(host: IPv4Interface) -> str:
    """First and last address to lease: in the half of the network where the host is not."""
    if host.network.prefixlen > 28:
        return ""
    half = next(one for one in host.network.subnets() if host.ip not in one)
    middle = half.num_addresses // 2
    count = min(LEASES, middle - 1)
    return f"{half[middle]},{half[middle + count - 1]}"


def _choose_user_network(host: IPv4Interface, server: IPv4Address) -> UserNetwork:
    """QEMU's user network with the addresses of the host's; its own where there is no room."""
    others = list(islice(_iter_others(host.network, [host.ip, server]), USER_NETWORK_ROOM))
    if len(others) < USER_NETWORK_ROOM:
        return UserNetwork()
    dns, lease, tcp_server = others
    options = f",net={host.network},host={server},dns={dns},dhcpstart={lease}"
    return UserNetwork(str(tcp_server), options, str(host.ip))
