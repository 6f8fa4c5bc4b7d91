"""Where Debian's packages come from on this machine: which mirror, and who said so."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from minbuild.config import config_file, load_config
from minbuild.errors import ArchiveError

DEBIAN = "debian"
SECURITY = "debian-security"

_RELEASE = (
    r"(?:bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)"
)
_SUITE = re.compile(rf"{_RELEASE}(?:-updates|-security|-backports|-proposed-updates|/updates)?/?")
_FIX = (
    "name a Debian mirror, an address that ends in /debian: --mirror URL, or MINBUILD_MIRROR=URL, "
    'or mirror = "URL" in {config}'
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Addresses of the two trees of Debian's archive, without a slash at the end."""

    debian: str
    security: str
    source: str
    """Who named it: `--mirror`, `MINBUILD_MIRROR`, a file."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Trees of other archives: their names and addresses."""

    def url(self, root: str, path: str) -> str:
        """Address of a file below a tree: `debian`, `debian-security`, another archive's name.

        Raises: ArchiveError for an archive that nobody named.
        """
        if root in {DEBIAN, SECURITY}:
            return _joined(self.security if root == SECURITY else self.debian, path)
        if root not in self.others:
            raise ArchiveError(
                f"nobody says where the archive {root} lies, which has {path}",
                where="the lock",
                fix=f"name it in the manifest: archives: [{{name: {root}, …}}], "
                "or take its packages from elsewhere: minbuild lock --update",
            )
        return _joined(self.others[root], path)


def _joined(tree: str, path: str) -> str:
    return f"{tree}/{quote(path) if tree.startswith('file:') else path}"


def root_of(suite: str, archive: str = "") -> str:
    """Which tree holds a suite: the archive's own, or debian-security for trixie-security."""
    if archive:
        return archive
    return SECURITY if suite.endswith(("-security", "/updates")) else DEBIAN


def named(address: str, source: str, others: Mapping[str, str]) -> Mirror:
    """The mirror at one address, nothing else asked; `source` says who named it.

    Raises: ArchiveError when it is no address.
    """
    return replace(_mirror(address, "", source, config_file()), others=others)


def tree(address: str, source: str) -> str:
    """Another archive's address, without a slash at its end. Raises: ArchiveError."""
    return _address(address, source, config_file())


def find_mirror(
    given: str, *, environment: Mapping[str, str] | None = None, apt: Path = Path("/etc/apt")
) -> Mirror:
    """Find the mirror: as given, $MINBUILD_MIRROR, the user's config file, then apt's sources.

    Raises: ArchiveError when none is known or what is known makes no sense.
    """
    environment = os.environ if environment is None else environment
    config = config_file(environment)
    for address, source in (
        (given, "--mirror"),
        (environment.get("MINBUILD_MIRROR", ""), "MINBUILD_MIRROR"),
    ):
        if address:
            return _mirror(address, "", source, config)
    configured = load_config(config)
    if configured.mirror:
        return _mirror(configured.mirror, configured.security_mirror, str(config), config)
    return _of_apt(apt, config)


def _mirror(address: str, security: str, source: str, config: Path) -> Mirror:
    debian = _address(address, source, config)
    if security:
        return Mirror(debian, _address(security, source, config), source)
    parts = debian.split("/")
    for number in range(len(parts) - 1, 2, -1):
        if parts[number] == DEBIAN:
            beside = "/".join([*parts[:number], SECURITY, *parts[number + 1 :]])
            return Mirror(debian, beside, source)
    return Mirror(debian, f"{debian}-security", source)


def _address(text: str, source: str, config: Path) -> str:
    if text.startswith("/"):
        return Path(text).as_uri()
    if not re.fullmatch(r"(?:https?://[^/\s]+|file:///)\S*", text):
        raise ArchiveError(
            f"this is no address of a mirror: {text!r}",
            where=source,
            fix=_FIX.format(config=config),
        )
    return text.rstrip("/")


@dataclass(frozen=True, slots=True)
class _Source:
    """One address of apt's sources."""

    address: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str
    file: str

    @property
    def debian(self) -> bool:
        """It looks like an archive of Debian itself, not of somebody's packages for Debian."""
        if "main" not in self.components or not self.suites:
            return False
        if not all(_SUITE.fullmatch(suite) for suite in self.suites):
            return False
        own = "debian-archive" in self.signed_by
        path = re.sub(r"^[^:]+://[^/]*", "", self.address).rstrip("/")
        updates = any(suite.endswith("-updates") for suite in self.suites)
        return own or path in {"/debian", "/debian-security"} or updates

    @property
    def security(self) -> bool:
        return all(root_of(suite.rstrip("/")) == SECURITY for suite in self.suites)


def _of_apt(apt: Path, config: Path) -> Mirror:
    sources = [source for source in _sources(apt) if source.debian]
    debian = [source for source in sources if not source.security]
    if not debian:
        raise ArchiveError(
            "no Debian mirror is known: this machine's apt sources name none",
            where=str(apt),
            fix=_FIX.format(config=config),
        )
    first = debian[0]
    security = next((source.address for source in sources if source.security), "")
    return _mirror(first.address, security, first.file, config)


def _sources(apt: Path) -> Iterator[_Source]:
    """Every source that is not disabled, as apt reads them. Source: sources.list(5)."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in {".list", ".sources"}:
            continue
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        found = _stanzas(text) if file.suffix == ".sources" else _lines(text)
        for fields in found:
            yield from _entries(fields, file)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a deb822 file, field names in small letters."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", lines):
        unfolded = re.sub(r"\n[ \t]+", " ", stanza)
        rows = (line.partition(":") for line in unfolded.splitlines())
        yield {key.strip().lower(): value.strip() for key, _, value in rows}


def _lines(text: str) -> Iterator[dict[str, str]]:
    """One-line entries: `deb [signed-by=…] URI SUITE COMPONENT…`, as a stanza's fields."""
    for line in text.splitlines():
        match = re.match(r"(deb)\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if match:
            options = dict(word.partition("=")[::2] for word in (match[2] or "").split())
            yield {
                "types": match[1],
                "uris": match[3],
                "suites": match[4],
                "components": match[5],
                "signed-by": options.get("signed-by", ""),
            }


def _entries(fields: Mapping[str, str], file: Path) -> Iterator[_Source]:
    enabled = fields.get("enabled", "yes").lower() not in {"no", "false", "off", "0", "without"}
    if not enabled or "deb" not in fields.get("types", "").split():
        return
    for uri in _addresses(fields.get("uris", "").split()):
        yield _Source(
            uri.rstrip("/"),
            tuple(fields.get("suites", "").split()),
            tuple(fields.get("components", "").split()),
            fields.get("signed-by", ""),
            str(file),
        )


def _addresses(uris: Iterable[str]) -> Iterator[str]:
    """Addresses that can be read; a mirror list of this machine gives its first one."""
    for uri in uris:
        if uri.startswith("mirror+file:"):
            try:
                lines = Path("/" + uri.removeprefix("mirror+file:").lstrip("/")).read_text()
            except OSError:
                continue
            yield from [line.split()[0] for line in lines.splitlines() if line.startswith("http")][
                :1
            ]
        elif uri.startswith(("http://", "https://", "file:/")):
            yield uri.replace("file:/", "file:///", 1) if not uri.startswith("file://") else uri
