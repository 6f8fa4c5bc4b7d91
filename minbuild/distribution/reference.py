"""Names of published hosts: REGISTRY/NAME:TAG, or oci:DIR:TAG for a layout on disk."""

import re
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import UsageError

LAYOUT_PREFIX = "oci:"
DEFAULT_TAG = "latest"
_DOCKER_HUB, _DOCKER_API = "docker.io", "registry-1.docker.io"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<host>[A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)"
    rf"/(?P<repository>{_PATH}(?:/{_PATH})*)"
    rf"(?:@(?P<digest>sha256:[0-9a-f]{{64}})|:(?P<tag>{_TAG}))?"
)
"""Source: OCI Distribution Specification 1.1, Pulling manifests."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A host in a registry or, with `layout`, in a directory."""

    host: str
    """Name and port of the registry; "" for a layout."""
    repository: str
    tag: str
    """A tag, or a digest."""
    layout: Path | None = None

    @property
    def name(self) -> str:
        """The last word of the repository: the host's name; "" for a layout."""
        return self.repository.rpartition("/")[2]

    @property
    def api_host(self) -> str:
        """The server that answers for the registry."""
        return _DOCKER_API if self.host == _DOCKER_HUB else self.host

    def __str__(self) -> str:
        mark = "@" if self.tag.startswith("sha256:") else ":"
        if self.layout is not None:
            return f"{LAYOUT_PREFIX}{self.layout}{mark}{self.tag}"
        return f"{self.host}/{self.repository}{mark}{self.tag}"


def parse_reference(text: str) -> Reference:
    """Parse what a user names. Raises: UsageError."""
    if text.startswith(LAYOUT_PREFIX):
        directory, mark, tag = text.removeprefix(LAYOUT_PREFIX).rpartition(":")
        if not mark or not re.fullmatch(_TAG, tag):
            directory, tag = text.removeprefix(LAYOUT_PREFIX), DEFAULT_TAG
        if not directory:
            raise _explain(text)
        return Reference("", "", tag, Path(directory))
    match = _REFERENCE.fullmatch(text)
    if match is None or not _is_host(match["host"]):
        raise _explain(text)
    return Reference(
        match["host"], match["repository"], match["digest"] or match["tag"] or DEFAULT_TAG
    )


def _is_host(text: str) -> bool:
    """A first word that is a server, as docker tells one from a part of the name."""
    return text == "localhost" or any(mark in text for mark in ".:[")


def _explain(text: str) -> UsageError:
    return UsageError(
        f"{text} names no host in a registry",
        fix="write REGISTRY/NAME:TAG (registry.example.net/hosts/rack:7), or oci:DIR:TAG",
    )
