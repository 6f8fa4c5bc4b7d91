"""A suite's Release: whose signature, of which time, and what is remembered of it."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.archive.mirror import find_mirror
from minbuild.archive.openpgp import hash_trusted_keys, verify_cleartext
from minbuild.errors import ArchiveError
from minbuild.manifest.model import Archive as Wish
from tests.support.archive import DATE, Archive
from tests.unit.archive.conftest import PACKAGES, World

EXPIRED = Path(__file__).parent / "expired"
"""InReleases signed in 2020 by keys that ended after a year: one by its own, one by its subkey's."""
FAR = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.mark.parametrize("kind", ["key", "subkey"])
def test_a_key_that_has_expired_signs_nothing_more(kind: str) -> None:
    """The signature bears a date at which the key was good: whoever has it can write any date."""
    signed = (EXPIRED / f"{kind}.InRelease").read_bytes()
    certificate = str(EXPIRED / f"{kind}.asc")
    good = int(dt.datetime(2020, 7, 1, tzinfo=dt.UTC).timestamp())
    assert b"Suite: x" in verify_cleartext(signed, where="x", signed_by=certificate, now=good)
    with pytest.raises(ArchiveError, match="the key expired on 2020-12-31"):
        verify_cleartext(signed, where="x", signed_by=certificate)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_release_from_the_future_is_refused_and_not_remembered(
    world: World, trusted: bool
) -> None:
    world.archive.publish("trixie", PACKAGES, date=FAR, signed=not trusted)
    with pytest.raises(ArchiveError, match="has a date in the future: 2099-01-01 00:00 UTC"):
        world.open(replace(world.wish, trusted=trusted))
    world.archive.publish("trixie", PACKAGES)
    assert world.open().find_package("hello") is not None


def test_a_clock_that_is_a_few_seconds_behind_is_no_error(world: World) -> None:
    now = int(DATE.timestamp())
    assert world.open(now=now - 10).find_package("hello") is not None
    with pytest.raises(ArchiveError, match="in the future"):
        world.open(now=now - 11)


def test_an_unsigned_archive_leaves_no_memory(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, date=DATE + DAY, signed=False)
    world.open(replace(world.wish, trusted=True, signed_by=""))
    world.archive.publish("trixie", PACKAGES, signed=False)
    world.open(replace(world.wish, trusted=True, signed_by=""))
    world.archive.publish("trixie", PACKAGES)
    assert world.open().suites[0].date == int(DATE.timestamp())


def test_another_key_has_a_memory_of_its_own(world: World, tmp_path: Path) -> None:
    """Somebody's archive, by somebody's key, is newer than the user's own of the same names."""
    directory = tmp_path / "other"
    directory.mkdir()
    other = Archive(directory)
    world.archive.publish("trixie", PACKAGES, date=DATE + DAY, key=other.key)
    world.open(replace(world.wish, signed_by=str(other.certificate)))
    world.archive.publish("trixie", PACKAGES)
    assert world.open().suites[0].date == int(DATE.timestamp())


def test_a_suite_has_one_memory_by_all_its_names(world: World) -> None:
    names = {"Suite": "stable", "Codename": "trixie"}
    world.archive.publish("trixie", PACKAGES, date=DATE + DAY, fields=names)
    world.open()
    world.archive.publish("trixie", PACKAGES, fields=names)
    world.archive.publish("stable", PACKAGES, fields=names)
    for name in ("trixie", "trixie/", "stable"):
        with pytest.raises(ArchiveError, match=r"is older than one already seen \(2026-01-03"):
            world.open(replace(world.wish, suites=(name,)))


def test_the_memory_holds_for_all_mirrors_of_debian(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, date=DATE + DAY)
    world.open()
    world.archive.publish("trixie", PACKAGES)
    world.mirror = find_mirror(f"{world.server.url.replace('127.0.0.1', 'localhost')}/debian")
    with pytest.raises(ArchiveError, match="is older than one already seen"):
        world.open()


def test_a_release_without_names_is_taken_and_told(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, fields={"Suite": "", "Codename": ""})
    assert world.open().find_package("hello") is not None
    assert any("names no suite" in note for note in world.progress.notes)


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 02 Jan 99999 03:04:05 UTC",
        "Fri, 02 Jan 9999 03:04:05 +9999",
        "never",
        "Thu, 01 Jan 1960 00:00:00 UTC",
        "",
    ],
)
def test_a_date_that_is_none_is_an_error_of_the_archive(world: World, date: str) -> None:
    world.archive.publish("trixie", PACKAGES, fields={"Date": date})
    with pytest.raises(ArchiveError, match="malformed Release file"):
        world.open()


def test_trust_goes_by_what_a_certificate_file_holds(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "copy.asc"
    copy.write_bytes(world.archive.certificate.read_bytes())
    assert (
        hash_trusted_keys(str(copy))
        == hash_trusted_keys(str(world.archive.certificate))
        != hash_trusted_keys("")
    )


def test_without_a_network_the_last_release_of_any_mirror_serves(world: World) -> None:
    world.open()
    world.mirror = find_mirror("http://elsewhere.invalid/debian")
    assert world.open(offline=True).find_package("hello") is not None
    with pytest.raises(ArchiveError, match="the store has no InRelease file of forky"):
        world.open(Wish(suites=("forky",), signed_by=world.wish.signed_by), offline=True)


def test_a_mirror_that_is_a_directory_is_read_without_a_network(world: World) -> None:
    world.mirror = find_mirror(str(world.archive.directory / "debian"))
    assert world.open(offline=True).find_package("hello") is not None
    assert world.server.requests == []
