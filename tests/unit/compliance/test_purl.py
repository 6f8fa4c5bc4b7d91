"""Package URLs: what the specification's own library reads and writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL

from minbuild.archive.model import Package
from minbuild.compliance.built_image import make_purl


def package(
    name: str,
    version: str,
    place: str = "pool/x.deb",
    suite: str = "",
    source: tuple[str, str] = ("", ""),
) -> Package:
    return Package(name, version, "amd64", "", place, 0, "", suite, *source)


FEDORA = "installed/rpm/fedora"


@pytest.mark.parametrize(
    ("one", "url"),
    [
        (
            package("attr", "1:2.4.47-2+b1"),
            "deb/debian/attr@1:2.4.47-2%2Bb1?arch=amd64&distro=debian",
        ),
        (
            package("libstdc++6", "14~rc1", suite="trixie-security"),
            "deb/debian/libstdc%2B%2B6@14~rc1?arch=amd64&distro=trixie",
        ),
        (
            package("libuuid1", "2.41-5+b1", source=("util-linux", "2.41-5+x")),
            "deb/debian/libuuid1@2.41-5%2Bb1?arch=amd64&distro=debian&upstream=util-linux%402.41-5%2Bx",
        ),
        (
            package("dpkg", "1.22", "installed/deb/ubuntu", "noble", ("dpkg", "1.21")),
            "deb/ubuntu/dpkg@1.22?arch=amd64&distro=noble",
        ),
        (
            package("Judy", "1:1.0^git-2.fc40", FEDORA, "40"),
            "rpm/fedora/Judy@1.0%5Egit-2.fc40?arch=amd64&distro=40&epoch=1",
        ),
        (package("zsh", "5.9-1", FEDORA), "rpm/fedora/zsh@5.9-1?arch=amd64&distro=fedora"),
    ],
)
def test_a_package_has_one_url(one: Package, url: str) -> None:
    assert make_purl(one) == f"pkg:{url}"


def test_files_of_no_package_have_a_url_without_a_version() -> None:
    assert make_purl(package("(unowned)", "", "installed/")) == "pkg:generic/unowned"


NAMES = st.text("abcxyz019+-._", min_size=1)
VERSIONS = st.text("abcxyz019+-._~^", min_size=1)


@given(
    name=NAMES,
    epoch=st.sampled_from(["", "0:", "12:"]),
    version=VERSIONS,
    place=st.sampled_from(["pool/x.deb", "installed/deb/ubuntu", FEDORA]),
    source=st.tuples(NAMES, VERSIONS | st.just("")),
)
def test_the_specification_s_library_reads_what_was_meant_and_writes_the_same(
    name: str, epoch: str, version: str, place: str, source: tuple[str, str]
) -> None:
    url = make_purl(package(name, epoch + version, place, source=source))
    read = PackageURL.from_string(url)
    assert read.to_string() == url
    rpm = place == FEDORA
    assert (read.name, read.version) == (name, version if rpm else epoch + version)
    assert isinstance(read.qualifiers, dict)
    assert read.qualifiers.get("epoch", "") == (epoch.rstrip(":") if rpm else "")
    if source[0] != name:
        assert read.qualifiers["upstream"] == "@".join(filter(None, source))
