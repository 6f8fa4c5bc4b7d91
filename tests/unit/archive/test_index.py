import dataclasses
import datetime as dt
from pathlib import Path

import pytest
from pysequoia import SignatureMode, Tsk, sign

from minbuild.archive.mirror import find_mirror
from minbuild.archive.openpgp import read_unverified
from minbuild.cache.records import RecordKind
from minbuild.errors import ArchiveError
from tests.support.deb import Deb
from tests.support.server import Fault
from tests.unit.archive.conftest import PACKAGES, World


def test_a_package_is_read_with_all_that_the_index_says(world: World) -> None:
    found = world.open().find_package("hello")
    assert found is not None
    assert (found.name, found.version, found.arch, found.suite) == (
        "hello",
        "2.0-1",
        "amd64",
        "trixie",
    )
    assert (found.source, found.source_version, found.root) == ("hello-src", "2.0", "debian")
    assert found.size == (world.archive.directory / "debian" / found.path).stat().st_size


def test_a_name_that_is_not_there_is_none_and_has_a_nearest_name(world: World) -> None:
    index = world.open()
    assert index.find_package("helo") is None
    assert index.find_depends("helo") == ()
    assert index.find_similar_name("helo") == "hello"
    assert index.find_similar_name("qqqq") == ""


def test_depends_are_names_with_alternatives_pre_depends_first(world: World) -> None:
    expected = (("base",), ("libhello1",), ("default-greeter", "greeter"))
    assert world.open().find_depends("hello") == expected


def test_providers_of_a_virtual_package_are_found(world: World) -> None:
    index = world.open()
    assert index.find_providers("greeter") == ("small-greeter",)
    assert index.find_providers("default-greeter") == ("small-greeter",)
    assert index.find_providers("hello") == ()


def test_the_newest_version_over_all_suites_counts(world: World) -> None:
    world.archive.publish("trixie-security", "Package: hello\nVersion: 2.0-1+deb13u1\n")
    world.archive.publish("trixie-updates", "Package: hello\nVersion: 2.0-1~rc1\n")
    suites = ("trixie", "trixie-updates", "trixie-security")
    index = world.open(dataclasses.replace(world.wish, suites=suites))
    found = index.find_package("hello")
    assert found is not None
    assert (found.version, found.root) == ("2.0-1+deb13u1", "debian-security")
    assert [suite.root for suite in index.suites] == ["debian", "debian", "debian-security"]
    assert index.find_depends("hello") == ()
    assert index.name == "trixie, trixie-updates, trixie-security"


def test_every_name_of_a_large_index_is_found(world: World) -> None:
    names = [f"lib{stem}{number}" for number in range(60) for stem in ("a", "a-", "b+", "c.")]
    world.archive.publish("trixie", [Deb(name, compression="") for name in names])
    index = world.open()
    for name in names:
        found = index.find_package(name)
        assert found is not None
        assert found.name == name
    assert index.find_names("lib") == tuple(sorted(names))
    assert index.find_package("liba0x") is None
    assert index.find_package("a") is None
    assert index.find_package("z") is None


def test_a_second_run_reads_only_the_inrelease(world: World) -> None:
    world.open().find_package("hello")
    world.server.requests.clear()
    assert world.open().find_package("hello") is not None
    assert world.server.requests == ["/debian/dists/trixie/InRelease"]


def test_by_hash_is_used_when_the_release_offers_it(world: World) -> None:
    world.open()
    assert any("/by-hash/SHA256/" in one for one in world.server.requests)
    world.archive.publish("trixie", "Package: new\n", by_hash=False)
    world.server.requests.clear()
    world.open()
    assert world.server.requests[-1].endswith("/main/binary-amd64/Packages.xz")


def test_a_file_mirror_serves_as_well(world: World) -> None:
    world.mirror = find_mirror(str(world.archive.directory / "debian"))
    assert world.open().find_package("hello") is not None
    assert world.server.requests == []


def test_offline_uses_what_the_last_run_left(world: World) -> None:
    world.open()
    world.server.requests.clear()
    assert world.open(offline=True).find_package("hello") is not None
    assert world.server.requests == []


def test_offline_with_an_empty_store_says_so(world: World) -> None:
    with pytest.raises(ArchiveError, match="the store has no InRelease file of trixie") as caught:
        world.open(offline=True)
    assert caught.value.exit_code == 4
    assert "--offline" in caught.value.fix


def test_a_suite_that_does_not_exist_is_named(world: World) -> None:
    with pytest.raises(ArchiveError, match="no suite trixy: the server answers 404") as caught:
        world.open(dataclasses.replace(world.wish, suites=("trixy",)))
    assert caught.value.where.endswith("/debian/dists/trixy/InRelease")


def test_a_component_that_does_not_exist_is_named(world: World) -> None:
    with pytest.raises(ArchiveError, match="trixie has no packages in contrib/binary-amd64"):
        world.open(dataclasses.replace(world.wish, components=("main", "contrib")))


def test_another_suites_release_is_refused(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, fields={"Suite": "old", "Codename": "bookworm"})
    with pytest.raises(
        ArchiveError, match="the mirror has the Release file of bookworm in place of trixie"
    ):
        world.open()


def test_a_signature_by_another_key_is_refused_with_the_key_named(world: World) -> None:
    other = Tsk.generate("Somebody else <else@example.org>")
    world.archive.publish("trixie", PACKAGES, key=other)
    with pytest.raises(
        ArchiveError, match=r"the signature cannot be trusted.*signed by [0-9A-F]{16}"
    ) as caught:
        world.open()
    assert caught.value.exit_code == 4
    assert caught.value.where.startswith("trixie: ")
    assert "signed-by" in caught.value.fix


def test_debians_keys_do_not_vouch_for_an_archive_of_ours(world: World) -> None:
    with pytest.raises(ArchiveError, match="trusted: Debian's archive keys"):
        world.open(dataclasses.replace(world.wish, signed_by=""))


def test_changed_content_is_refused(world: World) -> None:
    place = world.archive.directory / "debian/dists/trixie/InRelease"
    place.write_bytes(place.read_bytes().replace(b"Codename: trixie", b"Codename: trixia"))
    with pytest.raises(ArchiveError, match="the signature cannot be trusted"):
        world.open()


def test_an_archive_without_a_signature_is_refused_unless_it_is_trusted(world: World) -> None:
    world.archive.publish("trixie", PACKAGES, signed=False)
    with pytest.raises(ArchiveError, match="has no signature"):
        world.open()
    assert (
        world.open(dataclasses.replace(world.wish, trusted=True)).find_package("hello") is not None
    )
    assert any("not checked" in note for note in world.progress.notes)


def test_what_stands_around_the_signed_text_is_not_read(world: World) -> None:
    place = world.archive.directory / "debian/dists/trixie/InRelease"
    signed = place.read_bytes()
    place.write_bytes(signed + b"\nSuite: other\nSHA256:\n " + b"0" * 64 + b" 1 main/x/Packages\n")
    assert world.open().find_package("hello") is not None


def test_a_certificate_file_that_is_none_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nothing")
    with pytest.raises(ArchiveError, match="the certificate file") as caught:
        world.open(dataclasses.replace(world.wish, signed_by=str(tmp_path / "key")))
    assert caught.value.where == str(tmp_path / "key")


def test_an_expired_release_is_refused_unless_the_manifest_accepts_it(world: World) -> None:
    until = dt.datetime(2026, 1, 9, tzinfo=dt.UTC)
    world.archive.publish("trixie", PACKAGES, valid_until=until)
    late = int(until.timestamp()) + 1
    assert world.open(now=late - 1).find_package("hello") is not None
    with pytest.raises(ArchiveError, match="expired on 2026-01-09 00:00 UTC") as caught:
        world.open(now=late)
    assert "check-valid-until" in caught.value.fix
    wish = dataclasses.replace(world.wish, check_valid_until=False)
    assert world.open(wish, now=late).find_package("hello") is not None
    assert any("expired on" in note for note in world.progress.notes)


@pytest.mark.parametrize("fault", [Fault.FLIP, Fault.HTML, Fault.SHORT])
def test_an_index_that_is_not_what_the_release_says_is_refused(world: World, fault: Fault) -> None:
    (index,) = world.archive.directory.glob("debian/**/by-hash/SHA256/*")
    world.server.fail(index.name, fault, forever=True)
    with pytest.raises(ArchiveError, match="index of trixie is corrupt") as caught:
        world.open()
    assert index.name in caught.value.what
    assert caught.value.exit_code == 4


def test_a_half_updated_mirror_without_the_index_is_named(world: World) -> None:
    for place in world.archive.directory.glob("debian/**/Packages.xz"):
        place.unlink()
    for place in world.archive.directory.glob("debian/**/by-hash/SHA256/*"):
        place.unlink()
    with pytest.raises(ArchiveError, match="the mirror does not have the index of trixie"):
        world.open()


def test_an_index_larger_than_the_release_says_is_not_unpacked(world: World) -> None:
    inrelease = world.archive.directory / "debian/dists/trixie/InRelease"
    text = inrelease.read_text()
    (line,) = [one for one in text.splitlines() if one.endswith("main/binary-amd64/Packages")]
    small = line.replace(line.split()[1], "9", 1) if line.split()[1] != "9" else line
    inrelease.write_text(text.replace(line, small).split("\n\n", 1)[1].split("-----BEGIN PGP")[0])
    with pytest.raises(ArchiveError, match="unpacks to more than 9 bytes"):
        world.open(dataclasses.replace(world.wish, trusted=True))


@pytest.mark.parametrize(
    "damage",
    [
        {"SHA256": "zz"},
        {"Size": "many"},
        {"Filename": "../../etc/passwd"},
        {"Filename": "/etc/passwd"},
    ],
)
def test_an_index_that_says_something_impossible_is_refused(
    world: World, damage: dict[str, str]
) -> None:
    world.archive.publish("trixie", PACKAGES, damage=damage)
    with pytest.raises(ArchiveError, match="malformed entry of hello"):
        world.open().find_package("hello")


def test_a_damaged_compact_form_is_made_again(world: World) -> None:
    world.open()
    (digest,) = world.store.get_all(RecordKind.INDEX, "").values()
    place = world.store.path(digest.decode())
    assert place is not None
    data = bytearray(place.read_bytes())
    for damaged in (data[: len(data) // 2], b"", bytes(len(data)), bytes([data[0] ^ 1]) + data[1:]):
        place.chmod(0o644)
        place.write_bytes(damaged)
        found = world.open().find_package("hello")
        assert found is not None
        assert found.version == "2.0-1"


def test_a_mirror_that_nobody_serves_is_named(world: World) -> None:
    world.mirror = find_mirror("http://127.0.0.1:1/debian")
    with pytest.raises(
        ArchiveError, match="cannot get the InRelease of trixie: Connection refused"
    ) as caught:
        world.open()
    assert caught.value.where == "http://127.0.0.1:1/debian/dists/trixie/InRelease"
    assert "--mirror" in caught.value.fix


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_an_index_is_read_whatever_its_compression(world: World, ending: str) -> None:
    world.archive.publish("trixie", PACKAGES, ending=ending)
    assert world.open().find_package("hello") is not None


def test_packages_for_all_architectures_may_stand_apart(world: World) -> None:
    world.archive.publish(
        "trixie", "Package: everywhere\nArchitecture: all\n", folder="main/binary-all"
    )
    release = (world.archive.directory / "debian/dists/trixie/InRelease").read_text()
    apart = "\n".join(line for line in release.splitlines() if "binary-all/Packages" in line)
    world.archive.publish("trixie", PACKAGES)
    place = world.archive.directory / "debian/dists/trixie/InRelease"
    content = read_unverified(place.read_bytes()).decode().rstrip()
    whole = f"{content}\n{apart}\n"
    place.write_bytes(sign(world.archive.key.signer(), whole.encode(), mode=SignatureMode.CLEAR))
    index = world.open()
    assert index.find_package("everywhere") is not None
    assert index.find_package("hello") is not None


@pytest.mark.parametrize("field", ["Date: ", "SHA256:"])
def test_a_release_that_lacks_what_it_must_say_is_refused(world: World, field: str) -> None:
    place = world.archive.directory / "debian/dists/trixie/InRelease"
    content = read_unverified(place.read_bytes()).decode().replace(field, "X-Other: ")
    place.write_bytes(sign(world.archive.key.signer(), content.encode(), mode=SignatureMode.CLEAR))
    with pytest.raises(ArchiveError, match="malformed Release file"):
        world.open()


def test_a_page_of_a_captive_portal_is_no_inrelease(world: World) -> None:
    world.server.fail("/InRelease", Fault.HTML, forever=True)
    with pytest.raises(ArchiveError, match="has no signature") as caught:
        world.open()
    assert "login page" in caught.value.fix


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.TRUNCATE, Fault.REDIRECT])
def test_an_inrelease_that_comes_at_the_second_attempt_is_used(world: World, fault: Fault) -> None:
    world.server.fail("/InRelease", fault)
    assert world.open().find_package("hello") is not None
