"""Names of published hosts."""

from pathlib import Path

import pytest

from minbuild.distribution.reference import parse_reference
from minbuild.errors import UsageError

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("registry.example.net/hosts/rack:7", "registry.example.net", "hosts/rack", "7"),
        ("localhost:5000/rack", "localhost:5000", "rack", "latest"),
        ("[::1]:5000/rack:v1.2", "[::1]:5000", "rack", "v1.2"),
        (f"ghcr.io/a/b-c/d_e@{DIGEST}", "ghcr.io", "a/b-c/d_e", DIGEST),
    ],
)
def test_a_reference_is_registry_name_and_tag(
    text: str, host: str, repository: str, tag: str
) -> None:
    found = parse_reference(text)
    assert (found.host, found.repository, found.tag) == (host, repository, tag)
    assert found.name == repository.rsplit("/", maxsplit=1)[-1]
    assert str(parse_reference(str(found))) == str(found)


@pytest.mark.parametrize(
    ("text", "directory", "tag"),
    [("oci:dir", "dir", "latest"), ("oci:/srv/a:7", "/srv/a", "7"), ("oci:a:b/c", "a:b/c", "latest")],
)  # fmt: skip
def test_a_layout_is_a_directory_and_a_tag(text: str, directory: str, tag: str) -> None:
    found = parse_reference(text)
    assert (found.layout, found.tag) == (Path(directory), tag)


@pytest.mark.parametrize(
    "text",
    ["", "rack", "library/rack:7", "reg.example.net/Rack", "reg.example.net/../x", "oci:", "oci::7",
     "reg.example.net/rack:", "http://reg.example.net/rack", "reg.example.net/rack@sha256:1"],
)  # fmt: skip
def test_what_names_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        parse_reference(text)


def test_docker_hub_answers_under_another_name() -> None:
    assert parse_reference("docker.io/me/rack:1").api_host == "registry-1.docker.io"
