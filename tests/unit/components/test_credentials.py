"""What a machine is told when it starts: sources, order, types; in this machine's shell and in BusyBox."""

import base64
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.manifest.component_description import describe_component
from minbuild.manifest.components import list_components
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.variable_types import VariableDeclaration, check_value
from tests.unit.components.conftest import run
from tests.unit.manifest.test_variable_types import FITTING, HASH, KEY, UNFIT

pytestmark = pytest.mark.usefixtures("shell")

MANIFEST = """\
minbuild: 1
name: many
extends: [host]
boot: {use: [credentials, console-login]}
network: {use: [static]}
services: {use: [ssh, syslog]}
budget: {files: 90, packed: 30 MB}
"""
PLACES = ("/proc/", "/sys/", "/.extra/", "/data/", "/run/", "/usr/lib/minbuild/", "/lib/modules/")
SSH_KEY = f"ssh-ed25519 {KEY} you@there"
VARIABLES = [
    (one.name, variable.name, variable.declaration)
    for one in list_components(())
    for variable in describe_component(one.name, ()).variables
    if variable.declaration.runtime
]


class Desk:
    """A root with the files that the step reads, and what it says and finds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / "many.yaml"
        path.write_text(MANIFEST)
        for component in read_manifest(path, settings={}, components=()).components:
            for file in component.files:
                if file.path in {"/usr/lib/minbuild/init", "/usr/lib/minbuild/credentials"}:
                    self.write(file.path, self._move(file.content.decode()))
        self.write("/proc/cmdline", "console=ttyS0\n")
        self.write("/run/minbuild/data-settled", "")
        self.write("/usr/lib/minbuild/steps/20-data", "")
        self.write("/proc/sys/kernel/hostname", "")
        self.secure_boot(on=False)

    def _move(self, text: str) -> str:
        text = re.sub("(?m)^export PATH=.*$", "", text)
        text = text.replace(">/dev/kmsg", f">>{self.directory}/kmsg")
        for place in PLACES:
            text = re.sub(
                rf"(?<![A-Za-z0-9$}}]){re.escape(place)}", f"{self.directory}{place}", text
            )
        return text.replace("STATE=/run/minbuild", f"STATE={self.directory}/run/minbuild")

    def write(self, path: str, content: str | bytes) -> None:
        place = self.directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    def secure_boot(self, *, on: bool) -> None:
        page = bytearray(4096)
        page[0x1EC] = 3 if on else 2
        self.write("/sys/kernel/boot_params/data", bytes(page))

    def cmdline(self, *words: str) -> None:
        self.write("/proc/cmdline", " ".join(("console=ttyS0", *words, "panic=10")) + "\n")

    def smbios(self, *strings: str) -> None:
        """The table of a PC: a BIOS with strings of its own, then type 11, then the end."""
        bios = (
            bytes([0, 24, 0, 0])
            + bytes(20)
            + b"EDK II\0io.systemd.credential:minbuild.uplink=no\0\0"
        )
        none = bytes([32, 11, 1, 0]) + bytes(7) + b"\0\0"
        texts = b"".join(text.encode() + b"\0" for text in strings)
        own = bytes([11, 5, 0, 14, len(strings)]) + texts + b"\0"
        end = bytes([127, 4, 2, 0]) + b"\0\0"
        self.write("/sys/firmware/dmi/tables/DMI", bios + none + own + end)

    def fw_cfg(self, name: str, value: str) -> None:
        self.write("/sys/bus/acpi/devices/QEMU0002:00/status", "15")
        self.write("/run/minbuild/modules", "")
        place = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials"
        self.write(f"{place}/{name}/raw", value)

    def start(self) -> tuple[Mapping[str, str], list[str]]:
        """Run the step: what each variable is told, and what the console says."""
        run(self.directory, f"set -- start; . {self.directory}/usr/lib/minbuild/credentials")
        assert (self.directory / "run/minbuild/settings").exists()
        own = self.directory / "run/minbuild/own"
        lines = (self.directory / "kmsg").read_text().splitlines()
        told = {file.name: file.read_text().removesuffix("\n") for file in sorted(own.iterdir())}
        return told, [line.removeprefix("<13>minbuild: credentials: ") for line in lines]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_machine_that_is_told_nothing_goes_on(desk: Desk) -> None:
    assert desk.start() == ({}, ["0 of this machine taken, 0 left out"])


def test_every_way_brings_values(desk: Desk) -> None:
    encoded = base64.b64encode(f"# mine\n{SSH_KEY}\n{SSH_KEY}\n".encode()).decode()
    desk.cmdline('"systemd.set_credential=minbuild.ntp:192.0.2.1 ntp.example.net"')
    desk.fw_cfg("minbuild.uplink", "eth1")
    desk.smbios("a vendor", f"io.systemd.credential.binary:minbuild.ssh-keys={encoded}",
                "io.systemd.credential:minbuild.hostname=rack7", "io.systemd.credential:passwd.shell=x")  # fmt: skip
    desk.write("/.extra/credentials/minbuild.address.cred", "192.0.2.10/24\n")
    desk.write("/.extra/global_credentials/minbuild.nameservers.cred", "192.0.2.1, 192.0.2.2")
    desk.write("/data/credstore/minbuild.syslog", "loghost:5514\n")
    told, lines = desk.start()
    assert told == {
        "ntp_servers": "192.0.2.1 ntp.example.net",
        "uplink": "eth1",
        "ssh_keys": f"# mine\n{SSH_KEY}\n{SSH_KEY}",
        "hostname": "rack7",
        "address": "192.0.2.10/24",
        "nameservers": "192.0.2.1\n\n192.0.2.2",
        "syslog_server": "loghost:5514",
    }
    assert (desk.directory / "proc/sys/kernel/hostname").read_text() == "rack7\n"
    assert lines == [
        "minbuild.ntp of the command line: 192.0.2.1 ntp.example.net",
        "minbuild.uplink of fw_cfg: eth1",
        "minbuild.ssh-keys of SMBIOS: 2 keys",
        "minbuild.hostname of SMBIOS: rack7",
        "minbuild.address of the EFI system partition: 192.0.2.10/24",
        "minbuild.nameservers of the EFI system partition: 192.0.2.1  192.0.2.2",
        "minbuild.syslog of the data partition: loghost:5514",
        "7 of this machine taken, 0 left out",
    ]


def test_a_hash_of_a_password_is_root_s_alone_and_is_not_shown(desk: Desk) -> None:
    desk.cmdline(f"systemd.set_credential=minbuild.console-password:{HASH}")
    values, said = desk.start()
    assert values["console_password"] == HASH
    assert said[0] == "minbuild.console-password of the command line: a hash"
    mode = (desk.directory / "run/minbuild/own/console_password").stat().st_mode
    assert mode & 0o777 == 0o600


def test_a_password_where_its_hash_should_be_is_not_shown(desk: Desk) -> None:
    desk.cmdline("systemd.set_credential=minbuild.console-password:secret")
    _, said = desk.start()
    assert "left out: it is no value of the type password-hash" in said[0]
    assert not any("secret" in line for line in said)


def test_the_first_source_with_a_value_that_fits_counts(desk: Desk) -> None:
    desk.cmdline("systemd.set_credential=minbuild.hostname:rack_7")
    desk.smbios("io.systemd.credential:minbuild.hostname=rack7")
    desk.write("/data/credstore/minbuild.hostname", "rack8")
    told, lines = desk.start()
    assert told == {"hostname": "rack7"}
    assert lines == [
        "minbuild.hostname of the command line left out: rack_7 is no value of the type host-name",
        "minbuild.hostname of SMBIOS: rack7",
        "minbuild.hostname of the data partition left out: a source that counts more gave one",
        "1 of this machine taken, 2 left out",
    ]


def test_what_is_wrong_is_said_and_stops_nothing(desk: Desk) -> None:
    desk.smbios(
        "io.systemd.credential:minbuild.adress=192.0.2.10/24",
        "io.systemd.credential.binary:minbuild.hostname=%%%",
        "io.systemd.credential:minbuild.gateway=$(reboot)",
        "io.systemd.credential:minbuild.nameservers=192.0.2.1,`id`",
        "io.systemd.credential:minbuild.uplink",
    )
    desk.write("/.extra/credentials/minbuild.uplink.cred", "eth0\nreboot")
    desk.write("/.extra/credentials/minbuild.ntp.cred", "a" * 70000)
    desk.write("/data/credstore/minbuild.ssh-keys", SSH_KEY)
    told, lines = desk.start()
    assert told == {}
    assert lines == [
        "minbuild.adress of SMBIOS left out: no component of this image has such a variable",
        "minbuild.hostname of SMBIOS left out: it is not in base64",
        "minbuild.gateway of SMBIOS left out: $(reboot) is no value of the type address",
        "minbuild.nameservers of SMBIOS left out: `id` is no value of the type address",
        "minbuild.ntp of the EFI system partition left out: it is longer than 65536 bytes",
        "minbuild.uplink of the EFI system partition left out: it is no value of the type link",
        "minbuild.ssh-keys of the data partition left out: only a credential may give it",
        "0 of this machine taken, 7 left out",
    ]


def test_the_network_in_one_credential_counts_whole_or_not_at_all(desk: Desk) -> None:
    network = (
        "address=192.0.2.10/24 gateway=192.0.2.1\nnameservers=192.0.2.1,192.0.2.2 uplink=eth1\n"
    )
    desk.write(
        "/.extra/credentials/minbuild.network.cred", network.replace("gateway=1", "gateway=3")
    )
    desk.write("/data/credstore/minbuild.network", network)
    told, lines = desk.start()
    assert lines[0].endswith("left out: 392.0.2.1 is no value of the type address")
    assert lines[-1] == "4 of this machine taken, 1 left out"
    assert told == {
        "address": "192.0.2.10/24",
        "gateway": "192.0.2.1",
        "nameservers": "192.0.2.1\n192.0.2.2",
        "uplink": "eth1",
    }


@pytest.mark.parametrize("word", ["hostname=rack7", "address", "ssh-keys=x", "=1"])
def test_the_network_has_its_own_variables_alone(desk: Desk, word: str) -> None:
    desk.write("/data/credstore/minbuild.network", f"gateway=192.0.2.1 {word}")
    told, lines = desk.start()
    assert told == {}
    assert lines[-1] == "0 of this machine taken, 1 left out"


def test_with_secure_boot_only_what_is_signed_counts_and_the_data_partition(desk: Desk) -> None:
    desk.secure_boot(on=True)
    desk.cmdline("systemd.set_credential=minbuild.ntp:192.0.2.1")
    desk.fw_cfg("minbuild.uplink", "eth1")
    desk.smbios("io.systemd.credential:minbuild.hostname=rack7")
    desk.write("/.extra/credentials/minbuild.address.cred", "192.0.2.10/24")
    desk.write("/data/credstore/minbuild.syslog", "192.0.2.1")
    told, lines = desk.start()
    assert told == {"ntp_servers": "192.0.2.1", "syslog_server": "192.0.2.1"}
    assert (
        len([line for line in lines if line.endswith("Secure Boot is on, and nobody signed it")])
        == 3
    )


def test_with_secure_boot_words_that_smbios_adds_are_not_signed(desk: Desk) -> None:
    desk.secure_boot(on=True)
    desk.cmdline("systemd.set_credential=minbuild.ntp:192.0.2.1")
    desk.smbios(
        "io.systemd.stub.kernel-cmdline-extra=systemd.set_credential=minbuild.ntp:192.0.2.1"
    )
    told, lines = desk.start()
    assert told == {}
    assert lines[0] == (
        "minbuild.ntp of the command line left out: Secure Boot is on, and nobody signed it"
    )


def test_a_machine_whose_kernel_does_not_tell_is_taken_for_a_safe_one(desk: Desk) -> None:
    (desk.directory / "sys/kernel/boot_params/data").unlink()
    desk.smbios("io.systemd.credential:minbuild.hostname=rack7")
    assert desk.start()[0] == {}


def test_a_link_on_the_data_partition_is_not_followed(desk: Desk) -> None:
    desk.write("/data/secret", "rack7")
    (desk.directory / "data/credstore").mkdir()
    (desk.directory / "data/credstore/minbuild.hostname").symlink_to("../secret")
    assert desk.start()[0] == {}


def test_the_host_judges_a_value_as_the_manifest_does(desk: Desk) -> None:
    """Every value of the tests of the types, asked of the script's own functions."""
    values = [(kind, one) for kind, value in FITTING for one in _items(value) if one]
    values += [(kind, one) for kind, value, _ in UNFIT for one in _items(value)]
    lines = ["least=- most=-"]
    for number, (kind, value) in enumerate(values):
        (desk.directory / f"value{number}").write_text(value)
        lines.append(f'type={kind} count=one; all_fit "$(cat value{number}; echo x | tr -d x)" '
                     f"&& echo yes || echo no")  # fmt: skip
    script = f". {desk.directory}/usr/lib/minbuild/credentials\n" + "\n".join(lines)
    answers = run(desk.directory, script).split()
    judged = [
        check_value(VariableDeclaration("", kind), value.rstrip("\n")) for kind, value in values
    ]
    assert dict(zip(values, answers, strict=True)) == {
        pair: "no" if problem else "yes" for pair, problem in zip(values, judged, strict=True)
    }


@pytest.mark.parametrize(
    ("text", "fits"),
    [("1", True), ("65535", True), ("0", False), ("65536", False), ("08", False), ("1e3", False),
     ("9" * 30, False), ("-1", False), ("", False)],
)  # fmt: skip
def test_a_number_keeps_its_bounds(desk: Desk, text: str, fits: bool) -> None:
    script = f". {desk.directory}/usr/lib/minbuild/credentials\n"
    script += f"is_number '{text}' 1 65535 && echo yes || echo no"
    assert run(desk.directory, script) == ("yes\n" if fits else "no\n")


def _items(value: Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value


def test_take_gives_what_is_there_and_nothing_else(desk: Desk) -> None:
    desk.write("/data/credstore/minbuild.uplink", "eth1")
    desk.start()
    script = f". {desk.directory}/usr/lib/minbuild/init\n"
    script += 'a=1 b=2; take a uplink && echo "$a"; take b gateway || echo "$b"'
    assert run(desk.directory, script) == "eth1\n2\n"


def test_a_variable_that_is_told_is_taken_by_a_script_of_its_component() -> None:
    for component, name, _ in VARIABLES:
        section, _, short = component.partition("/")
        directory = data_directory("manifests") / "components" / section
        texts = subprocess.run(
            ["grep", "-rhow", f"take [A-Za-z_]* {name}", str(directory.parent)],
            capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert texts or name == "hostname", (short, name)


def test_the_reference_names_every_credential() -> None:
    page = Path("docs/reference/credentials.md").read_text()
    for component, name, declaration in VARIABLES:
        own = declaration.credential or name.replace("_", "-")
        rows = [row for row in page.splitlines() if row.startswith(f"| `minbuild.{own}` |")]
        assert len(rows) == 1, own
        assert f"`{name}`" in rows[0], own
        assert f"`{component}`" in rows[0] or name in {"hostname", "guests_from"}, own


def test_the_prompt_names_the_host(desk: Desk) -> None:
    if not (desk.directory / "bin/busybox").exists():
        pytest.skip("another shell's prompt knows no name")
    script = f". {desk.directory}/usr/lib/minbuild/init; cd /; echo exit | sh -i 2>&1"
    name = socket.gethostname().partition(".")[0]
    assert f"{name}:/" in run(desk.directory, script)


def test_an_image_without_the_module_of_fw_cfg_waits_for_nothing(desk: Desk) -> None:
    desk.write("/sys/bus/acpi/devices/QEMU0002:00/status", "15")
    desk.write("/proc/sys/kernel/osrelease", "6.12\n")
    desk.write("/lib/modules/6.12/modules.dep", "kernel/fs/ext4/ext4.ko.xz:\n")
    (desk.directory / "run/minbuild/never").symlink_to("/dev/null")
    started = time.monotonic()
    assert desk.start()[0] == {}
    assert time.monotonic() - started < 30
