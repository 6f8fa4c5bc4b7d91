from pathlib import Path

import pytest

from minbuild.archive.mirror import Mirror, find_mirror, repository_of
from minbuild.errors import ArchiveError
from tests.support.server import serve


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
    assert found.configured_by.endswith("debian.sources")
    assert found.build_url("debian-security", "x/y") == "http://sec.example/debian-security/x/y"
    assert found.build_url("debian", "x/y") == "http://one.example/debian/x/y"


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
    with pytest.raises(ArchiveError, match="no Debian mirror for") as caught:
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
    assert (found.debian, found.configured_by) == ("http://given.example/debian", "--mirror")


def test_the_security_tree_lies_beside_the_given_one(tmp_path: Path) -> None:
    snapshot = find(tmp_path, "http://x.example/archive/debian/20260101T000000Z/")
    assert snapshot.security == "http://x.example/archive/debian-security/20260101T000000Z"
    local = find(tmp_path, "/srv/debian")
    assert (local.debian, local.security) == ("file:///srv/debian", "file:///srv/debian-security")


@pytest.mark.parametrize("address", ["example", "ftp://x.example/debian", "http://", "a b"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ArchiveError, match="not a mirror address"):
        find(tmp_path, address)


@pytest.mark.parametrize("text", ["mirror = ", 'miror = "http://x.example/debian"', "mirror = 3"])
def test_a_wrong_config_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArchiveError, match="the config file") as caught:
        find(tmp_path, config=text)
    assert caught.value.where.endswith("minbuild/config.toml")


def test_security_suites_have_a_tree_of_their_own() -> None:
    suites = ["trixie-security", "trixie", "trixie-updates"]
    assert [repository_of(suite) for suite in suites] == ["debian-security", "debian", "debian"]


def one_line(address: str, options: str = "", suites: str = "trixie main") -> str:
    return f"deb {f'[{options}] ' if options else ''}{address} {suites}\n"


@pytest.mark.parametrize(
    ("options", "arch", "taken"),
    [
        ("arch=arm64", "amd64", False),
        ("arch=amd64,arm64", "amd64", True),
        ("arch=arm64", "arm64", True),
        ("arch+=riscv64", "amd64", True),
        ("arch-=amd64", "amd64", False),
        ("arch=amd64 arch-=amd64", "amd64", False),
        ("arch=arm64 arch+=amd64", "amd64", True),
        ("signed-by=/k.gpg arch=arm64 trusted=yes", "amd64", False),
    ],
)
@pytest.mark.parametrize("deb822", [True, False])
def test_sources_for_other_architectures_are_passed_over(
    tmp_path: Path, options: str, arch: str, taken: bool, deb822: bool
) -> None:
    first = one_line("http://first.example/debian", options)
    if deb822:
        names = {"arch": "Architectures", "arch+": "Architectures-Add",
                 "arch-": "Architectures-Remove", "signed-by": "Signed-By", "trusted": "Trusted"}  # fmt: skip
        rows = "".join(
            f"{names[word.rpartition('=')[0]]}: {word.rpartition('=')[2].replace(',', ' ')}\n"
            for word in options.split()
        )
        first = (
            "Types: deb\nURIs: http://first.example/debian\nSuites: trixie\nComponents: main\n"
            f"{rows}"
        )
    folder = tmp_path / "apt" / "sources.list.d"
    folder.mkdir(parents=True)
    (folder / f"a.{'sources' if deb822 else 'list'}").write_text(first)
    (folder / "b.list").write_text(one_line("http://second.example/debian"))
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    found = find_mirror("", arch=arch, environment=environment, apt=tmp_path / "apt")
    assert found.debian == f"http://{'first' if taken else 'second'}.example/debian"
    assert ("http://first.example/debian" in found.debian_alternates) is False


LIST = """\
# mirrors of ours
http://none.example/debian
https://third.example/debian\tpriority:3
http://second.example/debian/ priority:2\tarch:arm64 arch:amd64
http://arm.example/debian\tpriority:1 arch:arm64
http://forky.example/debian\tpriority:1\tcodename:forky
ftp://old.example/debian\tpriority:1
file:/srv/debian\tpriority:4
"""


@pytest.mark.parametrize("uri", ["mirror+file:%s", "mirror+file://%s"])
def test_mirrors_of_a_list_come_by_priority(tmp_path: Path, uri: str) -> None:
    (tmp_path / "list").write_text(LIST)
    line = one_line(uri % (tmp_path / "list"), suites="trixie trixie-updates main")
    found = find(tmp_path, a_list=line)
    assert (found.debian, *found.debian_alternates) == (
        "http://second.example/debian",
        "https://third.example/debian",
        "file:///srv/debian",
        "http://none.example/debian",
    )
    assert found.build_urls("debian-security", "x")[:2] == (
        "http://second.example/debian-security/x",
        "https://third.example/debian-security/x",
    )


def test_a_mirror_list_is_fetched_from_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    (tmp_path / "debian.list").write_text(LIST)
    with serve(tmp_path) as server:
        line = one_line(f"mirror+{server.url}/debian.list", suites="trixie main")
        assert find(tmp_path, a_list=line.replace("trixie main", "trixie-updates main")).debian == (
            "http://second.example/debian"
        )
        assert find(tmp_path, f"mirror+{server.url}/debian.list").debian == (
            "http://second.example/debian"
        )
        asked = len(server.requests)
        offline = find_mirror(f"mirror+{server.url}/debian.list", offline=True)
        assert (offline.debian, len(server.requests)) == (f"{server.url}/debian.list", asked)


def test_several_mirrors_are_named_by_option_environment_config_and_apt(tmp_path: Path) -> None:
    one, two = "http://one.example/debian", "http://two.example/debian"
    config = f'mirror = ["{one}", "{two}"]\n'
    ways = [
        find(tmp_path, f"{one} {two}"),
        find(tmp_path, f"{one},{two}"),
        find_mirror([one, two]),
        find_mirror([f"{one}, {two}"]),
        find_mirror("", environment={"MINBUILD_MIRROR": f"{one} {two}", "HOME": "/nonexistent"}),
        find(tmp_path, config=config),
    ]
    for found in ways:
        assert found.build_urls("debian", "x") == (f"{one}/x", f"{two}/x")
        assert found.build_urls("debian-security", "x")[:2] == tuple(
            f"{address}-security/x" for address in (one, two)
        )


def test_the_uris_of_a_source_are_mirrors_of_each_other(tmp_path: Path) -> None:
    (tmp_path / "config" / "minbuild" / "config.toml").unlink(missing_ok=True)
    found = find(tmp_path, a_sources=SOURCES.replace("one.example/debian/", "one.example/debian http://two.example/debian"))  # fmt: skip
    assert found.build_urls("debian", "x") == (
        "http://one.example/debian/x",
        "http://two.example/debian/x",
    )
