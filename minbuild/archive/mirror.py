"""Where Debian's packages come from on this machine: which mirrors, and who said so."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from minbuild.archive.aptsources import AptSource, apt_sources, expand
from minbuild.archive.credentials import APT, hide, look_in, without_password
from minbuild.archive.machines import machine_architecture
from minbuild.config import config_file, load_config
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
    source: str
    """Who named it: `--mirror`, `MINBUILD_MIRROR`, a file."""
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Trees of other archives: their names and addresses, best first."""
    debians: tuple[str, ...] = ()
    """Further mirrors of the first tree, best first."""
    securities: tuple[str, ...] = ()
    """Further mirrors of the second tree, best first."""

    def url(self, root: str, path: str) -> str:
        """Address of a file at the first mirror; otherwise as `urls`."""
        return self.urls(root, path)[0]

    def urls(self, root: str, path: str) -> tuple[str, ...]:
        """Addresses of a file below a tree, one for each mirror, best first.

        `root` is `debian`, `debian-security`, or another archive's name; where debian-security is
        no tree of its own, its suites lie in the first one.
        Raises: ArchiveError for an archive that nobody named.
        """
        if root == DEBIAN:
            trees: Sequence[str] = (self.debian, *self.debians)
        elif root == SECURITY:
            trees = (self.security, *self.securities, self.debian)
        elif root in self.others:
            trees = self.others[root]
        else:
            raise ArchiveError(
                f"nobody says where the archive {root} lies, which has {path}",
                where="the lock",
                fix=f"name it in the manifest: archives: [{{name: {root}, …}}], "
                "or take its packages from elsewhere: minbuild lock --update",
            )
        return tuple(dict.fromkeys(f"{tree}/{quote(path, safe=_SAFE)}" for tree in trees))


def is_local(url: str) -> bool:
    """Whether an address is a file of this machine, which no network is asked for."""
    return url.startswith("file:")


def root_of(suite: str, archive: str = "") -> str:
    """Which tree holds a suite: the archive's own, or debian-security for trixie-security."""
    if archive:
        return archive
    return SECURITY if suite.rstrip("/").endswith(("-security", "/updates")) else DEBIAN


def named(addresses: Sequence[str], source: str, others: Mapping[str, Sequence[str]]) -> Mirror:
    """The mirrors at these addresses, nothing else asked; `source` says who named them.

    Raises: ArchiveError when one is no address.
    """
    return replace(_mirror(addresses, (), source, config_file()), others=others)


def trees(
    addresses: Sequence[str], source: str, *, arch: str = "", offline: bool = False
) -> tuple[str, ...]:
    """Another archive's addresses, without a slash at their ends. Raises: ArchiveError."""
    arch = arch or machine_architecture()
    found = _checked(addresses, source, config_file(), arch, offline=offline)
    return tuple(without_password(one) for one in found)


def several(text: str | Sequence[str]) -> tuple[str, ...]:
    """Addresses of one text or several, each alone or a list with blanks or commas between."""
    found: list[str] = []
    for one in (text,) if isinstance(text, str) else text:
        found += re.split(r"[\s,]+(?=(?:mirror\+)?(?:https?://|file:)|/)", one.strip())
    return tuple(one for one in found if one)


def find_mirror(
    given: str | Sequence[str],
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
    look_in(apt)
    config = config_file(environment)
    arch = arch or machine_architecture()
    for addresses, source in (
        (several(given), "--mirror"),
        (several(environment.get("MINBUILD_MIRROR", "")), "MINBUILD_MIRROR"),
    ):
        if addresses:
            return _mirror(addresses, (), source, config, arch, offline=offline)
    known = load_config(config)
    if known.mirror:
        debian, security = several(known.mirror), several(known.security_mirror)
        return _mirror(debian, security, str(config), config, arch, offline=offline)
    return _of_apt(apt, config, arch, offline=offline)


def _mirror(
    debian: Sequence[str],
    security: Sequence[str],
    source: str,
    config: Path,
    arch: str = "",
    *,
    offline: bool = False,
) -> Mirror:
    first = _checked(debian, source, config, arch, offline=offline)
    second = _checked(security, source, config, arch, offline=offline) or [
        _beside(one) for one in first
    ]
    first = [without_password(one) for one in first]
    second = [without_password(one) for one in second]
    return Mirror(
        first[0], second[0], source, debians=tuple(first[1:]), securities=tuple(second[1:])
    )


def _beside(debian: str) -> str:
    """Where the security archive lies beside a mirror's first tree."""
    parts = debian.split("/")
    for number in range(len(parts) - 1, 2, -1):
        if parts[number] == DEBIAN:
            return "/".join([*parts[:number], SECURITY, *parts[number + 1 :]])
    return f"{debian}-security"


def _checked(
    addresses: Sequence[str], source: str, config: Path, arch: str, *, offline: bool
) -> list[str]:
    """The addresses, mirror lists followed. Raises: ArchiveError."""
    checked = [_address(one, source, config) for one in addresses]
    found = expand(checked, arch, (), offline=offline)
    if checked and not found:
        raise ArchiveError(
            "the mirror list names no mirror that can be used",
            where=f"{source}: {', '.join(map(hide, checked))}",
            fix=_FIX.format(config=config),
        )
    return found


def _address(text: str, source: str, config: Path) -> str:
    if text.startswith("/"):
        return Path(text).as_uri()
    if not _ADDRESS.fullmatch(text):
        raise ArchiveError(
            f"this is no address of a mirror: {hide(text)!r}",
            where=source,
            fix=_FIX.format(config=config),
        )
    return text.rstrip("/")


def _of_apt(apt: Path, config: Path, arch: str, *, offline: bool) -> Mirror:
    sources = [source for source in apt_sources(apt, arch) if source.debian]
    debian = [source for source in sources if not source.security]
    first = _addresses(debian, arch, offline=offline)
    if not first:
        raise ArchiveError(
            f"no Debian mirror is known: this machine's apt sources name none for {arch}",
            where=str(apt),
            fix=_FIX.format(config=config),
        )
    security = [source for source in sources if source.security]
    second = _addresses(security, arch, offline=offline)
    return _mirror(first, second, debian[0].file, config)


def _addresses(sources: Sequence[AptSource], arch: str, *, offline: bool) -> list[str]:
    found = [
        address
        for source in sources
        for address in expand(source.addresses, arch, source.suites, offline=offline)
    ]
    return list(dict.fromkeys(found))
