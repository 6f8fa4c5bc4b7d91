"""Parts of an HTTP request: credentials, proxies, time limits, the response and its errors.

`strip_credentials` takes user and password out of an address and keeps them in this module: the
address can then be printed, locked and stored, and the password goes into the request header only.
"""

import base64
import contextlib
import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

RETRY_DELAYS = (0.1, 0.4, 1.6, 3.0)
"""Seconds before each retry, at the default timeout."""
DEFAULT_TIMEOUT = 30.0
"""Seconds that a server may stay silent; MINBUILD_TIMEOUT overrides it."""
MAX_RETRY_AFTER = 30.0
"""Longest wait for a server's Retry-After, in seconds."""
MIN_SPEED = 1024
"""Bytes a second that a server must send, averaged over the timeout."""
CHUNK_SIZE = 1 << 17
MAX_CONNECTIONS = 6
"""Parallel connections."""


class TransientError(Exception):
    """A failed request that may succeed when repeated."""

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause
        """Seconds that the server asks to wait (Retry-After)."""


class RangeNotSatisfiable(TransientError):
    """The file on the server ends before the requested start."""


class NotFound(Exception):
    """The server does not have the file, or denies access to it."""

    def __init__(self, reason: str, *, is_absent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_absent = is_absent
        """False: access is denied."""


@dataclass(frozen=True, slots=True)
class FileResponse:
    """A response whose body is still to be read; `chunks` starts at byte `start` of the file."""

    start: int
    length: int | None
    """Bytes of `chunks`; None if the server does not tell."""
    content_type: str
    chunks: Iterator[bytes]


def get_timeout() -> float:
    """Return the seconds that a server may stay silent."""
    value = os.environ.get("MINBUILD_TIMEOUT", "")
    return float(value) if value.isdecimal() and int(value) else DEFAULT_TIMEOUT


def scale_pause(pause: float) -> float:
    """Shorten a pause in proportion to a shorter timeout."""
    return pause * min(get_timeout() / DEFAULT_TIMEOUT, 1.0)


APT = Path("/etc/apt")
_ENCRYPTED = frozenset({"https"})
_USER = re.compile(r"(?<=://)[^/\s?#]*@")

_apt_directories = [APT]
_url_logins: dict[str, tuple[str, str]] = {}
"""Address without credentials → user and password; in memory only."""


def strip_credentials(address: str) -> str:
    """Remember user and password of an address; return the address without them."""
    try:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
            return address
        user, _, host = parts.netloc.rpartition("@")
        plain = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    except ValueError:
        return hide_credentials(address)
    name, _, password = user.partition(":")
    _url_logins[plain.rstrip("/")] = (unquote(name), unquote(password))
    return plain


def hide_credentials(text: str) -> str:
    """Remove users and passwords from the addresses in a text."""
    return _USER.sub("", text)


def add_apt_directory(apt: Path) -> None:
    """Read passwords from this directory of apt's configuration, too."""
    if apt not in _apt_directories:
        _apt_directories.append(apt)


def find_authorization(url: str) -> str:
    """Return the Authorization header for an address; "" without credentials.

    Credentials of the address override apt's auth.conf. Source: RFC 7617; apt_auth.conf(5).
    """
    prefixes = [start for start in _url_logins if url == start or url.startswith(f"{start}/")]
    if prefixes:
        user, password = _url_logins[max(prefixes, key=len)]
    else:
        user, password = _find_apt_login(urlsplit(url))
    if not user and not password:
        return ""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def list_unreadable_files() -> tuple[str, ...]:
    """Return apt's password files that this user cannot read."""
    return tuple(str(file) for file in _list_auth_files() if _read_auth_file(file) is None)


def _list_auth_files() -> Iterator[Path]:
    """Source: apt_auth.conf(5), FILES."""
    for apt in _apt_directories:
        with contextlib.suppress(OSError):
            yield from sorted((apt / "auth.conf.d").glob("*.conf"))
        yield apt / "auth.conf"


def _read_auth_file(file: Path) -> str | None:
    """Return the text of a file; "" if it does not exist, None if it is not readable."""
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except OSError:
        return None


def _find_apt_login(parts: SplitResult) -> tuple[str, str]:
    for file in _list_auth_files():
        for machine, login, password in _parse_machines(_read_auth_file(file) or ""):
            if _machine_matches(machine, parts):
                return login, password
    return "", ""


def _parse_machines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield machine, login and password of each entry of a netrc file."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    tokens = iter(" ".join(lines).split())
    machine, fields = "", dict[str, str]()
    for token in tokens:
        if token == "machine":
            if machine:
                yield machine, fields.get("login", ""), fields.get("password", "")
            machine, fields = next(tokens, ""), {}
        elif token in {"login", "password"}:
            fields[token] = next(tokens, "")
    if machine:
        yield machine, fields.get("login", ""), fields.get("password", "")


def _machine_matches(machine: str, parts: SplitResult) -> bool:
    """Whether a `machine` matches an address; without a protocol it matches https only.

    Source: apt, apt-pkg/contrib/netrc.cc.
    """
    scheme, mark, rest = machine.partition("://")
    if mark and scheme != parts.scheme:
        return False
    if not mark and parts.scheme not in _ENCRYPTED:
        return False
    pattern = rest if mark else machine
    if "/" in pattern:
        return f"{parts.netloc}{parts.path}".startswith(pattern)
    return pattern in {parts.netloc, parts.hostname}


def find_proxy(parts: SplitResult) -> str:
    """Return the proxy for an address; "" for none. Source: curl(1), ENVIRONMENT."""
    proxy = _read_proxy_variable(parts.scheme) or _read_proxy_variable("all")
    if not proxy or bypasses_proxy(
        parts.hostname or "", _find_port(parts), _read_proxy_variable("no")
    ):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _read_proxy_variable(scheme: str) -> str:
    """Return `http_proxy`, or `HTTP_PROXY` if it is unset.

    A CGI server sets HTTP_PROXY from a header of the request. Source: CVE-2016-5385.
    """
    name = f"{scheme}_proxy"
    value = os.environ.get(name)
    if value is not None:
        return value
    return (
        ""
        if scheme == "http" and "REQUEST_METHOD" in os.environ
        else os.environ.get(name.upper(), "")
    )


def bypasses_proxy(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` matches a host, by name, domain, address or range, with or without port.

    `*` names every host, `example.org` and `.example.org` that domain, `10.0.0.0/8` a range.
    """
    host = host.rstrip(".").lower()
    return any(
        _entry_matches(word, host, port) for word in no_proxy.replace(",", " ").lower().split()
    )


def _entry_matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, entry_port = _split_port(entry)
    if entry_port and entry_port != port:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        domain = name.removeprefix("*").strip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int]:
    """Split host and port of `[::1]:80`, `::1` or `host:80`; port 0 if there is none."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:
        name, port = entry, ""
    return name, int(port) if port.isdecimal() else 0


def _find_port(parts: SplitResult) -> int:
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return 0
