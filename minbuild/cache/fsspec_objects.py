"""Objects of a shared store wherever fsspec reaches: S3, Google's and Azure's stores, SFTP, HTTP.

The only door to fsspec, of the extra minbuild[fleet]. Each batch runs in an event loop of its own
and leaves no thread behind: a process with threads cannot build in forks.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from minbuild.cache.remote_objects import RemoteFailed, RemoteObject, RemoteRefused, Take

CONCURRENCY = 16
"""Requests at once."""
ATTEMPTS = 4
"""Times that an object is asked for, when the remote fails."""
FIRST_PAUSE = 0.2
"""Seconds before the second attempt, at most; each further pause is twice as long."""
PATIENCE = 30.0
"""Seconds that one request may take, beside the time for its bytes."""
SLOWEST_RATE = 256 << 10
"""Bytes a second below which a transfer is given up."""
T = TypeVar("T")
_ANSWERS = (FileNotFoundError, FileExistsError, PermissionError)
"""Errors that another attempt would not change."""


class FsspecObjects:
    """Objects below a URL that fsspec knows (`s3://bucket/prefix`)."""

    is_local = False

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        """Nothing is opened yet. Raises: RemoteFailed for a URL whose library is not installed."""
        self.url = url
        self._patience = patience
        self._protocol, path = fsspec.core.split_protocol(url)
        try:
            implementation = fsspec.get_filesystem_class(self._protocol)
        except (ImportError, ValueError) as error:
            raise RemoteFailed(f"{error}") from error
        self._options = implementation._get_kwargs_from_urls(url)
        self._prefix = url if self._protocol in ("http", "https") else path
        self._prefix = self._prefix.rstrip("/")
        self._kept: Any = None

    def read(self, limits: Mapping[str, int], take: Take) -> None:
        """See Objects."""

        async def read_one(files: Any, name: str, limit: int) -> None:
            try:
                data = await self._attempt(
                    lambda: files._cat_file(self._locate(name), start=0, end=limit + 1), limit
                )
            except FileNotFoundError:
                take(name, None)
            else:
                take(name, bytes(data))

        self._run(lambda files: [read_one(files, name, size) for name, size in limits.items()])

    def create(self, sources: Mapping[str, Path | bytes]) -> frozenset[str]:
        """See Objects."""
        made = set()

        async def create_one(files: Any, name: str, source: Path | bytes) -> None:
            data = source if isinstance(source, bytes) else source.read_bytes()
            try:
                await self._attempt(
                    lambda: files._pipe_file(self._locate(name), data, mode="create"), len(data)
                )
            except FileExistsError:
                return
            except (FileNotFoundError, NotImplementedError) as error:
                raise RemoteRefused(f"{error}") from error
            made.add(name)

        self._run(lambda files: [create_one(files, *each) for each in sources.items()])
        return frozenset(made)

    def iter_objects(self, prefix: str) -> Iterator[RemoteObject]:
        """See Objects."""
        rows_by_path: dict[str, Any] = {}

        async def find(files: Any) -> None:
            try:
                rows = await self._attempt(
                    lambda: files._find(self._locate(prefix.rstrip("/")), detail=True), 1 << 30
                )
            except FileNotFoundError:
                return
            rows_by_path.update(rows)

        self._run(lambda files: [find(files)])
        for path, row in sorted(rows_by_path.items()):
            name = path.removeprefix(self._prefix).lstrip("/")
            modified = row.get("LastModified") or row.get("mtime") or row.get("created") or 0.0
            seconds = modified if isinstance(modified, int | float) else modified.timestamp()
            yield RemoteObject(name, int(row.get("size") or 0), float(seconds))

    def remove(self, names: Iterable[str]) -> None:
        """See Objects."""

        async def remove_one(files: Any, name: str) -> None:
            try:
                await self._attempt(lambda: files._rm_file(self._locate(name)), 0)
            except FileNotFoundError:
                return

        self._run(lambda files: [remove_one(files, name) for name in names])

    def _locate(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _run(self, start: Callable[[Any], list[Coroutine[Any, Any, None]]]) -> None:
        """Do the requests of one batch, some at a time; the first failure ends it."""
        asyncio.run(self._run_batch(start))

    async def _run_batch(self, start: Callable[[Any], list[Coroutine[Any, Any, None]]]) -> None:
        files, session = await self._open()
        turns = asyncio.Semaphore(CONCURRENCY)

        async def wait_and_do(work: Coroutine[Any, Any, None]) -> None:
            async with turns:
                await work

        works = start(files)
        tasks = [asyncio.ensure_future(wait_and_do(work)) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for work in works:
                work.close()
            if session is not None and hasattr(session, "close"):
                await session.close()

    async def _open(self) -> tuple[Any, Any]:
        """The file system, and its session in this loop, which must be closed; None for none.

        s3fs gives a new session to one that is kept: what it has read of AWS's models stays.
        """
        files = self._kept or self._make_file_system()
        opener = getattr(files, "set_session", None) or getattr(files, "_set_session", None)
        if opener is None:
            return files, None
        if "refresh" not in inspect.signature(opener).parameters:
            return files, await opener()
        self._kept = files
        return files, await opener(refresh=True)

    def _make_file_system(self) -> Any:
        implementation = fsspec.get_filesystem_class(self._protocol)
        options = {**self._options, "skip_instance_cache": True, "use_listings_cache": False}
        if implementation.async_impl:
            return implementation(asynchronous=True, **options)
        return AsyncFileSystemWrapper(implementation(**options), asynchronous=True)

    async def _attempt(self, work: Callable[[], Awaitable[T]], size: int) -> T:
        """Try a request again while the remote fails.

        Raises: FileNotFoundError; FileExistsError; RemoteFailed.
        """
        patience = self._patience + size / SLOWEST_RATE
        for attempt in range(ATTEMPTS):
            try:
                return await asyncio.wait_for(work(), patience)
            except PermissionError as error:
                raise RemoteRefused(f"{error}") from error
            except _ANSWERS:
                raise
            except Exception as error:
                if attempt + 1 == ATTEMPTS:
                    raise RemoteFailed(f"{error}" or type(error).__name__) from error
            await asyncio.sleep(random.uniform(0, FIRST_PAUSE * 2**attempt))
        raise AssertionError("the last attempt returns or raises")
