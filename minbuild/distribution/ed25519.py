"""Ed25519 by the library `cryptography`, which only the extra minbuild[sign] brings.

Source: RFC 8032.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def make_signature(seed: bytes, message: bytes) -> bytes:
    """The signature of a message, 64 bytes, by the private key of 32."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature is that of a message by a key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def generate_key_pair() -> tuple[bytes, bytes]:
    """A new private key and its public key."""
    private = Ed25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()
