"""Types of variables that components declare: each value is checked when a manifest is loaded."""

import re

import pytest

from minbuild.errors import ManifestError
from minbuild.manifest.component_description import describe_component
from minbuild.manifest.components import list_components
from minbuild.manifest.variable_types import (
    VariableDeclaration,
    VariableType,
    check_value,
    describe_type,
)
from tests.unit.manifest.conftest import Desk

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIKj8/a+xkXJkyOTWyjG2sCQrZBuXRXTNsy/VHyvEMkAC"
HASH = (
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/"
    "1GM/O6IND4WQhG."
)
"""Of `secret`: mkpasswd -m sha512 -S abcdefgh secret."""

FITTING = [
    (VariableType.ADDRESS, "192.0.2.1"),
    (VariableType.NETWORK_ADDRESS, "192.0.2.10/24"),
    (VariableType.NETWORK_ADDRESS, "10.0.0.1/32"),
    (VariableType.HOST_NAME, "rack7"),
    (VariableType.HOST_NAME, "rack-7.example.net"),
    (VariableType.HOSTS, "0.debian.pool.ntp.org 192.0.2.1"),
    (VariableType.HOSTS, "loghost:5514"),
    (VariableType.LINK, "eth0.20"),
    (VariableType.LINK_NAME, "wan=MACAddress=52:54:00:aB:34:56"),
    (VariableType.LINK_NAME, "lan-0=Path=pci-0000:0?:00.*+Driver=igb+Order=12"),
    (VariableType.PATH, "/data/images"),
    (VariableType.SIZE, "64 MiB"),
    (VariableType.LABEL, "minbuild-data"),
    (VariableType.SSH_KEY, f"ssh-ed25519 {KEY} you@there"),
    (VariableType.SSH_KEY, f"ssh-ed25519 {KEY}"),
    (VariableType.SSH_KEY, f'no-pty,command="uptime" ssh-ed25519 {KEY} you'),
    (VariableType.PASSWORD_HASH, HASH),
    (VariableType.PASSWORD_HASH, f"$5$rounds=5000$abcdefgh${'x' * 43}"),
    (VariableType.TEXT, "anything $(at) all"),
    (VariableType.ADDRESS, ""),
    (VariableType.ADDRESS, ("192.0.2.1", "192.0.2.2")),
]
UNFIT = [
    (VariableType.ADDRESS, "300.1.2.3", "'300.1.2.3' is not an IPv4 address"),
    (VariableType.ADDRESS, "192.0.2.01", "'192.0.2.01' is not an IPv4 address"),
    (VariableType.ADDRESS, "192.0.2.1/24", "'192.0.2.1/24' is not an IPv4 address"),
    (VariableType.ADDRESS, ("192.0.2.1", "192.0.2"), "'192.0.2' is not an IPv4 address"),
    (VariableType.NETWORK_ADDRESS, "192.0.2.10", "is not an IPv4 address with its prefix"),
    (VariableType.NETWORK_ADDRESS, "192.0.2.10/33", "is not an IPv4 address with its prefix"),
    (VariableType.HOST_NAME, "rack_7", "'rack_7' is not a host name"),
    (VariableType.HOST_NAME, "-rack", "'-rack' is not a host name"),
    (VariableType.HOST_NAME, "r" * 64, "is not a host name"),
    (VariableType.HOSTS, "300.1.2.3", "'300.1.2.3' is not a host name or an IPv4 address"),
    (VariableType.HOSTS, "a,b", "'a,b' is not a host name or an IPv4 address"),
    (VariableType.LINK, "a-name-of-16-char", "is not a link's name"),
    (VariableType.LINK, "a/b", "'a/b' is not a link's name"),
    (VariableType.LINK_NAME, "wan", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=52:54:00:12:34:56", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=MACAddress=52:54:00:12:34", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=MACAddress=52:54:00:12:34:5g", "is not a link's name with"),
    (VariableType.LINK_NAME, "wan=Order=0", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=Order=1000", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=Driver=igb+", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=Driver=", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=Path=/sys", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "wan=Colour=red", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "eth0.1=Order=1", "is not a link's name with its card"),
    (VariableType.LINK_NAME, "a-name-of-16-cha=Order=1", "is not a link's name with its card"),
    (VariableType.PATH, "data", "'data' is not an absolute path"),
    (VariableType.SIZE, "64", "'64' is not a size"),
    (VariableType.LABEL, "a label", "'a label' is not a label"),
    (VariableType.PASSWORD_HASH, "secret", "is not a password's hash"),
    (VariableType.PASSWORD_HASH, "*", "is not a password's hash"),
    (VariableType.PASSWORD_HASH, "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "is not a password's hash"),
    (VariableType.PASSWORD_HASH, f"$y$j9T$abc${'x' * 43}", "is not a password's hash"),
    (VariableType.PASSWORD_HASH, HASH[:-1], "is not a password's hash"),
    (VariableType.PASSWORD_HASH, f"{HASH}:", "is not a password's hash"),
    (VariableType.PASSWORD_HASH, f"$6$rounds=1${HASH[3:]}", "is not a password's hash"),
    (VariableType.SSH_KEY, "not a key", "'not a key' is not a public SSH key"),
    (VariableType.SSH_KEY, f"ssh-ed25519 {KEY[:40]}", "is cut off or damaged"),
    (VariableType.SSH_KEY, f"ssh-rsa {KEY}", "is cut off or damaged"),
    (VariableType.SSH_KEY, "ssh-ed25519", "is cut off or damaged"),
    (VariableType.SSH_KEY, "-----BEGIN OPENSSH PRIVATE KEY-----", "a private key is no line"),
    (VariableType.ADDRESS, "192.0.2.1\n", "is not an IPv4 address"),
]


@pytest.mark.parametrize(("kind", "value"), FITTING)
def test_a_value_of_its_type_is_taken(kind: VariableType, value: str | tuple[str, ...]) -> None:
    assert check_value(VariableDeclaration("", kind), value) is None


@pytest.mark.parametrize(("kind", "value", "message"), UNFIT)
def test_a_value_of_another_type_is_refused(
    kind: VariableType, value: str | tuple[str, ...], message: str
) -> None:
    problem = check_value(VariableDeclaration("", kind), value)
    assert problem is not None
    assert message in problem.message
    assert problem.fix


@pytest.mark.parametrize(
    ("declaration", "number", "message"),
    [
        (VariableDeclaration(22, VariableType.NUMBER, min=1, max=65535), 0, "0 is not from 1 to 65535"),
        (VariableDeclaration(1, VariableType.NUMBER, min=1), 0, "0 is not 1 or more"),
        (VariableDeclaration(1, VariableType.NUMBER, max=4), 5, "5 is not 4 or less"),
    ],
)  # fmt: skip
def test_numbers_have_bounds(declaration: VariableDeclaration, number: int, message: str) -> None:
    problem = check_value(declaration, number)
    assert problem is not None
    assert problem.message == message


DECLARED = """\
vars:
  mode: {type: choice, choices: [on-demand, always], default: always, meaning: when}
  peer: {type: address, default: "", required: true, meaning: the other end}
  keys: {type: ssh-key, default: [], empty: nobody can log in}
  count: {type: number, default: 4, min: 1}
files:
  /etc/x: {content: "{{ mode }} {{ peer }} {{ keys | join }} {{ count }}\\n"}
"""


@pytest.fixture
def declared(desk: Desk) -> Desk:
    desk.component("network/mine", DECLARED)
    return desk


def load_problems(desk: Desk, text: str, /, **settings: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ManifestError) as caught:
        desk.load(f"network: {{use: [mine]}}\n{text}", **settings)
    return [(one.what, one.where, one.fix) for one in (caught.value, *caught.value.also)]


def test_each_wrong_value_is_told_at_its_line(declared: Desk) -> None:
    text = 'vars: {mode: never, peer: 192.0.2.300,\n  count: 0, keys: ["x"]}\n'
    assert load_problems(declared, text) == [
        ("mode: 'never' is none of on-demand, always", "host.yaml:4:8 (vars.mode)",
         "write one of on-demand, always"),
        ("peer: '192.0.2.300' is not an IPv4 address", "host.yaml:4:21 (vars.peer)",
         "write it like 192.0.2.1"),
        ("count: 0 is not 1 or more", "host.yaml:5:3 (vars.count)", "write a number 1 or more"),
        ("keys: 'x' is not a public SSH key", "host.yaml:5:13 (vars.keys)",
         "write a line of a .pub file: ssh-ed25519 AAAA… name"),
    ]  # fmt: skip


def test_a_setting_is_checked_as_well(declared: Desk) -> None:
    assert load_problems(declared, "", peer="x") == [
        ("peer: 'x' is not an IPv4 address", "--set peer=x", "write it like 192.0.2.1")
    ]


def test_a_value_that_a_template_gives_is_checked(declared: Desk) -> None:
    text = 'vars: {site: "300", peer: "192.0.2.{{ site }}"}\n'
    (problem,) = load_problems(declared, text)
    assert problem[0] == "peer: '192.0.2.300' is not an IPv4 address"


def test_a_required_variable_without_a_value_is_an_error(declared: Desk) -> None:
    assert load_problems(declared, "") == [
        ("network/mine needs a value of peer (the other end)", "host.yaml",
         "write vars: {peer: …}, or --set 'peer=…'"),
    ]  # fmt: skip


def test_another_component_can_stand_in_for_a_required_variable(desk: Desk) -> None:
    text = DECLARED.replace("required: true", "required: true, unless: network/other")
    desk.component("network/mine", text)
    desk.component("network/other")
    assert load_problems(desk, "")[0][2].endswith("or use network/other")
    desk.load("network: {use: [mine, other]}\n")


def test_what_an_empty_variable_means_is_noted(declared: Desk) -> None:
    manifest = declared.load("network: {use: [mine]}\n", peer="192.0.2.1")
    assert manifest.notes == ("network/mine: keys is empty: nobody can log in",)
    full = declared.load("network: {use: [mine]}\n", peer="192.0.2.1", keys=f"[ssh-ed25519 {KEY}]")
    assert full.notes == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{type: adress, default: x}", "adress"),
        ("{type: address}", "default"),
        ("{default: x, mening: y}", "mening"),
    ],
)
def test_a_wrong_declaration_is_told(line: str, message: str, desk: Desk) -> None:
    desk.component(
        "network/mine", f'vars:\n  x: {line}\nfiles: {{/x: {{content: "{{{{ x }}}}"}}}}\n'
    )
    assert any(message in what for what, _, _ in load_problems(desk, ""))


def test_shipped_declarations_fit_their_defaults() -> None:
    for component in list_components([]):
        for variable in describe_component(component.name, []).variables:
            problem = check_value(variable.declaration, variable.declaration.default)
            assert problem is None, f"{component.name}: {variable.name}: {problem}"
            assert variable.meaning or re.search("[a-z]", describe_type(variable.declaration))


def test_a_static_address_is_wanted_where_no_dhcp_is(desk: Desk) -> None:
    text = "minbuild: 1\nextends: [host]\nnetwork: {use: {add: [static]%s}}\n"
    desk.write({"a.yaml": text % "", "b.yaml": text % ", remove: [dhcp]"})
    assert desk.load_file("a.yaml").notes == (
        "network/static: address is empty: the host takes the address that DHCP gives",
    )
    with pytest.raises(ManifestError, match="network/static needs a value of address"):
        desk.load_file("b.yaml")
