from pathlib import Path

import pytest

from minbuild.archive.mirror import Mirror, find_mirror, root_of
from minbuild.errors import ArchiveError


def find(tmp_path: Path, given: str = "", *, config: str = "", **apt: str) -> Mirror:
    """Find a mirror on a machine with this config file and these files below /etc/apt."""
    folder = tmp_path / "apt" / "sources.list.d"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in apt.items():
        (folder / name.replace("_", ".")).write_text(text)
    place = tmp_path / "config" / "minbuild" / "config.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    if config:
        place.write_text(config)
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    return find_mirror(given, environment=environment, apt=tmp_path / "apt")


SOURCES = """
Types: deb deb-src
URIs: http://one.example/debian/
Suites: trixie trixie-updates
Components: main contrib

# a comment
Types: deb
URIs: http://sec.example/debian-security
Suites: trixie-security
Components: main
"""


def test_deb822_sources_name_both_trees(tmp_path: Path) -> None:
    found = find(tmp_path, debian_sources=SOURCES)
    assert (found.debian, found.security) == (
        "http://one.example/debian",
        "http://sec.example/debian-security",
    )
    assert found.source.endswith("debian.sources")
    assert found.url("debian-security", "x/y") == "http://sec.example/debian-security/x/y"
    assert found.url("debian", "x/y") == "http://one.example/debian/x/y"


def test_one_line_sources_are_read(tmp_path: Path) -> None:
    text = (
        "# deb http://off.example/debian trixie main\n"
        "deb-src http://src.example/debian trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian trixie main # yes\n"
        "deb http://one.example/debian-security trixie-security main\n"
    )
    found = find(tmp_path, a_list=text)
    assert (found.debian, found.security) == (
        "http://one.example/debian",
        "http://one.example/debian-security",
    )


def test_a_disabled_source_is_passed_over(tmp_path: Path) -> None:
    text = (
        "Enabled: no\nTypes: deb\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main\n"
    )
    found = find(tmp_path, a_sources=text, b_sources=SOURCES)
    assert found.debian == "http://one.example/debian"


@pytest.mark.parametrize(
    "line",
    [
        "deb http://x.example/ubuntu noble main",
        "deb http://x.example/linux/debian trixie stable",
        "deb http://x.example/apt stable main",
        "deb http://x.example/runner/debian trixie main",
        "deb http://x.example/debian nodistro main",
        "deb cdrom:[Debian]/ trixie main",
    ],
)
def test_archives_that_are_not_debians_are_passed_over(tmp_path: Path, line: str) -> None:
    with pytest.raises(ArchiveError, match="no Debian mirror is known") as caught:
        find(tmp_path, a_list=line)
    assert caught.value.exit_code == 4
    assert all(way in caught.value.fix for way in ("--mirror", "MINBUILD_MIRROR", "config.toml"))


def test_an_unusual_address_counts_when_debians_keys_sign_it(tmp_path: Path) -> None:
    line = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://x.example/deb trixie main"
    found = find(tmp_path, a_list=line)
    assert (found.debian, found.security) == (
        "https://x.example/deb",
        "https://x.example/deb-security",
    )


def test_a_mirror_list_of_the_machine_is_followed(tmp_path: Path) -> None:
    (tmp_path / "mirrors").write_text("# ours\nhttps://x.example/debian\tpriority:1\n")
    line = f"Types: deb\nURIs: mirror+file://{tmp_path}/mirrors\nSuites: trixie\nComponents: main\n"
    assert find(tmp_path, a_sources=line).debian == "https://x.example/debian"


def test_the_order_is_argument_environment_config_apt(tmp_path: Path) -> None:
    config = 'mirror = "http://config.example/debian"\nsecurity-mirror = "http://s.example/sec"\n'
    found = find(tmp_path, config=config, a_sources=SOURCES)
    assert (found.debian, found.security) == (
        "http://config.example/debian",
        "http://s.example/sec",
    )
    environment = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "MINBUILD_MIRROR": "http://environment.example/debian",
    }
    found = find_mirror("", environment=environment, apt=tmp_path / "apt")
    assert found.debian == "http://environment.example/debian"
    found = find_mirror(
        "http://given.example/debian/", environment=environment, apt=tmp_path / "apt"
    )
    assert (found.debian, found.source) == ("http://given.example/debian", "--mirror")


def test_the_security_tree_lies_beside_the_given_one(tmp_path: Path) -> None:
    snapshot = find(tmp_path, "http://x.example/archive/debian/20260101T000000Z/")
    assert snapshot.security == "http://x.example/archive/debian-security/20260101T000000Z"
    local = find(tmp_path, "/srv/debian")
    assert (local.debian, local.security) == ("file:///srv/debian", "file:///srv/debian-security")


@pytest.mark.parametrize("address", ["example", "ftp://x.example/debian", "http://", "a b"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ArchiveError, match="this is no address of a mirror"):
        find(tmp_path, address)


@pytest.mark.parametrize("text", ["mirror = ", 'miror = "http://x.example/debian"', "mirror = 3"])
def test_a_wrong_config_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArchiveError, match="the config file") as caught:
        find(tmp_path, config=text)
    assert caught.value.where.endswith("minbuild/config.toml")


def test_security_suites_have_a_tree_of_their_own() -> None:
    suites = ["trixie-security", "trixie", "trixie-updates"]
    assert [root_of(suite) for suite in suites] == ["debian-security", "debian", "debian"]
