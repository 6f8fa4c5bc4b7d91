"""Which proxy a request takes: the environment's, unless `no_proxy` names the host."""

import os
from urllib.parse import SplitResult


def proxy_for(parts: SplitResult) -> str:
    """The proxy's address for an address; "" for none. Source: curl(1), ENVIRONMENT."""
    proxy = _told(parts.scheme) or _told("all")
    if not proxy or passes_by(parts.hostname or "", _port(parts), _told("no")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _told(scheme: str) -> str:
    """`http_proxy`, or `HTTP_PROXY` where it is not set at all.

    The latter is a request's header where a server of CGI set it. Source: CVE-2016-5385.
    """
    name = f"{scheme}_proxy"
    small = os.environ.get(name)
    if small is not None:
        return small
    return (
        ""
        if scheme == "http" and "REQUEST_METHOD" in os.environ
        else os.environ.get(name.upper(), "")
    )


def passes_by(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` names a host: by its name or domain, address, range, with a port or not.

    `*` names every host, `example.org` and `.example.org` that domain, `10.0.0.0/8` a range.
    """
    host = host.rstrip(".").lower()
    return any(_names(word, host, port) for word in no_proxy.replace(",", " ").lower().split())


def _names(word: str, host: str, port: int) -> bool:
    if word == "*":
        return True
    name, wanted = _split(word)
    if wanted and wanted != port:
        return False
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        domain = name.removeprefix("*").strip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _split(word: str) -> tuple[str, int]:
    """A word's name and port; port 0 where it says none. `[::1]:80`, `::1`, `host:80`."""
    if word.startswith("["):
        name, _, rest = word[1:].partition("]")
        port = rest.removeprefix(":")
    elif word.count(":") == 1:
        name, _, port = word.partition(":")
    else:
        name, port = word, ""
    return name, int(port) if port.isdecimal() else 0


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return 0
