from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysequoia import Cert, SignatureMode, Tsk, sign

from minbuild.archive.openpgp import KEYS, read_unverified, verify_cleartext
from minbuild.errors import ArchiveError

KEY = Tsk.generate("Test <test@example.org>")
CONTENT = b"Suite: trixie\n- dashes -\n-----BEGIN of nothing\nSHA256:\n"
SIGNED = sign(KEY.signer(), CONTENT, mode=SignatureMode.CLEAR)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("key") / "key.asc"
    place.write_text(str(KEY.extract_certificate()))
    return str(place)


def test_the_content_is_what_was_signed(certificate: str) -> None:
    assert verify_cleartext(SIGNED, where="x", signed_by=certificate).rstrip() == CONTENT.rstrip()


def test_the_text_without_verification_is_the_same(certificate: str) -> None:
    content = verify_cleartext(SIGNED, where="x", signed_by=certificate)
    assert read_unverified(SIGNED).rstrip() == content.rstrip()
    assert read_unverified(CONTENT) == CONTENT


@given(st.data())
def test_damaged_text_is_refused_or_verifies_to_the_same(
    certificate: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(SIGNED) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = SIGNED[:at] + bytes([SIGNED[at] ^ 1 << bit]) + SIGNED[at + 1 :]
    for text in (damaged, SIGNED[:at]):
        try:
            found = verify_cleartext(text, where="x", signed_by=certificate)
        except ArchiveError:
            continue
        assert found.split() == CONTENT.split()


def test_every_shipped_key_stands_in_the_table_of_its_readme() -> None:
    table = (KEYS / "README.md").read_text().replace(" ", "")
    files = sorted(KEYS.glob("*.asc"))
    assert len(files) == 6
    for file in files:
        (found,) = Cert.split_bytes(Path(file).read_bytes())
        assert f"|{file.name}|{found.fingerprint.upper()}|" in table
        assert b"PRIVATE KEY" not in file.read_bytes()
