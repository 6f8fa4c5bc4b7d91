"""One image, and a machine that is told its name, address, servers and keys when it starts."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from minbuild.lab.boot import boot_image
from minbuild.lab.credentials import Credential, CredentialWay
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    BootResult,
    ConsoleAction,
    LineSource,
    ProbePattern,
    ProbeState,
)
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup, require_namespace
from tests.support.sample import sampled_feature
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("credentials")]

MANIFEST = """\
minbuild: 1
name: fleet
extends: [host]
boot: {use: [credentials]}
hardware: {use: [fw-cfg]}
network: {use: [static]}
services: {use: [ssh]}
image: {formats: [uki], compression: zstd}
budget: {files: 70, packed: 30 MB}
"""
LIMIT = 300


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of all machines; nobody may log in to it, and it asks DHCP."""
    path = tmp_path_factory.mktemp("fleet")
    (path / "fleet.yaml").write_text(MANIFEST)
    ended = minbuild("make", "fleet.yaml", "--store", str(STORE), cwd=path)
    efi = path / "build" / "fleet" / "fleet.efi"
    assert efi.exists(), ended.err
    return efi


def boot(
    efi: Path,
    credentials: tuple[Credential, ...],
    lines: dict[str, str],
    *acts: ConsoleAction,
    certificate: Path | None = None,
) -> BootResult:
    probes = tuple(
        BootProbe(name, (ProbePattern(_source(name), re.compile(line)),), LIMIT, "not seen")
        for name, line in lines.items()
    )
    setup = make_boot_setup(efi)
    require_namespace(setup.toolbox)
    request = BootRequest(
        efi, probes, credentials=credentials, actions=acts, timeout=LIMIT, certificate=certificate
    )
    return boot_image(request, setup.toolbox, SilentProgress())


def _source(name: str) -> LineSource:
    return LineSource.SERVERS if name == "login" else LineSource.CONSOLE


def make_key(path: Path) -> str:
    argv = [*toolbox().build_argv("dropbearkey"), "-t", "ed25519", "-f", str(path)]
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return next(line for line in output.splitlines() if line.startswith("ssh-ed25519 "))


@sampled_feature("credentials")
def test_a_machine_is_what_its_credentials_say(fleet: Path, tmp_path: Path) -> None:
    """By SMBIOS, fw_cfg and the ESP at once: a name, a fixed address, a key; one value is none."""
    public = make_key(tmp_path / "key")
    home = tempfile.mkdtemp(dir=tmp_path)
    client = ("/usr/bin/env", f"HOME={home}", *toolbox().build_argv("dbclient"))
    argv = (*client, "-y", "-T", "-i", str(tmp_path / "key"), "root@192.0.2.10")
    login = ConsoleAction(
        re.compile("ssh: port 22 is open"),
        name="login",
        argv=(*argv, "cat /proc/sys/kernel/hostname"),
    )
    network = "address=192.0.2.10/24 gateway=192.0.2.1\nnameservers=192.0.2.1\n"
    result = boot(
        fleet,
        (
            Credential("minbuild.hostname", "rack7"),
            Credential("minbuild.ssh-keys", f"# mine\n{public}\n"),
            Credential("minbuild.gateway", "300.1.2.3"),
            Credential("minbuild.ntp", "192.0.2.1", CredentialWay.FW_CFG),
            Credential("minbuild.network", network, CredentialWay.ESP),
        ),
        {
            "name": r"credentials: minbuild\.hostname of SMBIOS: rack7",
            "keys": r"credentials: minbuild\.ssh-keys of SMBIOS: 1 keys",
            "unfit": r"minbuild\.gateway of SMBIOS left out: 300\.1\.2\.3 is no value",
            "servers": r"credentials: minbuild\.ntp of fw_cfg: 192\.0\.2\.1",
            "all": r"credentials: 6 of this machine taken, 1 left out",
            "address": r"address: 192\.0\.2\.10/24 on host0",
            "time": r"time: set to 2",
            "login": r"login: rack7",
        },
        login,
    )
    assert {
        one.name: one.detail for one in result.outcomes if one.state is not ProbeState.PASSED
    } == {}


SIGNED = """\
minbuild: 1
name: signed
extends: [host]
boot: {use: [credentials]}
kernel: {cmdline: ["systemd.set_credential=minbuild.ntp:192.0.2.1"]}
image: {formats: [uki], compression: zstd, sign: {key: signing.key, certificate: signing.pem}}
budget: {files: 70, packed: 30 MB}
"""
KEYS = Path(__file__).parents[1] / "security" / "keys"


@pytest.mark.long
def test_with_secure_boot_only_what_is_signed_counts(tmp_path: Path) -> None:
    """The signed command line counts; SMBIOS and a file of the EFI system partition do not."""
    (tmp_path / "signed.yaml").write_text(SIGNED)
    for name in ("signing.key", "signing.pem"):
        shutil.copyfile(KEYS / name, tmp_path / name)
    ended = minbuild("make", "signed.yaml", "--store", str(STORE), cwd=tmp_path)
    efi = tmp_path / "build" / "signed" / "signed.efi"
    assert efi.exists(), ended.err
    result = boot(
        efi,
        (
            Credential("minbuild.hostname", "rack7"),
            Credential("minbuild.uplink", "eth0", CredentialWay.ESP),
        ),
        {
            "signed": r"credentials: minbuild\.ntp of the command line: 192\.0\.2\.1",
            "smbios": r"hostname of SMBIOS left out: Secure Boot is on, and nobody signed it",
            "esp": r"uplink of the EFI system partition left out: Secure Boot is on",
            "all": r"credentials: 1 of this machine taken, 2 left out",
        },
        certificate=KEYS / "signing.pem",
    )
    assert [one.name for one in result.outcomes if one.state is not ProbeState.PASSED] == []
