"""Users and passwords of registries, from the files of docker and podman and their helpers.

Source: containers-auth.json(5); Docker CLI, config.json, credential helpers protocol.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbuild.errors import ArchiveError
from minbuild.file_io import read_regular_text
from minbuild.process import run_program

MAX_FILE_SIZE = 1 << 20
_DOCKER_HUB_KEYS = ("docker.io", "https://index.docker.io/v1/", "index.docker.io")
_TOKEN_USER = "<token>"
"""What a helper gives as the user of an identity token."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry is told of its user."""

    user: str
    password: str
    identity_token: str = ""
    """In place of a password: traded for a token by OAuth 2. Source: docker registry token."""


def list_auth_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where credentials are looked for, the first that knows the registry wins."""
    home = Path(environment.get("HOME") or "~").expanduser()
    if environment.get("REGISTRY_AUTH_FILE"):
        return (Path(environment["REGISTRY_AUTH_FILE"]),)
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    return (
        Path(runtime, "containers", "auth.json"),
        config / "containers" / "auth.json",
        docker / "config.json",
    )


def find_credentials(
    host: str, repository: str, environment: Mapping[str, str]
) -> Credentials | None:
    """Find the credentials for a repository; None where no file has any.

    The entry of the longest path that the repository lies below wins over that of the registry.
    Raises: ArchiveError for a file that cannot be read; ToolError for a helper that fails.
    """
    keys = list(_list_keys(host, repository))
    for path in list_auth_files(environment):
        document = _read_file(path)
        credentials = _find_in_file(document, keys, str(path), environment)
        if credentials is not None:
            return credentials
    return None


def _list_keys(host: str, repository: str) -> Iterator[str]:
    """The keys of a repository, the closest first. Source: containers-auth.json(5), FORMAT."""
    words = repository.split("/")
    for count in range(len(words), 0, -1):
        yield "/".join([host, *words[:count]])
    yield from _DOCKER_HUB_KEYS if host == "docker.io" else (host, f"https://{host}")


def _read_file(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(read_regular_text(path, MAX_FILE_SIZE))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, ValueError) as error:
        raise _make_error(str(error), str(path)) from error
    if not isinstance(document, dict):
        raise _make_error("it is no mapping", str(path))
    return document


def _find_in_file(
    document: Mapping[str, Any], keys: list[str], where: str, environment: Mapping[str, str]
) -> Credentials | None:
    helpers, auths = document.get("credHelpers") or {}, document.get("auths") or {}
    for key in keys:
        if key in helpers:
            return _ask_helper(str(helpers[key]), key, environment)
        entry = auths.get(key)
        if isinstance(entry, dict) and (entry.get("auth") or entry.get("identitytoken")):
            return _decode_entry(entry, where)
    store = document.get("credsStore")
    listed = next((key for key in keys if key in auths), None)
    if store and listed is not None:
        return _ask_helper(str(store), listed, environment)
    return None


def _decode_entry(entry: Mapping[str, Any], where: str) -> Credentials:
    try:
        text = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _make_error("an auth is not base64", where) from error
    user, _, password = text.partition(":")
    return Credentials(user, password.rstrip("\0"), str(entry.get("identitytoken") or ""))


def _ask_helper(name: str, key: str, environment: Mapping[str, str]) -> Credentials | None:
    """Run docker-credential-NAME get. Source: docker-credential-helpers, "Usage"."""
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise _make_error(f"the helper's name is no word: {name}", key)
    program = f"docker-credential-{name}"
    places = [Path(folder, program) for folder in environment.get("PATH", "").split(":") if folder]
    path = next((place for place in places if os.access(place, os.X_OK)), Path(program))
    answer = run_program(
        [path, "get"], purpose=f"asking for the password of {key}", stdin=key.encode(),
        env=environment,
    )  # fmt: skip
    try:
        document = json.loads(answer)
        user, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise _make_error("the helper's answer is no JSON with Username and Secret", program) from error  # fmt: skip
    return Credentials("", "", secret) if user == _TOKEN_USER else Credentials(user, secret)


def _make_error(problem: str, where: str) -> ArchiveError:
    return ArchiveError(
        f"cannot take the registry's password: {problem}", where=where,
        fix="log in again: podman login REGISTRY, or docker login REGISTRY",
    )  # fmt: skip
