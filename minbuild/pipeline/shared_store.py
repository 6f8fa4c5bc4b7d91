"""The shared store of a session: where it is, whether it is written, and whose records are believed."""

import os
from dataclasses import dataclass
from pathlib import Path

from minbuild.cache.remote import RemoteStore, open_objects
from minbuild.cache.remote_objects import RemoteFailed
from minbuild.distribution.signify import (
    PublicKey,
    SecretKey,
    read_public_key,
    read_secret_key,
    sign_raw,
    verify_raw,
)
from minbuild.errors import ToolError, UsageError

MODES = ("read-write", "read-only")


@dataclass(frozen=True, slots=True)
class KeySeal:
    """Seals records by a secret key, and believes those of public keys (Ed25519, signify's files)."""

    secret: SecretKey | None
    public: tuple[PublicKey, ...]

    @property
    def can_sign(self) -> bool:
        """Tell whether there is a secret key."""
        return self.secret is not None

    def sign(self, message: bytes) -> bytes:
        """64 bytes. Raises: ToolError without the extra minbuild[sign]."""
        assert self.secret is not None
        return sign_raw(message, self.secret)

    def is_valid(self, message: bytes, signature: bytes) -> bool:
        """Tell whether one of the public keys signed. Raises: ToolError as for `sign`."""
        return any(verify_raw(message, signature, key) for key in self.public)


def open_shared_store(url: str, *, offline: bool) -> RemoteStore | None:
    """The shared store at a URL, as the environment says it is used; None without one.

    Without the network only one in a directory.
    Raises: UsageError for a wrong mode or key; ToolError when the URL's library is not installed.
    """
    url = url or os.environ.get("MINBUILD_STORE_REMOTE", "")
    if not url:
        return None
    mode = os.environ.get("MINBUILD_STORE_REMOTE_MODE") or MODES[0]
    if mode not in MODES:
        raise UsageError(
            f"the shared store has no mode {mode}",
            where="MINBUILD_STORE_REMOTE_MODE",
            fix=f"set it to one of {', '.join(MODES)}",
        )
    try:
        objects = open_objects(url)
    except RemoteFailed as error:
        raise ToolError(
            f"the shared store cannot be opened: {error}",
            where=url,
            fix="install what it needs: pip install 'minbuild[fleet]', gcsfs for gs://, adlfs for az://",
        ) from error
    if offline and not objects.is_local:
        return None
    return RemoteStore(url, objects, writes=mode == MODES[0], seal=_make_seal())


def _make_seal() -> KeySeal | None:
    """What seals records; None when no key is named."""
    public = os.environ.get("MINBUILD_STORE_KEYS", "")
    secret = os.environ.get("MINBUILD_STORE_SIGN", "")
    if not public and not secret:
        return None
    if not public:
        raise UsageError(
            "a key that seals records is named, and none that is believed",
            where="MINBUILD_STORE_SIGN",
            fix="name its public key, too: store.keys in the config file, or MINBUILD_STORE_KEYS",
        )
    paths = [Path(text).expanduser() for text in public.split(os.pathsep) if text]
    keys = tuple(read_public_key(path) for path in paths)
    return KeySeal(read_secret_key(Path(secret).expanduser()) if secret else None, keys)
