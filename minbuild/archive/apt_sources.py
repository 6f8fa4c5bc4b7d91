"""Apt sources and mirror lists: addresses of Debian's archive, best first."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minbuild.archive.http_client import fetch_small
from minbuild.archive.http_request import strip_credentials

_RELEASE = (
    r"(?:bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)"
)
_SUITE = re.compile(rf"{_RELEASE}(?:-updates|-security|-backports|-proposed-updates|/updates)?/?")
_FALSE = frozenset({"no", "false", "off", "0", "without", "disable"})
_LOWEST_PRIORITY = 1 << 31
"""The priority of a mirror without one in the list."""
_MAX_LIST_SIZE = 1 << 20
"""Bytes of a mirror list."""
_READABLE_SCHEMES = ("http://", "https://", "file:/")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One entry of apt's sources: `deb http://MIRROR/debian trixie main`."""

    addresses: tuple[str, ...]
    """As written, mirror lists included."""
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str
    file: str
    urls: tuple[str, ...]
    """The addresses, with local mirror lists expanded."""

    @property
    def is_debian(self) -> bool:
        """Whether this looks like an archive of Debian itself, not a third party's."""
        if "main" not in self.components or not self.suites:
            return False
        if not all(_SUITE.fullmatch(suite) for suite in self.suites):
            return False
        has_debian_key = "debian-archive" in self.signed_by
        paths = {re.sub(r"^[^:]+://[^/]*", "", url).rstrip("/") for url in self.urls}
        updates = any(suite.endswith("-updates") for suite in self.suites)
        return has_debian_key or bool(paths & {"/debian", "/debian-security"}) or updates

    @property
    def is_security(self) -> bool:
        """Whether all of its suites are in the security archive."""
        return all(suite.rstrip("/").endswith(("-security", "/updates")) for suite in self.suites)


def read_apt_sources(apt: Path, arch: str) -> Iterator[AptSource]:
    """Yield every enabled source for an architecture, in apt's order.

    Source: sources.list(5).
    """
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix not in {".list", ".sources"}:
            continue
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        for fields in (
            _parse_deb822(text) if file.suffix == ".sources" else _parse_one_line_entries(text)
        ):
            if source := _build_source(fields, file, arch):
                yield source


def _parse_deb822(text: str) -> Iterator[dict[str, str]]:
    """Yield the stanzas of a deb822 file, field names in lower case."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", lines):
        unfolded = re.sub(r"\n[ \t]+", " ", stanza)
        rows = (line.partition(":") for line in unfolded.splitlines())
        yield {key.strip().lower(): value.strip() for key, _, value in rows}


_OPTIONS = {
    "arch": "architectures",
    "arch+": "architectures-add",
    "arch-": "architectures-remove",
    "signed-by": "signed-by",
}
"""Option of a one-line entry → field of a stanza."""


def _parse_one_line_entries(text: str) -> Iterator[dict[str, str]]:
    """Yield one-line entries, `deb [arch=…] URI SUITE COMPONENT…`, as fields of a stanza."""
    for line in text.splitlines():
        match = re.match(r"(deb)\s+(?:\[(.*?)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if match:
            matches = (re.fullmatch(r"([^=]+?)=(.*)", word) for word in (match[2] or "").split())
            options = {word[1]: word[2].strip('"') for word in matches if word}
            yield {
                "types": match[1],
                "uris": match[3],
                "suites": match[4],
                "components": match[5],
                **{field: options[key] for key, field in _OPTIONS.items() if key in options},
            }


def _split_list(fields: Mapping[str, str], key: str) -> list[str]:
    return fields.get(key, "").replace(",", " ").split()


def _build_source(fields: Mapping[str, str], file: Path, arch: str) -> AptSource | None:
    """Convert a stanza; None if it is disabled, has no packages, or is for another architecture."""
    if fields.get("enabled", "yes").lower() in _FALSE or "deb" not in _split_list(fields, "types"):
        return None
    if not _is_for_architecture(fields, arch):
        return None
    uris = [uri.replace("$(ARCH)", arch) for uri in fields.get("uris", "").split()]
    suites = [suite.replace("$(ARCH)", arch) for suite in fields.get("suites", "").split()]
    return AptSource(
        tuple(uris),
        tuple(suites),
        tuple(_split_list(fields, "components")),
        fields.get("signed-by", ""),
        str(file),
        tuple(expand_addresses(uris, arch, suites, offline=True)),
    )


def _is_for_architecture(fields: Mapping[str, str], arch: str) -> bool:
    architectures = _split_list(fields, "architectures") or [arch]
    architectures += _split_list(fields, "architectures-add")
    return arch in architectures and arch not in _split_list(fields, "architectures-remove")


def expand_addresses(
    addresses: Iterable[str], arch: str, suites: Iterable[str], *, offline: bool
) -> list[str]:
    """Return usable addresses, best first, with mirror lists replaced by their mirrors.

    `offline`: the address of a remote list is returned as it is.
    Raises: ArchiveError for a mirror list that cannot be downloaded.
    """
    urls: list[str] = []
    for uri in addresses:
        if uri.startswith("mirror+"):
            urls += _read_mirror_list(uri.removeprefix("mirror+"), arch, [*suites], offline=offline)
        elif uri.startswith("mirror://"):
            urls += _read_mirror_list(
                f"http{uri.removeprefix('mirror')}", arch, [*suites], offline=offline
            )
        elif uri.startswith(_READABLE_SCHEMES):
            urls.append(_normalise_url(uri))
    return list(dict.fromkeys(urls))


def _normalise_url(uri: str) -> str:
    url = f"file:///{uri.removeprefix('file:').lstrip('/')}" if uri.startswith("file:") else uri
    return url.rstrip("/")


def _read_mirror_list(uri: str, arch: str, suites: list[str], *, offline: bool) -> list[str]:
    """Return the mirrors of a list by priority. Source: apt-transport-mirror(1)."""
    if uri.startswith("file:"):
        path = Path("/" + unquote(urlsplit(uri).path or uri.removeprefix("file:")).lstrip("/"))
        try:
            text = path.read_text(errors="replace")
        except OSError:
            return []
    elif offline or not uri.startswith(_READABLE_SCHEMES):
        return [uri] if uri.startswith(_READABLE_SCHEMES) else []
    else:
        text = _download_mirror_list(strip_credentials(uri))
    rows = [row for line in text.splitlines() if (row := _parse_mirror_line(line, arch, suites))]
    return [address for _, address in sorted(rows, key=lambda row: row[0])]


@functools.cache
def _download_mirror_list(uri: str) -> str:
    """Download a mirror list, once a run. Raises: ArchiveError."""
    return fetch_small(uri, purpose="the mirror list", limit=_MAX_LIST_SIZE).decode(
        "utf-8", "replace"
    )


def _parse_mirror_line(line: str, arch: str, suites: list[str]) -> tuple[int, str] | None:
    """Parse priority and address; None for a comment or a mirror of other suites."""
    fields = line.split()
    if not fields or not fields[0].startswith(_READABLE_SCHEMES):
        return None
    options: dict[str, list[str]] = {}
    for key, _, value in (word.partition(":") for word in fields[1:]):
        options.setdefault(key, []).append(value)
    if arch not in options.get("arch", [arch]):
        return None
    only_suites = [*options.get("suite", ()), *options.get("codename", ())]
    if only_suites and not {*only_suites} & {*suites}:
        return None
    number = options.get("priority", [""])[0]
    return (int(number) if number.isdecimal() else _LOWEST_PRIORITY), _normalise_url(fields[0])
