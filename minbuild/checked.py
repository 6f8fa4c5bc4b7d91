"""What was found sound in this run, by this process or by one that was forked with it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap

PLACES = 1024
"""What forked processes can tell each other: a later digest takes the place of an earlier one."""
SIZE = 32
"""Bytes of a SHA-256."""


class Checked:
    """Digests of contents that need no second look; safe to use from several threads."""

    def __init__(self) -> None:
        """Know none."""
        self._own: set[str] = set()
        self._told: mmap.mmap | None = None

    def share(self) -> None:
        """Let processes that are forked from now on know what each of them finds."""
        import mmap

        if self._told is None:
            self._told = mmap.mmap(-1, PLACES * SIZE)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._own or (
            self._told is not None and self._told[_place(sha256)] == bytes.fromhex(sha256)
        )

    def add(self, sha256: str) -> None:
        """Count these bytes as sound.

        Two processes may write in one place at once: what then stands there is no one's digest.
        """
        self._own.add(sha256)
        if self._told is not None:
            self._told[_place(sha256)] = bytes.fromhex(sha256)

    def discard(self, sha256: str) -> None:
        """Have these bytes looked at again, here and by those who have not used them yet."""
        self._own.discard(sha256)
        if self._told is not None and sha256 in self:
            self._told[_place(sha256)] = bytes(SIZE)


def _place(sha256: str) -> slice:
    start = int(sha256[:8], 16) % PLACES * SIZE
    return slice(start, start + SIZE)
