"""Segments of an initramfs in the shared store: packed once by one machine, and taken by the others."""

from collections.abc import Mapping

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.progress import Progress

MAX_GROWTH = 1 << 20
"""Bytes by which a compressor makes a segment larger, at most."""


def fetch_segments(sizes: Mapping[str, int], store: Store, progress: Progress) -> None:
    """Take segments that the store lacks; `sizes`: key → bytes before they are compressed."""
    limits = {
        key: size + MAX_GROWTH
        for key, size in sizes.items()
        if store.get(RecordKind.SEGMENT, key) is None
    }
    if store.remote is not None and limits:
        progress.step(f"asking {store.remote.url} for {len(limits)} segments")
        store.remote.fetch_made(store, RecordKind.SEGMENT, limits, progress.note)


def share_segments(digests: Mapping[str, str], store: Store, progress: Progress) -> None:
    """Give segments to the other machines, those that they lack; `digests`: key → SHA-256."""
    if store.remote is not None and digests:
        store.remote.share_made(store, RecordKind.SEGMENT, digests, progress.note)
