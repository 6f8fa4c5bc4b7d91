"""Apt's sources and mirror lists: which addresses of Debian's archive they name, and in what order."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minbuild.archive.credentials import without_password
from minbuild.archive.offers import get

_RELEASE = (
    r"(?:bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)"
)
_SUITE = re.compile(rf"{_RELEASE}(?:-updates|-security|-backports|-proposed-updates|/updates)?/?")
_FALSE = frozenset({"no", "false", "off", "0", "without", "disable"})
_LAST = 1 << 31
"""The priority of a mirror that a list gives none."""
_LARGEST = 1 << 20
"""Bytes of a mirror list."""
_READ = ("http://", "https://", "file:/")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One entry of apt's sources."""

    addresses: tuple[str, ...]
    """As they stand there: mirror lists, too."""
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str
    file: str
    known: tuple[str, ...]
    """The addresses, mirror lists of this machine followed."""

    @property
    def debian(self) -> bool:
        """It looks like an archive of Debian itself, not of somebody's packages for Debian."""
        if "main" not in self.components or not self.suites:
            return False
        if not all(_SUITE.fullmatch(suite) for suite in self.suites):
            return False
        own = "debian-archive" in self.signed_by
        paths = {re.sub(r"^[^:]+://[^/]*", "", one).rstrip("/") for one in self.known}
        updates = any(suite.endswith("-updates") for suite in self.suites)
        return own or bool(paths & {"/debian", "/debian-security"}) or updates

    @property
    def security(self) -> bool:
        """All of its suites are of the security archive."""
        return all(one.rstrip("/").endswith(("-security", "/updates")) for one in self.suites)


def apt_sources(apt: Path, arch: str) -> Iterator[AptSource]:
    """Every source that is enabled and meant for an architecture, as apt reads them.

    Source: sources.list(5).
    """
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix not in {".list", ".sources"}:
            continue
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        for fields in _stanzas(text) if file.suffix == ".sources" else _lines(text):
            if source := _source(fields, file, arch):
                yield source


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a deb822 file, field names in small letters."""
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
"""Options of one-line entries → the fields of stanzas that say the same."""


def _lines(text: str) -> Iterator[dict[str, str]]:
    """One-line entries, `deb [arch=… signed-by=…] URI SUITE COMPONENT…`, as a stanza's fields."""
    for line in text.splitlines():
        match = re.match(r"(deb)\s+(?:\[(.*?)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if match:
            words = (re.fullmatch(r"([^=]+?)=(.*)", word) for word in (match[2] or "").split())
            options = {word[1]: word[2].strip('"') for word in words if word}
            yield {
                "types": match[1],
                "uris": match[3],
                "suites": match[4],
                "components": match[5],
                **{field: options[key] for key, field in _OPTIONS.items() if key in options},
            }


def _words(fields: Mapping[str, str], key: str) -> list[str]:
    return fields.get(key, "").replace(",", " ").split()


def _source(fields: Mapping[str, str], file: Path, arch: str) -> AptSource | None:
    """A stanza as a source; None when it is disabled, has no packages, or is for other machines."""
    if fields.get("enabled", "yes").lower() in _FALSE or "deb" not in _words(fields, "types"):
        return None
    if not _meant(fields, arch):
        return None
    uris = [uri.replace("$(ARCH)", arch) for uri in fields.get("uris", "").split()]
    suites = [suite.replace("$(ARCH)", arch) for suite in fields.get("suites", "").split()]
    return AptSource(
        tuple(uris),
        tuple(suites),
        tuple(_words(fields, "components")),
        fields.get("signed-by", ""),
        str(file),
        tuple(expand(uris, arch, suites, offline=True)),
    )


def _meant(fields: Mapping[str, str], arch: str) -> bool:
    named = _words(fields, "architectures") or [arch]
    named += _words(fields, "architectures-add")
    return arch in named and arch not in _words(fields, "architectures-remove")


def expand(
    addresses: Iterable[str], arch: str, suites: Iterable[str], *, offline: bool
) -> list[str]:
    """Addresses that can be read, best first; a mirror list gives those that it names.

    `offline`: a list that is not on this machine stands for itself, and is never asked.
    Raises: ArchiveError for a mirror list that cannot be had.
    """
    found: list[str] = []
    for uri in addresses:
        if uri.startswith("mirror+"):
            found += _listed(uri.removeprefix("mirror+"), arch, [*suites], offline=offline)
        elif uri.startswith("mirror://"):
            found += _listed(f"http{uri.removeprefix('mirror')}", arch, [*suites], offline=offline)
        elif uri.startswith(_READ):
            found.append(_plain(uri))
    return list(dict.fromkeys(found))


def _plain(uri: str) -> str:
    whole = f"file:///{uri.removeprefix('file:').lstrip('/')}" if uri.startswith("file:") else uri
    return whole.rstrip("/")


def _listed(uri: str, arch: str, suites: list[str], *, offline: bool) -> list[str]:
    """The mirrors of a list, by their priorities. Source: apt-transport-mirror(1)."""
    if uri.startswith("file:"):
        path = Path("/" + unquote(urlsplit(uri).path or uri.removeprefix("file:")).lstrip("/"))
        try:
            text = path.read_text(errors="replace")
        except OSError:
            return []
    elif offline or not uri.startswith(_READ):
        return [uri] if uri.startswith(_READ) else []
    else:
        text = _asked(without_password(uri))
    rows = [row for line in text.splitlines() if (row := _row(line, arch, suites))]
    return [address for _, address in sorted(rows, key=lambda row: row[0])]


@functools.cache
def _asked(uri: str) -> str:
    """A server's mirror list, asked once in a run. Raises: ArchiveError."""
    return get(uri, what="the mirror list", limit=_LARGEST).decode("utf-8", "replace")


def _row(line: str, arch: str, suites: list[str]) -> tuple[int, str] | None:
    """The priority and address of a list's line; None for a comment or a mirror for others."""
    words = line.split()
    if not words or not words[0].startswith(_READ):
        return None
    told: dict[str, list[str]] = {}
    for key, _, value in (word.partition(":") for word in words[1:]):
        told.setdefault(key, []).append(value)
    if arch not in told.get("arch", [arch]):
        return None
    named = [*told.get("suite", ()), *told.get("codename", ())]
    if named and not {*named} & {*suites}:
        return None
    number = told.get("priority", [""])[0]
    return (int(number) if number.isdecimal() else _LAST), _plain(words[0])
