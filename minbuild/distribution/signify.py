"""Ed25519 signatures in the files of OpenBSD's signify, which checks them, too.

Source: signify(1); OpenBSD, usr.bin/signify/signify.c (struct pubkey, enckey, sig); RFC 8032.
"""

import base64
import binascii
import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.errors import ArchiveError, ToolError, UsageError
from minbuild.file_io import read_regular_file
from minbuild.lazy_import import import_lazily

if TYPE_CHECKING:
    from minbuild.distribution import ed25519
else:  # of the optional extra minbuild[sign]: an ImportError is raised where it is used
    (ed25519,) = import_lazily("minbuild.distribution", "ed25519")

COMMENT = "untrusted comment: "
MAX_FILE_SIZE = 4096
"""Bytes of the largest key or signature."""
MAX_COMMENT = 1024
_ALGORITHM, _KDF = b"Ed", b"BK"
_PUBLIC, _SECRET, _SIGNATURE = "<2s8s32s", "<2s2s4s16s8s8s64s", "<2s8s64s"
INSTALL_HINT = "install the extra: pip install 'minbuild[sign]'"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whose signatures are believed."""

    number: bytes
    """Eight random bytes by which signatures name their key."""
    raw: bytes
    where: str


@dataclass(frozen=True, slots=True)
class SecretKey:
    """What signs."""

    number: bytes
    seed: bytes
    where: str


class BadSignature(ArchiveError):
    """A signature of a believed key that is not one of these bytes: they were changed."""


class UnknownSigner(ArchiveError):
    """No signature is of a key that is believed."""


def read_public_key(path: Path) -> PublicKey:
    """Read a key as `signify -G` writes it. Raises: UsageError."""
    algorithm, number, raw = struct.unpack(_PUBLIC, _read_file(path, struct.calcsize(_PUBLIC)))
    if algorithm != _ALGORITHM:
        raise _make_key_error("it is not of Ed25519", str(path))
    return PublicKey(number, raw, str(path))


def read_secret_key(path: Path) -> SecretKey:
    """Read a key that has no password. Raises: UsageError."""
    fields = struct.unpack(_SECRET, _read_file(path, struct.calcsize(_SECRET)))
    algorithm, kdf, rounds, _, checksum, number, secret = fields
    if (algorithm, kdf) != (_ALGORITHM, _KDF):
        raise _make_key_error("it is not of Ed25519", str(path))
    if rounds != bytes(4):
        raise UsageError(
            "the key has a password, which is not asked for here", where=str(path),
            fix="make one for this without a password, in a place that only its user reads: "
            "signify -G -n -p KEY.pub -s KEY.sec",
        )  # fmt: skip
    if hashlib.sha512(secret).digest()[:8] != checksum:
        raise _make_key_error("its checksum is not that of its bytes", str(path))
    return SecretKey(number, secret[:32], str(path))


def sign_message(message: bytes, key: SecretKey) -> bytes:
    """A signature file over a message. Raises: ToolError without the extra minbuild[sign]."""
    try:
        signature = ed25519.make_signature(key.seed, message)
    except ImportError as error:
        raise _explain_missing_library() from error
    packed = struct.pack(_SIGNATURE, _ALGORITHM, key.number, signature)
    return _render(f"signature of key {format_key_number(key.number)}", packed)


def verify_message(
    message: bytes, signature: bytes, keys: tuple[PublicKey, ...], where: str
) -> PublicKey:
    """Accept a message signed by one of the keys; returns that key.

    Raises: UnknownSigner, BadSignature; ToolError without the extra minbuild[sign].
    """
    try:
        raw = _decode(signature.decode("ascii"), struct.calcsize(_SIGNATURE))
    except ValueError as error:
        raise _make_bad_signature("the signature is damaged", where) from error
    algorithm, number, signed = struct.unpack(_SIGNATURE, raw)
    key = next((one for one in keys if one.number == number), None)
    if key is None or algorithm != _ALGORITHM:
        believed = ", ".join(format_key_number(one.number) for one in keys)
        raise UnknownSigner(
            f"the host is signed by key {format_key_number(number)}; believed are {believed}", where=where,
            fix="get the publisher's new key by another way than the registry, and name it: --key FILE",
        )  # fmt: skip
    try:
        is_signed = ed25519.is_signed(key.raw, message, signed)
    except ImportError as error:
        raise _explain_missing_library() from error
    if not is_signed:
        raise _make_bad_signature(
            f"the recipe is not what key {format_key_number(number)} signed", where
        )
    return key


def sign_raw(message: bytes, key: SecretKey) -> bytes:
    """A bare signature, 64 bytes. Raises: ToolError without the extra minbuild[sign]."""
    try:
        return ed25519.make_signature(key.seed, message)
    except ImportError as error:
        raise _explain_missing_library() from error


def verify_raw(message: bytes, signature: bytes, key: PublicKey) -> bool:
    """Tell whether a bare signature is a key's. Raises: ToolError without the extra minbuild[sign]."""
    try:
        return ed25519.is_signed(key.raw, message, signature)
    except ImportError as error:
        raise _explain_missing_library() from error


def generate_keys(public: Path, secret: Path) -> None:
    """Write a new pair of keys without a password. Raises: UsageError when one is there; ToolError."""
    try:
        seed, raw = ed25519.generate_key_pair()
    except ImportError as error:
        raise _explain_missing_library() from error
    number, salt, whole = os.urandom(8), os.urandom(16), seed + raw
    checksum = hashlib.sha512(whole).digest()[:8]
    packed = struct.pack(_SECRET, _ALGORITHM, _KDF, bytes(4), salt, checksum, number, whole)
    name = format_key_number(number)
    _write_new(secret, _render(f"minbuild secret key {name}", packed), 0o600)
    packed = struct.pack(_PUBLIC, _ALGORITHM, number, raw)
    _write_new(public, _render(f"minbuild public key {name}", packed), 0o644)


def format_key_number(number: bytes) -> str:
    """A key's number for people, as signify's own messages lack it."""
    return number.hex()


def _render(comment: str, raw: bytes) -> bytes:
    return f"{COMMENT}{comment}\n{base64.b64encode(raw).decode()}\n".encode()


def _read_file(path: Path, size: int) -> bytes:
    try:
        return _decode(read_regular_file(path, MAX_FILE_SIZE).decode("ascii"), size)
    except OSError as error:
        raise _make_key_error(error.strerror or str(error), str(path)) from error
    except ValueError as error:
        raise _make_key_error("it is no key of signify", str(path)) from error


def _decode(text: str, size: int) -> bytes:
    """The bytes of a file: a comment, one line of base64. Raises: ValueError."""
    comment, _, rest = text.partition("\n")
    line, end, more = rest.partition("\n")
    if not comment.startswith(COMMENT) or len(comment) > MAX_COMMENT or not end or more:
        raise ValueError("no file of signify")
    try:
        raw = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    if len(raw) != size:
        raise ValueError("another kind of file")
    if base64.b64encode(raw).decode() != line:
        raise ValueError("base64 with bits that mean nothing")
    return raw


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise UsageError(
            f"cannot write the key: {error.strerror}", where=str(path), fix="name a new file"
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _make_key_error(problem: str, where: str) -> UsageError:
    return UsageError(
        f"the key cannot be used: {problem}", where=where,
        fix="name a file that signify -G -n or minbuild push --new-key has written",
    )  # fmt: skip


def _make_bad_signature(problem: str, where: str) -> BadSignature:
    return BadSignature(
        problem, where=where,
        fix="the registry or mirror gives what its publisher did not make: use another one",
    )  # fmt: skip


def _explain_missing_library() -> ToolError:
    return ToolError("cryptography is not installed", fix=INSTALL_HINT)
