"""Users and passwords of mirrors: taken out of addresses at the edge, and known here alone.

An address that went through `without_password` can be printed, locked and kept: what was in it goes
into the request's header and nowhere else.
"""

import base64
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

APT = Path("/etc/apt")
_ENCRYPTED = frozenset({"https"})
_USER = re.compile(r"(?<=://)[^/\s?#]*@")

_places = [APT]
_own: dict[str, tuple[str, str]] = {}
"""Address without its user → user and password, of this process alone."""


def without_password(address: str) -> str:
    """Remember the user and password that an address names; returns the address without them."""
    try:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
            return address
        user, _, host = parts.netloc.rpartition("@")
        plain = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    except ValueError:
        return hide(address)
    name, _, password = user.partition(":")
    _own[plain.rstrip("/")] = (unquote(name), unquote(password))
    return plain


def hide(text: str) -> str:
    """Text without the users and passwords of addresses in it."""
    return _USER.sub("", text)


def look_in(apt: Path) -> None:
    """Take passwords from this directory of apt's configuration, too."""
    if apt not in _places:
        _places.append(apt)


def authorization(url: str) -> str:
    """The header Authorization for an address; "" when nobody names a user for it.

    An address's own user goes before apt's auth.conf. Source: RFC 7617; apt_auth.conf(5).
    """
    fitting = [start for start in _own if url == start or url.startswith(f"{start}/")]
    if fitting:
        user, password = _own[max(fitting, key=len)]
    else:
        user, password = _of_apt(urlsplit(url))
    if not user and not password:
        return ""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def unreadable() -> tuple[str, ...]:
    """The files of apt's that hold passwords and that this user may not read."""
    return tuple(str(file) for file in _files() if _text(file) is None)


def _files() -> Iterator[Path]:
    """Source: apt_auth.conf(5), FILES."""
    for apt in _places:
        with contextlib.suppress(OSError):
            yield from sorted((apt / "auth.conf.d").glob("*.conf"))
        yield apt / "auth.conf"


def _text(file: Path) -> str | None:
    """A file's text; "" when there is none, None when it may not be read."""
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except OSError:
        return None


def _of_apt(parts: SplitResult) -> tuple[str, str]:
    for file in _files():
        for machine, login, password in _machines(_text(file) or ""):
            if _meant(machine, parts):
                return login, password
    return "", ""


def _machines(text: str) -> Iterator[tuple[str, str, str]]:
    """Each `machine`, with its `login` and `password`, in any order and on any lines."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = iter(" ".join(lines).split())
    machine, found = "", dict[str, str]()
    for word in words:
        if word == "machine":
            if machine:
                yield machine, found.get("login", ""), found.get("password", "")
            machine, found = next(words, ""), {}
        elif word in {"login", "password"}:
            found[word] = next(words, "")
    if machine:
        yield machine, found.get("login", ""), found.get("password", "")


def _meant(machine: str, parts: SplitResult) -> bool:
    """Whether a `machine` is that of an address; without a protocol only encrypted ones count.

    Source: apt, apt-pkg/contrib/netrc.cc.
    """
    scheme, mark, rest = machine.partition("://")
    if mark and scheme != parts.scheme:
        return False
    if not mark and parts.scheme not in _ENCRYPTED:
        return False
    wanted = rest if mark else machine
    if "/" in wanted:
        return f"{parts.netloc}{parts.path}".startswith(wanted)
    return wanted in {parts.netloc, parts.hostname}
