"""Which locks this user's builds have used: no other chooses tools by lying beside an image."""

import hashlib
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.types import Lock
from minbuild.errors import MinbuildError
from minbuild.store import Store

KIND = "lock-used/1"
"""SHA-256 of a lock's text → nothing: a build of this user's used it."""
MOST = 16 << 20
"""Bytes of a lock that is looked at."""


def note(text: bytes, store: Store) -> None:
    """Remember a lock that a build uses."""
    store.put(KIND, {hashlib.sha256(text).hexdigest(): b""})


def own_lock(path: Path, store: Store) -> Lock | None:
    """The lock in a file, if a build of this user's used it; None for any other, and for none."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST)
    except OSError:
        return None
    if store.get(KIND, hashlib.sha256(text).hexdigest()) is None:
        return None
    try:
        return lockfile.parse(text.decode("utf-8", "replace"), path)
    except MinbuildError:
        return None
