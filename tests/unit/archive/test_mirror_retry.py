"""Mirrors that err: once, always, slowly, or one of several."""

import datetime as dt
import itertools
import time
from collections.abc import Iterator

import pytest

from minbuild.archive import http_client, http_request, http_transport
from minbuild.archive.download import fetch_packages
from minbuild.archive.mirror import Mirror, find_mirror
from minbuild.errors import ArchiveError
from tests.support.archive import DATE
from tests.support.patience import PATIENCE
from tests.support.server import Fault
from tests.unit.archive.conftest import PACKAGES, World

DOC = "hello-doc_1.0_all.deb"
WRONG = [Fault.SHORT, Fault.FLIP, Fault.HTML, Fault.HUGE]
AHEAD = DATE + dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No host is given up from a test before."""
    http_client._exhausted_hosts.clear()
    yield
    http_client._exhausted_hosts.clear()


def beside(world: World) -> Mirror:
    """The test's mirror, behind one that serves nothing of Debian's and one that nobody answers."""
    other = world.server.url.replace("127.0.0.1", "localhost")
    return find_mirror([f"{other}/debian", f"{world.server.url}/debian"])


def asked(world: World, end: str) -> list[dict[str, str]]:
    """The headers of the requests for a file."""
    pairs = zip(world.server.requests, world.server.headers, strict=True)
    return [headers for path, headers in pairs if path.partition(" ")[0].endswith(end)]


def got(world: World) -> None:
    package = world.open().find_package("hello-doc")
    assert package is not None
    fetch_packages([package], world.mirror, world.store, offline=False, progress=world.progress)
    assert world.store.find_verified(package.sha256) is not None


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("fault", WRONG)
def test_a_package_that_is_wrong_at_first_is_asked_for_past_caches(
    world: World, fault: Fault, times: int
) -> None:
    world.server.fail(DOC, *[fault] * times)
    got(world)
    first, *others = asked(world, DOC)
    assert "cache-control" not in first
    assert [one["cache-control"] for one in others] == ["no-cache"] * times


@pytest.mark.parametrize("fault", [*WRONG, Fault.NOT_FOUND, Fault.TRUNCATE, Fault.STALL])
@pytest.mark.parametrize("end", ["/InRelease", "Packages.xz"])
def test_an_index_that_is_wrong_once_is_read_again(world: World, fault: Fault, end: str) -> None:
    world.archive.publish("trixie", PACKAGES, by_hash=False)
    world.server.fail(end, fault)
    assert world.open().find_package("hello") is not None


def test_an_old_release_is_asked_for_past_caches(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, date=AHEAD)
    world.open()
    place = world.archive.directory / "debian/dists/trixie/InRelease"
    new = place.read_bytes()
    world.archive.publish("trixie", PACKAGES)
    seen = len(world.server.requests)

    def renew() -> None:
        while len(world.server.requests) == seen:
            time.sleep(0.005)
        place.write_bytes(new)

    import threading

    helper = threading.Thread(target=renew)
    helper.start()
    try:
        assert world.open().suites[0].date == int(AHEAD.timestamp())
    finally:
        helper.join()
    assert asked(world, "/InRelease")[-1]["cache-control"] == "no-cache"


def test_what_stays_wrong_is_told_with_how_often_it_was_offered(world: World) -> None:
    world.server.fail(DOC, Fault.SHORT, Fault.FLIP, Fault.HTML, forever=True)
    with pytest.raises(ArchiveError) as caught:
        got(world)
    assert "asked 4 times" in caught.value.what
    assert "(2 times)" in caught.value.what
    assert len(asked(world, DOC)) == 4


@pytest.mark.parametrize("fault", [*WRONG, Fault.NOT_FOUND, Fault.BUSY, Fault.TRUNCATE, Fault.DRIP])
def test_the_next_mirror_of_the_list_is_asked(world: World, fault: Fault) -> None:
    world.mirror = beside(world)
    world.server.fail(DOC, *[fault] * (1 if fault is Fault.NOT_FOUND else 5))
    got(world)


def test_a_mirror_without_a_server_is_passed_by_and_then_asked_last(world: World) -> None:
    world.mirror = find_mirror(["http://127.0.0.1:1/debian", f"{world.server.url}/debian"])
    got(world)
    assert http_client._exhausted_hosts == {"127.0.0.1:1"}


def test_all_mirrors_are_named_when_none_is_right(world: World) -> None:
    world.mirror = beside(world)
    index = world.open()
    world.server.fail(DOC, Fault.SHORT, forever=True)
    package = index.find_package("hello-doc")
    assert package is not None
    with pytest.raises(ArchiveError) as caught:
        fetch_packages([package], world.mirror, world.store, offline=False, progress=world.progress)
    lines = caught.value.what.splitlines()[1:]
    assert [line.split("//")[1].split(":")[0] for line in lines] == ["localhost", "127.0.0.1"]
    assert all("(4 times)" in line for line in lines)


@pytest.mark.parametrize("fault", [Fault.DRIP, Fault.DRIP_HEAD])
def test_a_server_that_sends_a_byte_now_and_then_is_left(world: World, fault: Fault) -> None:
    index = world.open()
    package = index.find_package("hello-doc")
    assert package is not None
    world.server.fail(DOC, fault, forever=True)
    with pytest.raises(ArchiveError, match="cannot get package hello-doc"):
        fetch_packages([package], world.mirror, world.store, offline=False, progress=world.progress)


def test_a_redirection_with_a_body_that_never_ends_is_followed_at_once(world: World) -> None:
    world.server.fail(DOC, Fault.ENDLESS)
    began = time.monotonic()
    got(world)
    assert time.monotonic() - began < PATIENCE / 2  # its body takes hours
    assert world.server.requests[-1].startswith("/moved/")


def test_a_redirection_without_end_is_left(world: World) -> None:
    world.open()
    world.server.fail(DOC, Fault.LOOP, forever=True)
    with pytest.raises(ArchiveError, match="more than 5 redirects"):
        got(world)


@pytest.mark.parametrize(
    ("url", "elsewhere", "there"),
    [
        ("http://a.example/x/y", "/z", "http://a.example/z"),
        ("http://a.example/x/y", "z", "http://a.example/x/z"),
        ("http://a.example/x", "https://b.example/y", "https://b.example/y"),
        ("http://a.example/x", "//u:p@b.example/y", "http://b.example/y"),
        ("https://a.example/x", "http://a.example/x", ""),
        ("http://a.example/x", "file:///etc/passwd", ""),
        ("http://a.example/x", "ftp://a.example/x", ""),
        ("http://a.example/x", "http://[b/", ""),
    ],
)
def test_a_redirection_leads_to_servers_that_are_no_worse(
    url: str, elsewhere: str, there: str
) -> None:
    if there:
        assert http_transport.resolve_redirect(url, elsewhere) == there
    else:
        with pytest.raises(http_request.NotFound, match="the server redirects"):
            http_transport.resolve_redirect(url, elsewhere)


def test_a_date_in_retry_after_is_waited_for(world: World) -> None:
    world.server.fail(DOC, Fault.DATED)
    began = time.monotonic()
    got(world)
    assert time.monotonic() - began > 0.5


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    date = "Fri, 02 Jan 2026 03:04:05 GMT"
    cases = {
        "7": 7,
        " 7 ": 7,
        "Fri, 02 Jan 2026 03:05:05 GMT": 60,
        "Friday, 02-Jan-26 03:05:05 GMT": 60,
        "Fri Jan  2 03:05:05 2026": 60,
        "Fri, 02 Jan 2026 03:04:00 GMT": 0,
        "": 0,
        "soon": 0,
        "-3": 0,
        "9" * 400: 999_999_999,
        "Fri, 99 Jan 2026 03:05:05 GMT": 0,
    }
    found = {text: http_transport.parse_retry_after(text, date) for text in cases}
    assert found == cases


def test_indices_that_change_while_they_are_read_are_read_from_a_fresh_release(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is published anew after its InRelease was read, and before its Packages."""
    world.archive.publish("trixie", PACKAGES, by_hash=False)
    versions = itertools.count(3)
    real = http_client.read_url

    def read(url: str, **more: object) -> bytes:
        found = real(url, **more)  # type: ignore[arg-type]
        if (number := next(versions)) < 5:
            text = PACKAGES.replace("2.0-1", f"{number}.0")
            world.archive.publish("trixie", text, by_hash=False, date=AHEAD)
        return found

    monkeypatch.setattr(http_client, "read_url", read)
    package = world.open().find_package("hello")
    assert package is not None
    assert package.version == "4.0"


def test_an_index_that_does_not_fit_an_unchanged_release_is_an_error(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, by_hash=False)
    world.server.fail("Packages.xz", Fault.FLIP, forever=True)
    with pytest.raises(ArchiveError, match="the index of trixie is corrupt"):
        world.open()
