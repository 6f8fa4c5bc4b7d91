"""Collection of garbage in a shared store: by age, but for what named locks list."""

import re
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.cache.remote import RemoteStore
from minbuild.cache.remote_objects import RemoteFailed, RemoteObject
from minbuild.errors import ToolError
from minbuild.pipeline.cache_maintenance import DAY, CacheUsage

PREFIXES = ("cas/", "records/")
_DIGEST = re.compile("[0-9a-f]{64}")


def collect_shared_garbage(
    remote: RemoteStore, *, days: int, locks: Sequence[Path]
) -> tuple[CacheUsage, ...]:
    """Remove what was written more than `days` ago and no lock lists; returns what went, by kind.

    Ages are by the remote's own clock. What a build needs again is written anew.
    Raises: ArchiveError for a lock that is none; ToolError when the remote fails.
    """
    kept = {digest for path in locks for digest in _list_digests(path)}
    try:
        limit = _read_remote_clock(remote) - days * DAY
        old = [
            row
            for prefix in PREFIXES
            for row in remote.objects.iter_objects(prefix)
            if row.modified <= limit and row.name.rpartition("/")[2] not in kept
        ]
        remote.objects.remove(row.name for row in old)
    except RemoteFailed as error:
        raise ToolError(
            f"the shared store cannot be cleaned: {error}",
            where=remote.url,
            fix="use an account that may list, write and remove there",
        ) from error
    return _sum_up(old)


def _list_digests(path: Path) -> Iterable[str]:
    """Every digest that a lock names: packages, tools, indices and sources."""
    lockfile.read_lock(path)  # a wrong file would keep nothing
    return _DIGEST.findall(path.read_text(encoding="utf-8"))


def _read_remote_clock(remote: RemoteStore) -> float:
    """The remote's time: when an object that is written now was written. Raises: RemoteFailed."""
    name = f"clock/{uuid.uuid4().hex}"
    remote.objects.create({name: b"now"})
    try:
        for row in remote.objects.iter_objects("clock/"):
            if row.name == name:
                return row.modified
    finally:
        remote.objects.remove([name])
    raise RemoteFailed("it does not list what was written just now")


def _sum_up(rows: Iterable[RemoteObject]) -> tuple[CacheUsage, ...]:
    sizes: dict[str, list[int]] = {}
    for row in rows:
        sizes.setdefault("file" if row.name.startswith("cas/") else "records", []).append(row.size)
    return tuple(CacheUsage(kind, len(each), sum(each)) for kind, each in sorted(sizes.items()))
