"""Keys and signatures as OpenBSD's signify writes and reads them."""

import base64
import stat
from pathlib import Path

import pytest

from minbuild.distribution.signify import (
    BadSignature,
    UnknownSigner,
    generate_keys,
    read_public_key,
    read_secret_key,
    sign_message,
    verify_message,
)
from minbuild.errors import MinbuildError, UsageError
from tests.support.registry import run_client

MESSAGE = b"minbuild-recipe 1\nname rack\n"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    generate_keys(tmp_path / "a.pub", tmp_path / "a.sec")
    generate_keys(tmp_path / "b.pub", tmp_path / "b.sec")
    return tmp_path


def test_what_is_signed_is_accepted_by_any_of_the_keys(keys: Path) -> None:
    first, second = (read_public_key(keys / name) for name in ("a.pub", "b.pub"))
    signature = sign_message(MESSAGE, read_secret_key(keys / "b.sec"))
    assert verify_message(MESSAGE, signature, (first, second), "x") == second


def test_another_message_is_not_what_was_signed(keys: Path) -> None:
    signature = sign_message(MESSAGE, read_secret_key(keys / "a.sec"))
    with pytest.raises(BadSignature, match="not what key"):
        verify_message(MESSAGE + b"\n", signature, (read_public_key(keys / "a.pub"),), "x")


def test_a_key_that_is_not_believed_is_named(keys: Path) -> None:
    signature = sign_message(MESSAGE, read_secret_key(keys / "b.sec"))
    with pytest.raises(UnknownSigner, match=read_public_key(keys / "b.pub").number.hex()):
        verify_message(MESSAGE, signature, (read_public_key(keys / "a.pub"),), "x")


def test_another_key_with_the_number_of_a_believed_one_is_refused(keys: Path) -> None:
    forged = base64.b64decode(
        sign_message(MESSAGE, read_secret_key(keys / "b.sec")).splitlines()[1]
    )
    believed = read_public_key(keys / "a.pub")
    renamed = forged[:2] + believed.number + forged[10:]
    text = b"untrusted comment: x\n" + base64.b64encode(renamed) + b"\n"
    with pytest.raises(BadSignature):
        verify_message(MESSAGE, text, (believed,), "x")


def test_every_changed_bit_of_a_signature_is_refused(keys: Path) -> None:
    believed = (read_public_key(keys / "a.pub"),)
    signature = sign_message(MESSAGE, read_secret_key(keys / "a.sec"))
    start = signature.index(b"\n") + 1
    for at in range(start, len(signature)):
        for bit in range(8):
            changed = bytearray(signature)
            changed[at] ^= 1 << bit
            with pytest.raises(MinbuildError):
                verify_message(MESSAGE, bytes(changed), believed, "x")


@pytest.mark.parametrize("text", [b"", b"\n", b"untrusted comment: x\n", b"\xff" * 100,
                                  b"untrusted comment: x\nRWQ=\n", b"x\n" + b"A" * 152 + b"\n"])  # fmt: skip
def test_what_is_no_signature_is_refused(keys: Path, text: bytes) -> None:
    with pytest.raises(BadSignature, match="damaged"):
        verify_message(MESSAGE, text, (read_public_key(keys / "a.pub"),), "x")


def test_a_secret_key_is_read_by_its_user_alone_and_never_replaced(keys: Path) -> None:
    assert stat.S_IMODE((keys / "a.sec").stat().st_mode) == 0o600
    before = (keys / "a.sec").read_bytes()
    with pytest.raises(UsageError, match="File exists"):
        generate_keys(keys / "new.pub", keys / "a.sec")
    assert (keys / "a.sec").read_bytes() == before


def test_a_public_key_is_no_secret_key(keys: Path) -> None:
    with pytest.raises(UsageError, match="no key of signify"):
        read_secret_key(keys / "a.pub")
    with pytest.raises(UsageError, match="No such file"):
        read_public_key(keys / "absent.pub")


@pytest.mark.oracle
@pytest.mark.mirror
def test_signify_accepts_our_signatures_and_we_accept_its_own(keys: Path) -> None:
    message = keys / "recipe"
    message.write_bytes(MESSAGE)
    (keys / "ours.sig").write_bytes(sign_message(MESSAGE, read_secret_key(keys / "a.sec")))
    words = ("-V", "-p", keys / "a.pub", "-x", keys / "ours.sig", "-m", message)
    assert "Verified" in run_client("signify-openbsd", *words, home=keys).stdout
    run_client("signify-openbsd", "-G", "-n", "-p", keys / "s.pub", "-s", keys / "s.sec", home=keys)
    words = ("-S", "-s", keys / "s.sec", "-x", keys / "theirs.sig", "-m", message)
    run_client("signify-openbsd", *words, home=keys)
    believed = read_public_key(keys / "s.pub")
    assert verify_message(MESSAGE, (keys / "theirs.sig").read_bytes(), (believed,), "x") == believed
    assert (
        sign_message(MESSAGE, read_secret_key(keys / "s.sec")).splitlines()[1]
        == ((keys / "theirs.sig").read_bytes().splitlines()[1])
    )
    message.write_bytes(MESSAGE + b" ")
    words = ("-V", "-p", keys / "a.pub", "-x", keys / "ours.sig", "-m", message)
    assert run_client("signify-openbsd", *words, home=keys, check=False).returncode != 0
