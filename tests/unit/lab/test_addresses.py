"""The lab's network of a host whose address is fixed."""

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import UsageError
from minbuild.footprint.measure import find_fixed_address
from minbuild.footprint.model import FixedAddress
from minbuild.lab.addresses import LabAddresses, apply_credentials, choose_addresses
from minbuild.lab.credentials import Credential
from minbuild.lab.model import Decision, LabServer, LeaseShape, Network, PortForward
from minbuild.lab.probes import (
    find_unreachable_probes,
    list_manifest_probes,
    make_default_probes,
)
from minbuild.lab.qemu import build_forward_args
from minbuild.lab.worker.network import (
    build_dnsmasq_args,
    build_ip_commands,
    require_lease_support,
)
from minbuild.manifest.loader import read_manifest

SITE = FixedAddress("10.20.30.40/24", "10.20.30.1", ("10.20.30.2", "9.9.9.9"))


def test_the_server_has_the_addresses_of_the_gateway_and_of_the_name_servers() -> None:
    addresses = choose_addresses(SITE)
    assert addresses.server == "10.20.30.1"
    assert addresses.aliases == ("10.20.30.2", "9.9.9.9")
    assert addresses.host_address == "10.20.30.40"
    commands = build_ip_commands(addresses).splitlines()
    assert "addr add 10.20.30.1/24 dev lab0" in commands
    assert "addr add 9.9.9.9/32 dev lab0" in commands
    args = build_dnsmasq_args(addresses, dhcp=True, dns=True, ntp=True)
    assert "--address=/probe.test/10.20.30.1" in args
    assert "--dhcp-range=10.20.30.192,10.20.30.241,3600" in args


@pytest.mark.parametrize(
    ("fixed", "server"),
    [
        (FixedAddress("10.0.0.9/24", "", ("10.0.0.53",)), "10.0.0.53"),
        (FixedAddress("10.0.0.9/24", "", ()), "10.0.0.1"),
        (FixedAddress("10.0.0.1/24", "", ("10.0.0.1",)), "10.0.0.2"),
        (FixedAddress("10.0.0.9/24", "192.168.1.1", ()), "10.0.0.1"),
        (FixedAddress("10.0.0.0/31", "10.0.0.1", ()), "10.0.0.1"),
        (FixedAddress("10.0.0.9/32", "10.0.0.1", ()), LabAddresses().server),
    ],
)
def test_the_server_is_in_the_host_s_network(fixed: FixedAddress, server: str) -> None:
    assert choose_addresses(fixed).server == server


@pytest.mark.parametrize("fixed", [None, FixedAddress("", "", ())])
def test_without_an_address_the_network_is_the_lab_s_own(fixed: FixedAddress | None) -> None:
    assert choose_addresses(fixed) == LabAddresses()


@given(st.integers(0, 32), st.integers(1, (1 << 32) - 1))
def test_no_address_is_given_twice(prefix: int, number: int) -> None:
    host = IPv4Interface(f"{IPv4Address(number)}/{prefix}")
    addresses = choose_addresses(FixedAddress(str(host), "", ()))
    taken = {str(host.ip), addresses.server}
    assert len(taken) == 2
    if addresses.dhcp_range and prefix < 32:
        first, last = map(IPv4Address, addresses.dhcp_range.split(","))
        assert first <= last
        assert first in host.network
        assert last in host.network
        assert not first <= host.ip <= last
    options = dict(one.split("=") for one in addresses.user.options.split(",") if one)
    if options:
        inside = [options["host"], options["dns"], options["dhcpstart"], addresses.user.tcp_server]
        assert len({*inside, str(host.ip)}) == 5
        assert all(IPv4Address(one) in host.network for one in inside)


def test_a_host_in_the_vlan_s_network_gets_another_vlan() -> None:
    addresses = choose_addresses(FixedAddress("198.51.100.7/24", "", ()))
    assert addresses.vlan_server == "203.0.113.1"


def test_the_lease_is_not_awaited_and_all_others_are() -> None:
    probes = make_default_probes()
    reasons = find_unreachable_probes(probes, Network.NAMESPACE, choose_addresses(SITE))
    assert reasons == {"dhcp": "the host's address is fixed: 10.20.30.40/24"}
    by_user = find_unreachable_probes(probes, Network.USER, choose_addresses(SITE))
    assert set(by_user) == {"dhcp", "dns"}
    small = choose_addresses(FixedAddress("10.0.0.1/30", "", ()))
    assert "no room" in find_unreachable_probes(probes, Network.USER, small)[LabServer.TCP]


def test_ports_are_led_to_the_fixed_address() -> None:
    user = choose_addresses(SITE).user
    assert build_forward_args([PortForward(8080, 80)], user.host) == (
        ",hostfwd=tcp:127.0.0.1:8080-10.20.30.40:80"
    )


def test_a_kind_of_lease_is_refused() -> None:
    network = Decision(Network.NAMESPACE, "it works")
    with pytest.raises(UsageError, match=r"fixed, 10\.20\.30\.40/24"):
        require_lease_support(LeaseShape.MTU1400, network, choose_addresses(SITE))


@pytest.mark.parametrize(
    "fixed",
    [
        FixedAddress("10.0.0.1/33", "", ()),
        FixedAddress("10.0.0.1/24\naddr", "", ()),
        FixedAddress("10.0.0.1/24", "x", ()),
        FixedAddress("10.0.0.1/24", "", ("::1",)),
    ],
)
def test_a_stranger_s_address_that_is_none_is_an_error(fixed: FixedAddress) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        choose_addresses(fixed)


def test_a_credential_of_the_machine_wins_over_the_manifest() -> None:
    told = [
        Credential("minbuild.network", "address=10.1.1.9/24 nameservers=10.1.1.2,10.1.1.3"),
        Credential("minbuild.gateway", "10.1.1.254"),
        Credential("minbuild.hostname", "rack7"),
    ]
    assert apply_credentials(SITE, told) == FixedAddress(
        "10.1.1.9/24", "10.1.1.254", ("10.1.1.2", "10.1.1.3")
    )
    assert apply_credentials(SITE, []) == SITE
    assert apply_credentials(None, told) is None


def test_a_manifest_says_its_host_s_address(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "minbuild: 1\nname: site\nextends: [host]\nnetwork: {use: [static]}\n"
        "vars: {address: 10.20.30.40/24, gateway: 10.20.30.1, nameservers: [10.20.30.2, 9.9.9.9]}\n"
    )
    manifest = read_manifest(path, settings={}, components=[])
    assert find_fixed_address(manifest) == SITE
    assert {probe.name for probe in list_manifest_probes(manifest) if probe.needs_lease} == {"dhcp"}
    path.write_text("minbuild: 1\nname: site\nextends: [host]\n")
    assert find_fixed_address(read_manifest(path, settings={}, components=[])) is None
