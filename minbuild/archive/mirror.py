"""Where Debian's packages come from on this machine: which mirrors, and who said so."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from minbuild.archive.apt_sources import AptSource, expand_addresses, read_apt_sources
from minbuild.archive.http_access import APT, add_apt_directory, hide_credentials, strip_credentials
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
"""What stands in a path as it is, beside letters, digits, - . _. Source: RFC 3986, 3.3."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Addresses of the two trees of Debian's archive, without a slash at the end or a password."""

    debian: str
    security: str
    configured_by: str
    """Who named it: `--mirror`, `MINBUILD_MIRROR`, a file."""
    repositories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Trees of other archives: their names and addresses, best first."""
    debian_alternates: tuple[str, ...] = ()
    """Further mirrors of the first tree, best first."""
    security_alternates: tuple[str, ...] = ()
    """Further mirrors of the second tree, best first."""

    def build_url(self, repository: str, path: str) -> str:
        """Address of a file at the first mirror; otherwise as `urls`."""
        return self.build_urls(repository, path)[0]

    def build_urls(self, repository: str, path: str) -> tuple[str, ...]:
        """Addresses of a file below a tree, one for each mirror, best first.

        `root` is `debian`, `debian-security`, or another archive's name; where debian-security is
        no tree of its own, its suites lie in the first one.
        Raises: ArchiveError for an archive that nobody named.
        """
        if repository == DEBIAN:
            trees: Sequence[str] = (self.debian, *self.debian_alternates)
        elif repository == SECURITY:
            trees = (self.security, *self.security_alternates, self.debian)
        elif repository in self.repositories:
            trees = self.repositories[repository]
        else:
            raise ArchiveError(
                f"nobody says where the archive {repository} lies, which has {path}",
                where="the lock",
                fix=f"name it in the manifest: archives: [{{name: {repository}, …}}], "
                "or take its packages from elsewhere: minbuild lock --update",
            )
        return tuple(dict.fromkeys(f"{tree}/{quote(path, safe=_SAFE)}" for tree in trees))


def is_local(url: str) -> bool:
    """Whether an address is a file of this machine, which no network is asked for."""
    return url.startswith("file:")


def repository_of(suite: str, archive: str = "") -> str:
    """Which tree holds a suite: the archive's own, or debian-security for trixie-security."""
    if archive:
        return archive
    return SECURITY if suite.rstrip("/").endswith(("-security", "/updates")) else DEBIAN


def build_mirror(
    addresses: Sequence[str], configured_by: str, repositories: Mapping[str, Sequence[str]]
) -> Mirror:
    """The mirrors at these addresses, nothing else asked; `source` says who named them.

    Raises: ArchiveError when one is no address.
    """
    return replace(
        _resolve_mirror(addresses, (), configured_by, find_config_file()), repositories=repositories
    )


def resolve_repository_urls(
    addresses: Sequence[str], configured_by: str, *, arch: str = "", offline: bool = False
) -> tuple[str, ...]:
    """Another archive's addresses, without a slash at their ends. Raises: ArchiveError."""
    arch = arch or detect_machine_architecture()
    urls = _expand_addresses(addresses, configured_by, find_config_file(), arch, offline=offline)
    return tuple(strip_credentials(one) for one in urls)


def split_addresses(text: str | Sequence[str]) -> tuple[str, ...]:
    """Addresses of one text or several, each alone or a list with blanks or commas between."""
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
    """Find the mirrors: as given, $MINBUILD_MIRROR, the user's config file, then apt's sources.

    `arch` is that of the packages, "" for this machine's: apt's sources may be for others.
    Raises: ArchiveError when none is known or what is known makes no sense.
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
        _derive_security_url(one) for one in first
    ]
    first = [strip_credentials(one) for one in first]
    second = [strip_credentials(one) for one in second]
    return Mirror(
        first[0],
        second[0],
        source,
        debian_alternates=tuple(first[1:]),
        security_alternates=tuple(second[1:]),
    )


def _derive_security_url(debian: str) -> str:
    """Where the security archive lies beside a mirror's first tree."""
    parts = debian.split("/")
    for number in range(len(parts) - 1, 2, -1):
        if parts[number] == DEBIAN:
            return "/".join([*parts[:number], SECURITY, *parts[number + 1 :]])
    return f"{debian}-security"


def _expand_addresses(
    addresses: Sequence[str], source: str, config: Path, arch: str, *, offline: bool
) -> list[str]:
    """The addresses, mirror lists followed. Raises: ArchiveError."""
    normalised = [_normalise_address(one, source, config) for one in addresses]
    urls = expand_addresses(normalised, arch, (), offline=offline)
    if normalised and not urls:
        raise ArchiveError(
            "the mirror list names no mirror that can be used",
            where=f"{source}: {', '.join(map(hide_credentials, normalised))}",
            fix=_FIX.format(config=config),
        )
    return urls


def _normalise_address(text: str, source: str, config: Path) -> str:
    if text.startswith("/"):
        return Path(text).as_uri()
    if not _ADDRESS.fullmatch(text):
        raise ArchiveError(
            f"this is no address of a mirror: {hide_credentials(text)!r}",
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
            f"no Debian mirror is known: this machine's apt sources name none for {arch}",
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
