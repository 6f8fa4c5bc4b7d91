"""Passwords of registries, as docker and podman keep them."""

import base64
import json
from pathlib import Path

import pytest

from minbuild.distribution.registry_credentials import Credentials, find_credentials
from minbuild.errors import ArchiveError, ToolError

HOST = "registry.example.net"


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "PATH": str(tmp_path)}


def test_without_a_file_there_are_none(env: dict[str, str]) -> None:
    assert find_credentials(HOST, "rack", env) is None


def test_podman_s_file_of_the_session_wins_over_docker_s(tmp_path: Path, env: dict[str, str]) -> None:  # fmt: skip
    write(tmp_path / ".docker" / "config.json", {"auths": {HOST: auth("docker", "d")}})
    assert find_credentials(HOST, "rack", env) == Credentials("docker", "d")
    write(tmp_path / "run/containers/auth.json", {"auths": {HOST: auth("podman", "p:q")}})
    assert find_credentials(HOST, "rack", env) == Credentials("podman", "p:q")


def test_a_file_that_is_named_is_the_only_one(tmp_path: Path, env: dict[str, str]) -> None:
    write(tmp_path / ".docker" / "config.json", {"auths": {HOST: auth("docker", "d")}})
    write(tmp_path / "mine", {"auths": {}})
    assert find_credentials(HOST, "rack", env | {"REGISTRY_AUTH_FILE": str(tmp_path / "mine")}) is None  # fmt: skip


def test_the_entry_of_the_longest_path_wins(tmp_path: Path, env: dict[str, str]) -> None:
    auths = {HOST: auth("all", "1"), f"{HOST}/hosts": auth("hosts", "2"), f"{HOST}/hosts/rack7": auth("no", "3")}  # fmt: skip
    write(tmp_path / ".config/containers/auth.json", {"auths": auths})
    assert find_credentials(HOST, "hosts/rack", env) == Credentials("hosts", "2")
    assert find_credentials(HOST, "other", env) == Credentials("all", "1")
    assert find_credentials("other.example.net", "hosts/rack", env) is None


def test_docker_hub_has_a_name_of_its_own(tmp_path: Path, env: dict[str, str]) -> None:
    key = "https://index.docker.io/v1/"
    write(tmp_path / ".docker" / "config.json", {"auths": {key: auth("me", "x")}})
    assert find_credentials("docker.io", "me/rack", env) == Credentials("me", "x")


def write_helper(path: Path, answer: str, code: int = 0) -> None:
    path.write_text(f"#!/bin/sh\nread -r key || :\necho \"$1 $key\" >> {path}.log\nprintf '%s' '{answer}'\nexit {code}\n")  # fmt: skip
    path.chmod(0o755)


@pytest.mark.parametrize(
    "document", [{"credHelpers": {HOST: "vault"}}, {"credsStore": "vault", "auths": {HOST: {}}}]
)
def test_a_helper_is_asked_for_the_registry(
    tmp_path: Path, env: dict[str, str], document: object
) -> None:
    write(tmp_path / ".docker" / "config.json", document)
    helper = tmp_path / "docker-credential-vault"
    write_helper(helper, '{"ServerURL": "x", "Username": "u", "Secret": "s"}')
    env["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    assert find_credentials(HOST, "rack", env) == Credentials("u", "s")
    assert Path(f"{helper}.log").read_text() == f"get {HOST}\n"
    write_helper(helper, '{"Username": "<token>", "Secret": "t"}')
    assert find_credentials(HOST, "rack", env) == Credentials("", "", "t")


def test_a_helper_that_fails_or_is_not_there_is_told(tmp_path: Path, env: dict[str, str]) -> None:
    write(tmp_path / ".docker" / "config.json", {"credHelpers": {HOST: "vault"}})
    with pytest.raises(ToolError, match="docker-credential-vault"):
        find_credentials(HOST, "rack", env)
    write_helper(tmp_path / "docker-credential-vault", "not found", code=1)
    with pytest.raises(ToolError, match="exit code 1"):
        find_credentials(HOST, "rack", env | {"PATH": f"{tmp_path}:/usr/bin:/bin"})


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"registry.example.net": {"auth": "%%"}}}'])
def test_a_damaged_file_is_told(tmp_path: Path, env: dict[str, str], text: str) -> None:
    path = tmp_path / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ArchiveError, match="password"):
        find_credentials(HOST, "rack", env)


def test_a_helper_s_name_is_no_path(tmp_path: Path, env: dict[str, str]) -> None:
    write(tmp_path / ".docker" / "config.json", {"credHelpers": {HOST: "../../bin/sh"}})
    with pytest.raises(ArchiveError, match="no word"):
        find_credentials(HOST, "rack", env)
