"""Users and passwords of mirrors: used, and never seen."""

import os
import pickle
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbuild.archive import http_request
from minbuild.archive.download import fetch_packages
from minbuild.archive.mirror import find_mirror
from minbuild.archive.suite import open_suite
from minbuild.errors import ArchiveError
from tests.support.server import Fault
from tests.unit.archive.conftest import World

SECRET = "s3cr%et/@:"
QUOTED = "s3cr%25et%2F%40%3A"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing is known from a test before."""
    own, places = dict(http_request._url_logins), list(http_request._apt_directories)
    http_request._url_logins.clear()
    yield
    http_request._url_logins.clear()
    http_request._url_logins.update(own)
    http_request._apt_directories[:] = places


def sent(url: str) -> str:
    """User and password that a request for an address bears."""
    return b64decode(http_request.find_authorization(url).removeprefix("Basic ")).decode()


def test_an_address_gives_its_user_and_password_to_the_header_alone(world: World) -> None:
    world.server.login = f"user:{SECRET}"
    world.mirror = find_mirror(f"{world.server.url.replace('//', f'//user:{QUOTED}@')}/debian")
    assert world.open().find_package("hello") is not None
    for seen in (repr(world.mirror), str(world.mirror), *world.server.requests):
        assert "s3cr" not in seen
    assert b"s3cr" not in pickle.dumps(world.mirror)
    assert all(b"s3cr" not in one.read_bytes() for one in world.store.directory.rglob("*") if one.is_file())  # fmt: skip


@pytest.mark.parametrize(
    "fault", [Fault.NOT_FOUND, Fault.BUSY, Fault.HTML, Fault.FLIP, Fault.TRUNCATE]
)
def test_no_error_names_the_password(world: World, fault: Fault) -> None:
    world.server.login = f"user:{SECRET}"
    world.mirror = find_mirror(f"{world.server.url.replace('//', f'//user:{QUOTED}@')}/debian")
    world.server.fail("", fault, forever=True)
    with pytest.raises(ArchiveError) as caught:
        world.open()
    error = caught.value
    assert "s3cr" not in f"{error.what}{error.where}{error.fix}{error!r}{error.__cause__!r}"
    assert "user:" not in error.what


@pytest.mark.parametrize("login", ["", "user:wrong"])
def test_a_mirror_that_wants_a_login_is_named_as_such(world: World, login: str) -> None:
    world.server.login = f"user:{SECRET}"
    address = f"{world.server.url}/debian"
    world.mirror = find_mirror(address.replace("//", f"//{login}@") if login else address)
    with pytest.raises(ArchiveError, match=r"denies access to the suite trixie: .*401") as caught:
        world.open()
    assert ("to the configured user" in caught.value.what) is bool(login)
    assert "wrong" not in f"{caught.value.what}{caught.value.where}"


@pytest.mark.parametrize("same", [True, False])
def test_a_redirection_bears_the_password_to_its_own_server_alone(world: World, same: bool) -> None:
    world.server.elsewhere = "" if same else world.server.url.replace("127.0.0.1", "localhost")
    world.mirror = find_mirror(f"{world.server.url.replace('//', '//user:s3cret@')}/debian")
    world.server.fail("/InRelease", Fault.REDIRECT)
    world.open()
    (moved,) = [
        headers
        for path, headers in zip(world.server.requests, world.server.headers, strict=True)
        if path.startswith("/moved/")
    ]
    assert ("authorization" in moved) is same


def test_the_security_tree_beside_has_the_same_login() -> None:
    found = find_mirror("http://u:p@one.example/debian")
    assert found.security == "http://one.example/debian-security"
    assert sent(f"{found.security}/dists/x") == "u:p"


def test_a_login_is_for_its_own_tree_and_host_alone() -> None:
    http_request.strip_credentials("http://u:p@one.example/debian")
    assert sent("http://one.example/debian/dists") == "u:p"
    for other in ("http://one.example/debiana", "http://one.example/", "https://one.example/debian",
                  "http://one.example:81/debian", "http://one.example.org/debian"):  # fmt: skip
        assert http_request.find_authorization(other) == "", other


CONF = """\
# ours
machine one.example/debian login a password 1
machine http://plain.example login b password 2
machine port.example:8080
  login c
  password 3
machine two.example login d password machine
machine two.example login e password 5
"""


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("https://one.example/debian/dists", "a:1"),
        ("https://one.example/other", ""),
        ("http://one.example/debian/dists", ""),
        ("http://plain.example/x", "b:2"),
        ("https://plain.example/x", ""),
        ("https://port.example:8080/x", "c:3"),
        ("https://port.example/x", ""),
        ("https://two.example/x", "d:machine"),
        ("https://three.example/x", ""),
    ],
)
def test_apts_auth_conf_is_read_as_apt_reads_it(tmp_path: Path, url: str, login: str) -> None:
    (tmp_path / "auth.conf.d").mkdir()
    (tmp_path / "auth.conf.d" / "ours.conf").write_text(CONF)
    (tmp_path / "auth.conf.d" / "not.disabled").write_text(
        "machine three.example login x password y"
    )
    http_request.add_apt_directory(tmp_path)
    header = http_request.find_authorization(url)
    assert (sent(url) if header else "") == login


def test_an_addresss_own_login_goes_before_apts(tmp_path: Path) -> None:
    (tmp_path / "auth.conf").write_text("machine https://one.example login x password y\n")
    http_request.add_apt_directory(tmp_path)
    assert sent("https://one.example/debian") == "x:y"
    http_request.strip_credentials("https://u:p@one.example/debian")
    assert sent("https://one.example/debian") == "u:p"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_of_passwords_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "auth.conf").write_text("machine x login y password z")
    (tmp_path / "auth.conf").chmod(0)
    http_request.add_apt_directory(tmp_path)
    assert str(tmp_path / "auth.conf") in http_request.list_unreadable_files()


@pytest.mark.parametrize(
    "address",
    ["http://u:s3cret@", "ftp://u:s3cret@x.example/debian", "http://u:s3cret@x.example/a b"],
)
def test_a_wrong_address_is_told_without_its_password(address: str) -> None:
    with pytest.raises(ArchiveError, match="not a mirror address") as caught:
        find_mirror(address)
    assert "s3cret" not in caught.value.what


def test_a_proxys_password_is_in_no_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    for proxy in ("http://u:s3cret@127.0.0.1:1", "http://u:s3cret@[x", "socks9://u:s3cret@h:1"):
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(ArchiveError) as caught:
            open_suite(world.wish, "trixie", world.mirror, world.store, offline=False, progress=world.progress)  # fmt: skip
        text = f"{caught.value.what}{caught.value.where}{caught.value.fix}"
        assert "s3cret" not in text, proxy


def test_a_path_is_encoded_as_a_path(world: World) -> None:
    index = world.open()
    package = index.find_package("hello")
    assert package is not None
    place = world.archive.directory / "debian" / package.path
    odd = "pool/a%3a#?b +~é/x%20y.deb"
    target = world.archive.directory / "debian" / odd
    target.parent.mkdir(parents=True)
    target.write_bytes(place.read_bytes())
    from dataclasses import replace

    fetch_packages([replace(package, path=odd)], world.mirror, world.store, offline=False, progress=world.progress)  # fmt: skip
    assert world.store.path(package.sha256) is not None
    assert world.server.requests[-1] == "/debian/pool/a%253a%23%3Fb%20+~%C3%A9/x%2520y.deb"
