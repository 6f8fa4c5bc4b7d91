"""The one door to OpenPGP: is this InRelease signed by a key that we trust? and signatures of ours."""

import functools
from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import ArchiveError

KEYS = Path(__file__).resolve().parent / "keys"
"""Debian's archive keys, as certificates."""

_ARMOUR = b"-----BEGIN PGP SIGNED MESSAGE-----"


def verified(signed: bytes, *, where: str, signed_by: str = "") -> bytes:
    """Return the content that a trusted key signed: exactly the bytes that were verified.

    `where` names the suite and its address. `signed_by` is a certificate file; "" for Debian's.
    Source: RFC 9580, section 7 (cleartext signature framework).

    Raises: ArchiveError when there is no signature, or none by a trusted key.
    """
    import pysequoia

    if not signed.lstrip().startswith(_ARMOUR):
        raise ArchiveError(
            "the InRelease file carries no signature",
            where=where,
            fix="check that this is a Debian archive and not a login page; "
            "for an archive of your own that is not signed, say `trusted: true` below `archive:`",
        )
    certificates = _certificates(signed_by)
    issuers: list[str] = []

    def trusted(keys: Sequence[str]) -> list[object]:
        issuers.extend(keys)
        return list(certificates)

    try:
        content: bytes | None = pysequoia.verify(signed, trusted).bytes
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise _refused(reason, issuers, where, signed_by) from error
    if content is None:
        raise _refused("no content came out of the verification", issuers, where, signed_by)
    return content


def cleartext(signed: bytes) -> bytes:
    """Return what an InRelease file says, signed or not, without any verification."""
    if not signed.lstrip().startswith(_ARMOUR):
        return signed
    body = signed.partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]
    return body.replace(b"\n- ", b"\n")


def signature(data: bytes, key: Path) -> bytes:
    """A detached signature of `data`, in armour, by the private key in a file.

    Raises: ArchiveError when the file holds no private key that can be used without a password.
    """
    import pysequoia

    try:
        secret = pysequoia.Tsk.from_file(str(key))
        made: bytes = pysequoia.sign(secret.signer(), data, mode=pysequoia.SignatureMode.DETACHED)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ArchiveError(
            f"the private key cannot be used: {reason}",
            where=str(key),
            fix="name a file with one OpenPGP private key that has no password",
        ) from error
    return made


@functools.cache
def _certificates(signed_by: str) -> tuple[object, ...]:
    import pysequoia

    files = [Path(signed_by)] if signed_by else sorted(KEYS.glob("*.asc"))
    found: list[object] = []
    for file in files:
        try:
            found += pysequoia.Cert.split_bytes(file.read_bytes())
        except (OSError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ArchiveError(
                f"the certificate file cannot be read: {reason}",
                where=str(file),
                fix="name a file with OpenPGP certificates in `signed-by:`",
            ) from error
    if not found:
        raise ArchiveError(
            "the certificate file holds no certificate",
            where=signed_by or str(KEYS),
            fix="name a file with OpenPGP certificates in `signed-by:`",
        )
    return tuple(found)


def _refused(reason: str, issuers: Sequence[str], where: str, signed_by: str) -> ArchiveError:
    keys = ", ".join(issuer.upper() for issuer in issuers) or "no key that is named"
    trusted = signed_by or "Debian's archive keys"
    return ArchiveError(
        f"the signature cannot be trusted: {reason} (signed by {keys}; trusted are {trusted})",
        where=where,
        fix="use another mirror; for an archive of your own, name its certificate: "
        "`signed-by: FILE` below `archive:`",
    )
