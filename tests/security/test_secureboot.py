"""Secure Boot: the firmware starts what its one trusted key signed, and refuses all else."""

import re
import shutil
from pathlib import Path

import pytest

from minbuild.errors import ToolError, UsageError
from minbuild.image.ukify import UkiParts, build_uki, sign_uki
from minbuild.lab.boot import boot_image
from minbuild.lab.drives import enrol_keys
from minbuild.lab.model import BootProbe, BootRequest, LineSource, Network
from minbuild.lab.model import ProbePattern as Seen
from minbuild.manifest.image_settings import SigningSettings
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.fuzz.seeds import seeds
from tests.support.sample import sampled_params
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.mirror
KEYS = Path(__file__).parent / "keys"
OURS = SigningSettings(str(KEYS / "signing.key"), str(KEYS / "signing.pem"))
OTHER = SigningSettings(str(KEYS / "other.key"), str(KEYS / "other.pem"))


@pytest.fixture
def uki(tmp_path: Path) -> Path:
    """An image of the real kernel, with an initramfs that need not start."""
    box = toolbox(lab=True)
    kernel = next(box.root.glob("boot/vmlinuz-*"))
    initrd = tmp_path / "initrd"
    initrd.write_bytes(seeds("cpio")[0])
    parts = UkiParts("amd64", kernel, initrd, "console=ttyS0 panic=-1", b"ID=x\n", "6.12")
    work = tmp_path / "work"
    work.mkdir()
    build_uki(parts, tmp_path / "host.efi", work, box)
    return tmp_path / "host.efi"


def boot_until(image: Path, *signs: str) -> tuple[str, str]:
    """Boot until the console shows these lines; returns the outcome's state and detail."""
    seen = tuple(Seen(LineSource.CONSOLE, re.compile(sign)) for sign in signs)
    request = BootRequest(
        image=image,
        probes=(BootProbe("console", seen, 170, "the firmware did otherwise"),),
        network=Network.USER,
        timeout=180,
        certificate=KEYS / "signing.pem",
    )
    (outcome,) = boot_image(request, toolbox(lab=True), SilentProgress()).outcomes
    return str(outcome.state), outcome.detail


@pytest.mark.boot
def test_what_the_trusted_key_signed_starts_locked_down(uki: Path, tmp_path: Path) -> None:
    sign_uki(uki, OURS, tmp_path, toolbox(lab=True))
    state, detail = boot_until(
        uki, "UEFI Secure Boot is enabled", "locked down from EFI Secure Boot"
    )
    assert state == "passed", detail


@pytest.mark.boot
@pytest.mark.parametrize("how", sampled_params(["unsigned", "tampered", "signed by another key"]))
def test_all_else_is_refused_by_the_firmware(uki: Path, tmp_path: Path, how: str) -> None:
    if how != "unsigned":
        sign_uki(
            uki, OTHER if how == "signed by another key" else OURS, tmp_path, toolbox(lab=True)
        )
    if how == "tampered":
        data = bytearray(uki.read_bytes())
        at = data.index(b"console=ttyS0")
        data[at : at + 13] = b"console=ttyS1"
        uki.write_bytes(data)
    state, detail = boot_until(uki, "(?i)access denied|security violation")
    assert state == "passed", detail


def test_a_key_that_is_none_is_an_error_that_names_it(uki: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.key"
    bad.write_text("no key")
    before = uki.read_bytes()
    with pytest.raises(ToolError, match="sbsign failed"):
        sign_uki(uki, SigningSettings(str(bad), OURS.certificate), tmp_path, toolbox(lab=True))
    assert uki.read_bytes() == before


def test_a_signature_changes_nothing_but_the_signature(uki: Path, tmp_path: Path) -> None:
    shutil.copyfile(uki, tmp_path / "unsigned")
    sign_uki(uki, OURS, tmp_path, toolbox(lab=True))
    signed, unsigned = uki.read_bytes(), (tmp_path / "unsigned").read_bytes()
    assert 0 < len(signed) - len(unsigned) < 4096
    differing = sum(a != b for a, b in zip(signed, unsigned, strict=False))
    assert differing <= 12  # the checksum, and where the signature lies


def test_a_certificate_is_enrolled_behind_what_is_there() -> None:
    template = toolbox(lab=True).find_path(RootPath("/usr/share/OVMF/OVMF_VARS_4M.fd")).read_bytes()
    text = (KEYS / "signing.pem").read_text()
    result = enrol_keys(template, text, "signing.pem")
    assert len(result) == len(template)
    assert "SecureBootEnable".encode("utf-16-le") in result
    with pytest.raises(UsageError, match="not a PEM certificate"):
        enrol_keys(template, "nothing", "x.pem")
    with pytest.raises(UsageError, match="unrecognised variable store"):
        enrol_keys(bytes(1000), text, "x.pem")


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SigningSettings:
    """Our key in a software token, which SoftHSM keeps in a directory."""
    box = toolbox(lab=True)
    (tmp_path / "tokens").mkdir()
    settings = f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\n"
    (tmp_path / "softhsm2.conf").write_text(settings)
    (tmp_path / "pin").write_text("4711")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    module = next(box.root.glob("usr/lib/*/softhsm/libsofthsm2.so"))
    common: list[str | Path] = ["--module", module, "--pin", "4711"]
    env = {"SOFTHSM2_CONF": str(tmp_path / "softhsm2.conf")}
    for argv in (
        ["--init-token", "--free", "--label", "release", "--so-pin", "4711"],
        ["--import", OURS.key, "--token", "release", "--label", "signing", "--id", "01"],
    ):
        box.run("softhsm2-util", [*common, *argv], purpose="filling a token", env=env)
    uri = f"pkcs11:token=release;object=signing?pin-source=file:{tmp_path}/pin"
    return SigningSettings(uri, OURS.certificate, str(module))


def test_a_key_in_a_token_signs_as_the_same_key_in_a_file(
    uki: Path, token: SigningSettings, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.efi"
    shutil.copyfile(uki, plain)
    sign_uki(plain, OURS, tmp_path, toolbox(lab=True))
    sign_uki(uki, token, tmp_path, toolbox(lab=True))
    first, second = uki.read_bytes(), plain.read_bytes()
    assert len(first) == len(second)
    differing = sum(a != b for a, b in zip(first[:-4096], second[:-4096], strict=True))
    assert differing <= 4  # the checksum, over a signature with its time
    box = toolbox(lab=True)
    for image in (uki, plain):
        argv: list[str | Path] = ["--cert", OURS.certificate, image]
        assert b"verification OK" in box.run("sbverify", argv, purpose="verifying")
    with pytest.raises(ToolError):
        box.run("sbverify", ["--cert", OTHER.certificate, uki], purpose="verifying")


@pytest.mark.parametrize("part", ["object=signing", "file:"])
def test_a_token_that_does_not_give_the_key_leaves_the_image(
    uki: Path, token: SigningSettings, tmp_path: Path, part: str
) -> None:
    before = uki.read_bytes()
    wrong = SigningSettings(token.key.replace(part, f"{part}x"), token.certificate, token.module)
    with pytest.raises(ToolError, match="sbsign failed"):
        sign_uki(uki, wrong, tmp_path, toolbox(lab=True))
    assert uki.read_bytes() == before
