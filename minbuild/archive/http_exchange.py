"""One HTTP request of any method, whose answer is wanted whatever its status: what registries speak."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3

from minbuild.archive import http_request
from minbuild.archive.http_request import CHUNK_SIZE, MIN_SPEED, TransientError, get_timeout
from minbuild.archive.http_transport import (
    MAX_REDIRECTS,
    REDIRECT_STATUSES,
    SpeedWatch,
    describe_error,
    get_pool,
    resolve_redirect,
)
from minbuild.errors import ArchiveError
from minbuild.progress import report_detail

BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""A later request may succeed. Source: RFC 9110, 15.5, 15.6; RFC 6585, 4."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """Names in small letters."""
    body: bytes


def exchange(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, limit: int
) -> Answer:
    """Send a request and return its answer, which may have `limit` bytes at most.

    A redirect of a GET or HEAD is followed, without Authorization on another server. A server that
    is busy or out of reach is asked again, with growing pauses.
    Raises: ArchiveError when no answer comes, or a larger one.
    """
    for pause in (*http_request.RETRY_DELAYS, None):
        try:
            return _follow_redirects(method, url, headers, body, limit)
        except TransientError as error:
            if pause is None:
                raise ArchiveError(
                    f"{method} failed: {error.reason}",
                    where=url,
                    fix="check the address, the network and the proxy (https_proxy); "
                    "a certificate of your own: REQUESTS_CA_BUNDLE=FILE",
                ) from error
            requested = min(error.pause, http_request.MAX_RETRY_AFTER)
            time.sleep(max(http_request.scale_pause(pause), requested))
    raise AssertionError("the last attempt returns or raises")


def _follow_redirects(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, limit: int
) -> Answer:
    sent = {"Accept-Encoding": "identity", "User-Agent": "minbuild", **headers}
    for _ in range(MAX_REDIRECTS + 1):
        answer = _send(method, url, sent, body, limit)
        location = answer.headers.get("location", "")
        if answer.status not in REDIRECT_STATUSES or method not in {"GET", "HEAD"} or not location:
            return answer
        try:
            target = resolve_redirect(url, location)
        except http_request.NotFound as error:
            raise ArchiveError(error.reason, where=url, fix="ask who runs the server") from error
        if urlsplit(target)[:2] != urlsplit(url)[:2]:
            sent = {name: value for name, value in sent.items() if name != "Authorization"}
        url = target
    raise TransientError(f"more than {MAX_REDIRECTS} redirects")


def _send(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, limit: int
) -> Answer:
    report_detail(lambda: f"{method} {url}")
    try:
        response = get_pool(url).request(
            method, url, headers=headers, body=body, redirect=False, preload_content=False,
            decode_content=False,
        )  # fmt: skip
    except urllib3.exceptions.HTTPError as error:
        raise TransientError(describe_error(error)) from error
    try:
        if response.status in BUSY_STATUSES:
            pause = response.headers.get("Retry-After", "").strip()
            seconds = float(pause[:9]) if pause.isdecimal() else 0.0
            raise TransientError(f"the server answers {response.status}", pause=seconds)
        fields = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, fields, _read_body(response, url, limit))
    finally:
        response.close() if response.length_remaining != 0 else response.release_conn()


def _read_body(response: urllib3.BaseHTTPResponse, url: str, limit: int) -> bytes:
    body = bytearray()
    end: Callable[[], object] = response.shutdown
    with SpeedWatch(end, get_timeout(), MIN_SPEED) as watch:
        try:
            while chunk := response.read1(CHUNK_SIZE, decode_content=False):
                watch.received += len(chunk)
                body += chunk
                if len(body) > limit:
                    raise ArchiveError(
                        f"the answer is larger than {limit:,} bytes",
                        where=url,
                        fix="ask who runs the server: it sends more than was published",
                    )
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(describe_error(error)) from error
    if watch.is_slow:
        raise TransientError(f"the server sends less than {MIN_SPEED} bytes a second")
    return bytes(body)
