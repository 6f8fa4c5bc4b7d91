"""OpenPGP: verification of InRelease files, and detached signatures; the only door to pysequoia."""

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
    """Return the content that a trusted key signed: exactly the verified bytes.

    `where` is the suite and its address. `signed_by` is a certificate file; "" for Debian's. An
    expired key is not trusted, whatever the date of the signature: the finder of an old key can
    forge that. `now` is seconds UTC; None for the clock of this machine.
    Source: RFC 9580, section 7 (cleartext signature framework); apt's gpgv method (EXPKEYSIG).

    Raises: ArchiveError without a signature by a trusted key.
    """
    if not signed.lstrip().startswith(_ARMOUR):
        raise ArchiveError(
            "the InRelease file has no signature",
            where=where,
            fix="check that this is a Debian archive and not a login page; "
            "for an unsigned archive of your own, set `trusted: true` below `archive:`",
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
        raise _refusal_error("the verification returned no content", issuers, where, signed_by)
    keys = [(str(valid.certificate), str(valid.signing_key)) for valid in result.valid_sigs]
    if day := _find_expiry_day(keys, signed_by, time.time() if now is None else now):
        raise _refusal_error(f"the key expired on {day}", issuers, where, signed_by)
    return content


def _find_expiry_day(keys: Sequence[tuple[str, str]], signed_by: str, now: float) -> str:
    """The day on which the last of these keys expired; "" if one has not."""
    expiry_times = _list_expiry_times(keys, signed_by)
    if any(end > now for end in expiry_times):
        return ""
    if not expiry_times:
        return "no known day"
    return time.strftime("%Y-%m-%d", time.gmtime(max(expiry_times)))


def _list_expiry_times(keys: Sequence[tuple[str, str]], signed_by: str) -> list[float]:
    """When each signing key, or its certificate, expires: `keys` are certificate and key."""
    expirations = _read_expirations(signed_by)
    return [
        min(expirations[main], expirations.get(key, expirations[main]))
        for main, key in keys
        if main in expirations
    ]


def verify_detached(data: bytes, signature: bytes, key: Path, *, now: int | None = None) -> str:
    """Verify a detached signature of `data` by a certificate file; return the key's fingerprint.

    Raises: ArchiveError if no key matches, or it has expired.
    """
    certificates = list(_load_certificates(str(key)))
    try:
        parsed = pysequoia.Sig.from_bytes(signature)
        result = pysequoia.verify(data, lambda _: certificates, signature=parsed)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise _trust_error(f"not made by a key in {key}: {reason}") from error
    expirations = _read_expirations(str(key))
    moment = time.time() if now is None else now
    for valid in result.valid_sigs:
        main, subkey = str(valid.certificate), str(valid.signing_key)
        if (
            main in expirations
            and min(expirations[main], expirations.get(subkey, expirations[main])) > moment
        ):
            return main.upper()
    raise _trust_error(f"the key in {key} has expired")


def _trust_error(reason: str) -> ArchiveError:
    return ArchiveError(
        f"the signature cannot be trusted: {reason}",
        fix="get the certificate of the builder over a channel that you trust",
    )


def hash_trusted_keys(signed_by: str) -> str:
    """Return a digest of the trusted certificate files; "" is Debian's.

    Raises: ArchiveError if a file is not readable.
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
    """Return the content of an InRelease file, signed or not, without verification."""
    if not signed.lstrip().startswith(_ARMOUR):
        return signed
    body = signed.partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]
    return body.replace(b"\n- ", b"\n")


def sign_detached(data: bytes, key: Path) -> bytes:
    """Sign `data` with the private key in a file; return the armoured detached signature.

    Raises: ArchiveError if the file has no private key without a password.
    """
    try:
        secret = pysequoia.Tsk.from_file(str(key))
        signed: bytes = pysequoia.sign(secret.signer(), data, mode=pysequoia.SignatureMode.DETACHED)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ArchiveError(
            f"cannot use the private key: {reason}",
            where=str(key),
            fix="name a file with one OpenPGP private key without a password",
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
            "the certificate file is empty",
            where=signed_by or str(KEYS),
            fix="name a file with OpenPGP certificates in `signed-by:`",
        )
    return tuple(certificates)


@functools.cache
def _read_expirations(signed_by: str) -> Mapping[str, float]:
    """Return the expiry of each key and subkey: fingerprint → seconds UTC, infinity for never."""
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
                if newest is None or signed >= newest:  # the newest binding counts
                    newest, span = signed, packet.key_validity_period
                    expirations[key] = _as_timestamp(created + span if span else None)
    return expirations


def _as_timestamp(end: dt.datetime | None) -> float:
    return float("inf") if end is None else end.timestamp()


def _refusal_error(reason: str, issuers: Sequence[str], where: str, signed_by: str) -> ArchiveError:
    keys = ", ".join(issuer.upper() for issuer in issuers) or "an unnamed key"
    trusted = signed_by or "Debian's archive keys"
    return ArchiveError(
        f"the signature cannot be trusted: {reason} (signed by {keys}; trusted: {trusted})",
        where=where,
        fix="use another mirror; for an archive of your own, name its certificate: "
        "`signed-by: FILE` below `archive:`",
    )


def list_expirations(signed_by: str) -> tuple[float, ...]:
    """Return when each trusted certificate expires: seconds UTC, infinity for never; "" is Debian's.

    Raises: ArchiveError if a file is not readable.
    """
    return tuple(
        _as_timestamp(certificate.expiration) for certificate in _load_certificates(signed_by)
    )
