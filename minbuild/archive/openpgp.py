"""The one door to OpenPGP: is this InRelease signed by a key that we trust? and signatures of ours."""

import datetime as dt
import functools
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pysequoia
from pysequoia import Cert
from pysequoia.packet import PacketPile, SignatureType

from minbuild.errors import ArchiveError

KEYS = Path(__file__).resolve().parent / "keys"
"""Debian's archive keys, as certificates."""

_ARMOUR = b"-----BEGIN PGP SIGNED MESSAGE-----"


def verify_cleartext(
    signed: bytes, *, where: str, signed_by: str = "", now: int | None = None
) -> bytes:
    """Return the content that a trusted key signed: exactly the bytes that were verified.

    `where` names the suite and its address. `signed_by` is a certificate file; "" for Debian's.
    A key that has expired counts no more, whatever date its signature bears: who finds an old key
    can write any date. `now` is seconds UTC; None for this machine's clock.
    Source: RFC 9580, section 7 (cleartext signature framework); apt's gpgv method (EXPKEYSIG).

    Raises: ArchiveError when there is no signature, or none by a trusted key.
    """
    if not signed.lstrip().startswith(_ARMOUR):
        raise ArchiveError(
            "the InRelease file carries no signature",
            where=where,
            fix="check that this is a Debian archive and not a login page; "
            "for an archive of your own that is not signed, say `trusted: true` below `archive:`",
        )
    certificates = _load_certificates(signed_by)
    issuers: list[str] = []

    def collect_certificates(keys: Sequence[str]) -> list[object]:
        issuers.extend(keys)
        return list(certificates)

    try:
        result = pysequoia.verify(signed, collect_certificates)
        content: bytes | None = result.bytes
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise _refusal_error(reason, issuers, where, signed_by) from error
    if content is None:
        raise _refusal_error("no content came out of the verification", issuers, where, signed_by)
    expirations = _read_expirations(signed_by)
    keys = [(str(one.certificate), str(one.signing_key)) for one in result.valid_sigs]
    expiry_times = [
        min(expirations[main], expirations.get(key, expirations[main]))
        for main, key in keys
        if main in expirations
    ]
    moment = time.time() if now is None else now
    if not any(end > moment for end in expiry_times):
        day = (
            time.strftime("%Y-%m-%d", time.gmtime(max(expiry_times)))
            if expiry_times
            else "no known day"
        )
        raise _refusal_error(f"the key expired on {day}", issuers, where, signed_by)
    return content


def verify_detached(data: bytes, signature: bytes, key: Path, *, now: int | None = None) -> str:
    """The fingerprint of the key in a certificate file that made a detached signature of `data`.

    Raises: ArchiveError when none did, or when it has expired.
    """
    certificates = list(_load_certificates(str(key)))
    try:
        parsed = pysequoia.Sig.from_bytes(signature)
        result = pysequoia.verify(data, lambda _: certificates, signature=parsed)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise _untrusted_error(f"no key in {key} made it: {reason}") from error
    expirations = _read_expirations(str(key))
    moment = time.time() if now is None else now
    for valid in result.valid_sigs:
        main, subkey = str(valid.certificate), str(valid.signing_key)
        if (
            main in expirations
            and min(expirations[main], expirations.get(subkey, expirations[main])) > moment
        ):
            return main.upper()
    raise _untrusted_error(f"the key in {key} has expired")


def _untrusted_error(reason: str) -> ArchiveError:
    return ArchiveError(
        f"the signature cannot be trusted: {reason}",
        fix="ask whoever made the build for its certificate, by a way that you trust",
    )


def hash_trusted_keys(signed_by: str) -> str:
    """Which keys are trusted, as a digest of their files: "" stands for Debian's.

    Raises: ArchiveError when the file cannot be read.
    """
    digest = hashlib.sha256()
    for file in _list_key_files(signed_by):
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise ArchiveError(
                f"the certificate file cannot be read: {error.strerror}",
                where=str(file),
                fix="name a file with OpenPGP certificates in `signed-by:`",
            ) from error
    return digest.hexdigest()


def _list_key_files(signed_by: str) -> list[Path]:
    return [Path(signed_by)] if signed_by else sorted(KEYS.glob("*.asc"))


def read_unverified(signed: bytes) -> bytes:
    """Return what an InRelease file says, signed or not, without any verification."""
    if not signed.lstrip().startswith(_ARMOUR):
        return signed
    body = signed.partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]
    return body.replace(b"\n- ", b"\n")


def sign_detached(data: bytes, key: Path) -> bytes:
    """A detached signature of `data`, in armour, by the private key in a file.

    Raises: ArchiveError when the file holds no private key that can be used without a password.
    """
    try:
        secret = pysequoia.Tsk.from_file(str(key))
        signed: bytes = pysequoia.sign(secret.signer(), data, mode=pysequoia.SignatureMode.DETACHED)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ArchiveError(
            f"the private key cannot be used: {reason}",
            where=str(key),
            fix="name a file with one OpenPGP private key that has no password",
        ) from error
    return signed


@functools.cache
def _load_certificates(signed_by: str) -> tuple[Cert, ...]:
    certificates: list[Cert] = []
    for file in _list_key_files(signed_by):
        try:
            certificates += pysequoia.Cert.split_bytes(file.read_bytes())
        except (OSError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ArchiveError(
                f"the certificate file cannot be read: {reason}",
                where=str(file),
                fix="name a file with OpenPGP certificates in `signed-by:`",
            ) from error
    if not certificates:
        raise ArchiveError(
            "the certificate file holds no certificate",
            where=signed_by or str(KEYS),
            fix="name a file with OpenPGP certificates in `signed-by:`",
        )
    return tuple(certificates)


@functools.cache
def _read_expirations(signed_by: str) -> Mapping[str, float]:
    """When each key and subkey ends: fingerprint → seconds UTC, infinity for never."""
    expirations: dict[str, float] = {}
    for certificate in _load_certificates(signed_by):
        main = certificate.fingerprint
        expirations[main] = _as_timestamp(certificate.expiration)
        key, created, newest = main, None, None
        for packet in PacketPile.from_bytes(bytes(certificate)):
            if packet.fingerprint and packet.key_created:
                key, created, newest = packet.fingerprint, packet.key_created, None
            elif packet.signature_type == SignatureType.SubkeyBinding and created is not None:
                signed = packet.signature_created or created
                if newest is None or signed >= newest:  # the newest binding is the one that holds
                    newest, span = signed, packet.key_validity_period
                    expirations[key] = _as_timestamp(created + span if span else None)
    return expirations


def _as_timestamp(end: dt.datetime | None) -> float:
    return float("inf") if end is None else end.timestamp()


def _refusal_error(reason: str, issuers: Sequence[str], where: str, signed_by: str) -> ArchiveError:
    keys = ", ".join(issuer.upper() for issuer in issuers) or "no key that is named"
    trusted = signed_by or "Debian's archive keys"
    return ArchiveError(
        f"the signature cannot be trusted: {reason} (signed by {keys}; trusted are {trusted})",
        where=where,
        fix="use another mirror; for an archive of your own, name its certificate: "
        "`signed-by: FILE` below `archive:`",
    )
