"""Mirrors of Debian's archive: from the command line, the environment, the config file or apt."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from minbuild.archive.apt_sources import AptSource, expand_addresses, read_apt_sources
from minbuild.archive.http_request import (
    APT,
    add_apt_directory,
    hide_credentials,
    strip_credentials,
)
from minbuild.archive.model import detect_machine_architecture
from minbuild.config import find_config_file, load_config
from minbuild.errors import ArchiveError

DEBIAN = "debian"
SECURITY = "debian-security"

_FIX = (
    "name a Debian mirror, an address that ends in /debian: --mirror URL, or MINBUILD_MIRROR=URL, "
    'or mirror = "URL" in {config}'
)
_ADDRESS = re.compile(
    r"(?:mirror\+)?(?:https?://(?:[^/@\s]*@)?[^/@\s?#]+(?:/[^\s?#]*)?|file:/+[^/\s?#][^\s?#]*)"
)
_SAFE = "/+~:@!$&'()*,;="
"""Characters that a path needs no quoting for, besides letters, digits, - . _. Source: RFC 3986, 3.3."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Addresses of Debian's repositories, without a trailing slash or password.

    `debian` is `http://MIRROR/debian`, `security` the repository debian-security next to it.
    """

    debian: str
    security: str
    configured_by: str
    """Its source: `--mirror`, `MINBUILD_MIRROR`, or the path of a file."""
    repositories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Name of another archive → its addresses, best first."""
    debian_alternates: tuple[str, ...] = ()
    """Further mirrors of `debian`, best first."""
    security_alternates: tuple[str, ...] = ()
    """Further mirrors of `security`, best first."""

    def build_url(self, repository: str, path: str) -> str:
        """Return the address of a file at the first mirror; see `build_urls`."""
        return self.build_urls(repository, path)[0]

    def build_urls(self, repository: str, path: str) -> tuple[str, ...]:
        """Return the addresses of a file in a repository, one for each mirror, best first.

        `repository` is `debian`, `debian-security`, or the name of another archive. Mirrors that
        do not separate debian-security have its suites in `debian`.
        Raises: ArchiveError for an archive without a mirror.
        """
        if repository == DEBIAN:
            trees: Sequence[str] = (self.debian, *self.debian_alternates)
        elif repository == SECURITY:
            trees = (self.security, *self.security_alternates, self.debian)
        elif repository in self.repositories:
            trees = self.repositories[repository]
        else:
            raise ArchiveError(
                f"no mirror is configured for archive {repository} (needed for {path})",
                where="the lock",
                fix=f"name it in the manifest: archives: [{{name: {repository}, …}}], "
                "or lock its packages from another archive: minbuild lock --update",
            )
        return tuple(dict.fromkeys(f"{tree}/{quote(path, safe=_SAFE)}" for tree in trees))


def is_local(url: str) -> bool:
    """Whether an address is a local file, which needs no network."""
    return url.startswith("file:")


def repository_of(suite: str, archive: str = "") -> str:
    """Return the repository of a suite: debian-security for trixie-security, or the archive's name."""
    if archive:
        return archive
    return SECURITY if suite.rstrip("/").endswith(("-security", "/updates")) else DEBIAN


def build_mirror(
    addresses: Sequence[str], configured_by: str, repositories: Mapping[str, Sequence[str]]
) -> Mirror:
    """Build a mirror from addresses; `configured_by` is their source.

    Raises: ArchiveError for an invalid address.
    """
    return replace(
        _resolve_mirror(addresses, (), configured_by, find_config_file()), repositories=repositories
    )


def resolve_repository_urls(
    addresses: Sequence[str], configured_by: str, *, arch: str = "", offline: bool = False
) -> tuple[str, ...]:
    """Return the addresses of another archive, without a trailing slash. Raises: ArchiveError."""
    arch = arch or detect_machine_architecture()
    urls = _expand_addresses(addresses, configured_by, find_config_file(), arch, offline=offline)
    return tuple(strip_credentials(url) for url in urls)


def split_addresses(text: str | Sequence[str]) -> tuple[str, ...]:
    """Split addresses that are separated by blanks or commas, from one text or several."""
    addresses: list[str] = []
    for part in (text,) if isinstance(text, str) else text:
        addresses += re.split(r"[\s,]+(?=(?:mirror\+)?(?:https?://|file:)|/)", part.strip())
    return tuple(part for part in addresses if part)


def find_mirror(
    command_line: str | Sequence[str],
    *,
    arch: str = "",
    offline: bool = False,
    environment: Mapping[str, str] | None = None,
    apt: Path = APT,
) -> Mirror:
    """Find the mirror: --mirror, $MINBUILD_MIRROR, the config file, then apt's sources.

    `arch` is the architecture of the packages, "" for this machine's: apt sources can be limited
    to some. Raises: ArchiveError if there is no mirror, or an invalid address.
    """
    environment = os.environ if environment is None else environment
    add_apt_directory(apt)
    config = find_config_file(environment)
    arch = arch or detect_machine_architecture()
    for addresses, source in (
        (split_addresses(command_line), "--mirror"),
        (split_addresses(environment.get("MINBUILD_MIRROR", "")), "MINBUILD_MIRROR"),
    ):
        if addresses:
            return _resolve_mirror(addresses, (), source, config, arch, offline=offline)
    user_config = load_config(config)
    if user_config.mirror:
        debian, security = (
            split_addresses(user_config.mirror),
            split_addresses(user_config.security_mirror),
        )
        return _resolve_mirror(debian, security, str(config), config, arch, offline=offline)
    return _read_apt_mirror(apt, config, arch, offline=offline)


def _resolve_mirror(
    debian: Sequence[str],
    security: Sequence[str],
    source: str,
    config: Path,
    arch: str = "",
    *,
    offline: bool = False,
) -> Mirror:
    first = _expand_addresses(debian, source, config, arch, offline=offline)
    second = _expand_addresses(security, source, config, arch, offline=offline) or [
        _derive_security_url(url) for url in first
    ]
    first = [strip_credentials(url) for url in first]
    second = [strip_credentials(url) for url in second]
    return Mirror(
        first[0],
        second[0],
        source,
        debian_alternates=tuple(first[1:]),
        security_alternates=tuple(second[1:]),
    )


def _derive_security_url(debian: str) -> str:
    """Return the address of debian-security next to a mirror's `debian`."""
    parts = debian.split("/")
    for number in range(len(parts) - 1, 2, -1):
        if parts[number] == DEBIAN:
            return "/".join([*parts[:number], SECURITY, *parts[number + 1 :]])
    return f"{debian}-security"


def _expand_addresses(
    addresses: Sequence[str], source: str, config: Path, arch: str, *, offline: bool
) -> list[str]:
    """Return the addresses with mirror lists expanded. Raises: ArchiveError."""
    normalised = [_normalise_address(address, source, config) for address in addresses]
    urls = expand_addresses(normalised, arch, (), offline=offline)
    if normalised and not urls:
        raise ArchiveError(
            "the mirror list has no usable mirror",
            where=f"{source}: {', '.join(map(hide_credentials, normalised))}",
            fix=_FIX.format(config=config),
        )
    return urls


def _normalise_address(text: str, source: str, config: Path) -> str:
    if text.startswith("/"):
        return Path(text).as_uri()
    if not _ADDRESS.fullmatch(text):
        raise ArchiveError(
            f"not a mirror address: {hide_credentials(text)!r}",
            where=source,
            fix=_FIX.format(config=config),
        )
    return text.rstrip("/")


def _read_apt_mirror(apt: Path, config: Path, arch: str, *, offline: bool) -> Mirror:
    sources = [source for source in read_apt_sources(apt, arch) if source.is_debian]
    debian = [source for source in sources if not source.is_security]
    first = _expand_sources(debian, arch, offline=offline)
    if not first:
        raise ArchiveError(
            f"no Debian mirror for {arch} in the apt sources of this machine",
            where=str(apt),
            fix=_FIX.format(config=config),
        )
    security = [source for source in sources if source.is_security]
    second = _expand_sources(security, arch, offline=offline)
    return _resolve_mirror(first, second, debian[0].file, config)


def _expand_sources(sources: Sequence[AptSource], arch: str, *, offline: bool) -> list[str]:
    urls = [
        address
        for source in sources
        for address in expand_addresses(source.addresses, arch, source.suites, offline=offline)
    ]
    return list(dict.fromkeys(urls))
