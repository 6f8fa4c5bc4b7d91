"""Secure Boot: the firmware starts what its one trusted key signed, and refuses all else."""

import re
import shutil
from pathlib import Path

import pytest

from minbuild.errors import ToolError, UsageError
from minbuild.image.sign import sign
from minbuild.image.uki import Parts, make_uki
from minbuild.lab.boot import boot
from minbuild.lab.types import Accel, BootRequest, Network, Probe, Source
from minbuild.lab.types import Sign as Seen
from minbuild.lab.varstore import enrolled
from minbuild.manifest.types import Sign
from minbuild.paths import RootPath
from minbuild.progress import Silent
from tests.fuzz.seeds import seeds
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.mirror
KEYS = Path(__file__).parent / "keys"
OURS = Sign(str(KEYS / "signing.key"), str(KEYS / "signing.pem"))
OTHER = Sign(str(KEYS / "other.key"), str(KEYS / "other.pem"))


@pytest.fixture
def uki(tmp_path: Path) -> Path:
    """An image of the real kernel, with an initramfs that need not start."""
    box = toolbox(lab=True)
    kernel = next(box.root.glob("boot/vmlinuz-*"))
    initrd = tmp_path / "initrd"
    initrd.write_bytes(seeds("cpio")[0])
    parts = Parts("amd64", kernel, initrd, "console=ttyS0 panic=-1", b"ID=x\n", "6.12")
    work = tmp_path / "work"
    work.mkdir()
    make_uki(parts, tmp_path / "host.efi", work, box)
    return tmp_path / "host.efi"


def start(image: Path, *signs: str) -> tuple[str, str]:
    """Boot until the console shows these lines; returns the outcome's state and detail."""
    seen = tuple(Seen(Source.CONSOLE, re.compile(sign)) for sign in signs)
    wish = BootRequest(
        image=image,
        probes=(Probe("console", seen, 170, "the firmware did otherwise"),),
        accel=Accel.TCG,
        network=Network.USER,
        timeout=180,
        certificate=KEYS / "signing.pem",
    )
    (outcome,) = boot(wish, toolbox(lab=True), Silent()).outcomes
    return str(outcome.state), outcome.detail


@pytest.mark.boot
def test_what_the_trusted_key_signed_starts_locked_down(uki: Path, tmp_path: Path) -> None:
    sign(uki, OURS, tmp_path, toolbox(lab=True))
    state, detail = start(uki, "UEFI Secure Boot is enabled", "locked down from EFI Secure Boot")
    assert state == "passed", detail


@pytest.mark.boot
@pytest.mark.parametrize("how", ["unsigned", "tampered", "signed by another key"])
def test_all_else_is_refused_by_the_firmware(uki: Path, tmp_path: Path, how: str) -> None:
    if how != "unsigned":
        sign(uki, OTHER if how == "signed by another key" else OURS, tmp_path, toolbox(lab=True))
    if how == "tampered":
        data = bytearray(uki.read_bytes())
        at = data.index(b"console=ttyS0")
        data[at : at + 13] = b"console=ttyS1"
        uki.write_bytes(data)
    state, detail = start(uki, "(?i)access denied|security violation")
    assert state == "passed", detail


def test_a_key_that_is_none_is_an_error_that_names_it(uki: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.key"
    bad.write_text("no key")
    before = uki.read_bytes()
    with pytest.raises(ToolError, match="sbsign failed"):
        sign(uki, Sign(str(bad), OURS.certificate), tmp_path, toolbox(lab=True))
    assert uki.read_bytes() == before


def test_a_signature_changes_nothing_but_the_signature(uki: Path, tmp_path: Path) -> None:
    shutil.copyfile(uki, tmp_path / "unsigned")
    sign(uki, OURS, tmp_path, toolbox(lab=True))
    signed, unsigned = uki.read_bytes(), (tmp_path / "unsigned").read_bytes()
    assert 0 < len(signed) - len(unsigned) < 4096
    differing = sum(a != b for a, b in zip(signed, unsigned, strict=False))
    assert differing <= 12  # the checksum, and where the signature lies


def test_a_certificate_is_enrolled_behind_what_is_there() -> None:
    template = toolbox(lab=True).path(RootPath("/usr/share/OVMF/OVMF_VARS_4M.fd")).read_bytes()
    text = (KEYS / "signing.pem").read_text()
    made = enrolled(template, text, "signing.pem")
    assert len(made) == len(template)
    assert "SecureBootEnable".encode("utf-16-le") in made
    with pytest.raises(UsageError, match="no certificate"):
        enrolled(template, "nothing", "x.pem")
    with pytest.raises(UsageError, match="unknown form"):
        enrolled(bytes(1000), text, "x.pem")
