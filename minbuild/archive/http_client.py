"""The only door to the network: files by http, https and file addresses."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minbuild.archive.http_model import CHUNK_SIZE, FileResponse, NotFound, TransientError
from minbuild.errors import ArchiveError
from minbuild.progress import report_detail


@contextlib.contextmanager
def open_url(url: str, start: int = 0, *, fresh: bool = False) -> Iterator[FileResponse]:
    """Open a file by address, from byte `start` if the server supports ranges.

    `fresh`: caches on the way must revalidate. Source: RFC 9111, 5.2.1.4.
    Raises: TransientError, NotFound.
    """
    report_detail(lambda: f"reading {url}" + (f" from byte {start}" if start else ""))
    parts = urlsplit(url)
    if parts.scheme == "file":
        with _open_file(Path(unquote(parts.path)), start) as response:
            yield response
        return
    from minbuild.archive.http_remote import open_remote  # 50 ms, and a local mirror needs none

    with open_remote(url, start, fresh=fresh) as response:
        yield response


def read_url(url: str, *, purpose: str, limit: int, fresh: bool) -> bytes:
    """Read a file of at most `limit` bytes by one request.

    Raises: TransientError, NotFound; ArchiveError if it is too large.
    """
    with open_url(url, fresh=fresh) as response:
        body = bytearray()
        for chunk in response.chunks:
            body += chunk
            if len(body) > limit:
                raise ArchiveError(
                    f"{purpose} is larger than {limit} bytes", where=url, fix="use another mirror"
                )
        if response.length is not None and len(body) < response.length:
            raise TransientError(f"the answer ended after {len(body)} bytes")
        return bytes(body)


@contextlib.contextmanager
def _open_file(path: Path, start: int) -> Iterator[FileResponse]:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(start)
            yield FileResponse(
                start, max(size - start, 0), "file", iter(lambda: file.read(CHUNK_SIZE), b"")
            )
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise NotFound(error.strerror or str(error)) from error
