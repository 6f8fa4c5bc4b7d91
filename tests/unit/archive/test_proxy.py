from urllib.parse import urlsplit

import pytest

from minbuild.archive.http_request import bypasses_proxy, find_proxy


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "by"),
    [
        ("mirror.example", 80, "", False),
        ("mirror.example", 80, "*", True),
        ("mirror.example", 80, "example", True),
        ("mirror.example", 80, ".example", True),
        ("mirror.example", 80, "*.example", True),
        ("mirror.example", 80, "ample", False),
        ("MIRROR.Example.", 80, "mirror.example", True),
        ("mirror.example", 8080, "mirror.example:8080", True),
        ("mirror.example", 80, "mirror.example:8080", False),
        ("mirror.example", 443, " other , mirror.example ", True),
        ("mirror.example", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("10.1.2.3", 80, "10.1.2.0/24,192.168.0.0/16", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("10.1.2.3", 80, "10.1.2.9/8", True),
        ("10.1.2.3", 80, "1.2.3", False),
        ("10.1.2.3", 3142, "10.0.0.0/8:3142", True),
        ("fd00::5", 80, "fd00::/8", True),
        ("fd00::5", 80, "[fd00::5]", True),
        ("fd00::5", 80, "[fd00::5]:81", False),
        ("fe80::5", 80, "fd00::/8", False),
        ("10.1.2.3", 80, "fd00::/8", False),
        ("mirror.example", 80, ",,", False),
        ("mirror.example", 80, ".", False),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_ranges(
    host: str, port: int, no_proxy: str, by: bool
) -> None:
    assert bypasses_proxy(host, port, no_proxy) is by


def test_the_proxy_is_that_of_the_scheme_or_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    plain, tls = urlsplit("http://m.example/debian"), urlsplit("https://m.example:444/debian")
    assert (find_proxy(plain), find_proxy(tls)) == ("", "")
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    monkeypatch.setenv("http_proxy", "p:3128")
    assert (find_proxy(plain), find_proxy(tls)) == ("http://p:3128", "http://all:1")
    monkeypatch.setenv("no_proxy", "m.example:444")
    assert (find_proxy(plain), find_proxy(tls)) == ("http://p:3128", "")
    monkeypatch.setenv("http_proxy", "")
    monkeypatch.setenv("HTTP_PROXY", "http://big:1")
    assert find_proxy(plain) == "http://all:1"
