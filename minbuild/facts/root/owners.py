"""Which package of a root each of its files belongs to, from the root's own database."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from minbuild.facts.deb import alternatives
from minbuild.facts.root import rpm as databases
from minbuild.facts.root.types import Found, Program
from minbuild.paths import RootPath, rootpath

STATUS = "var/lib/dpkg/status"
STATUS_D = "var/lib/dpkg/status.d/"
INFO = "var/lib/dpkg/info/"
DIVERSIONS = "var/lib/dpkg/diversions"

DATABASES = ("var/lib/dpkg/", *(f"{place}/" for place in databases.PLACES))
"""All that is read to learn whose files are whose lies below these."""

Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Owner:
    """One installed package."""

    name: str
    version: str
    arch: str
    paths: tuple[RootPath, ...]
    depends: tuple[tuple[str, ...], ...] = ()
    provides: tuple[str, ...] = ()
    kind: str = "deb"
    """deb, rpm."""
    source: str = ""
    """Source package, when it has another name."""
    source_version: str = ""
    """Its version, when that differs."""


def owners(found: Mapping[str, Found], read: Read, rpm: Program | None = None) -> tuple[Owner, ...]:
    """The packages that a root says it has, by the first database there is; () without one.

    `found`: by raw path; `rpm`: None where there is none.
    Raises: ToolError when the database is damaged, or only rpm reads it and there is none.
    """
    if STATUS in found or any(raw.startswith(STATUS_D) for raw in found):
        return tuple(_dpkg(found, read))
    return databases.rpm(found, read, rpm)


def _dpkg(found: Mapping[str, Found], read: Read) -> Iterator[Owner]:
    """Source: dpkg(1), FILES; deb-control(5)."""
    diverted = _diverted(_text(found, read, DIVERSIONS))
    for fields, listing in (*_installed(found, read), *_distroless(found, read)):
        name, arch = fields["package"], fields.get("architecture", "")
        source, _, source_version = fields.get("source", "").partition(" ")
        paths = [rootpath(line) for line in listing if line not in ("", "/.")]
        yield Owner(
            name=name,
            version=fields.get("version", ""),
            arch=arch,
            paths=tuple(_actual(path, name, diverted) for path in paths),
            depends=alternatives(fields.get("pre-depends", ""))
            + alternatives(fields.get("depends", "")),
            provides=tuple(group[0] for group in alternatives(fields.get("provides", ""))),
            source=source,
            source_version=source_version.strip("()"),
        )


def _installed(
    found: Mapping[str, Found], read: Read
) -> Iterator[tuple[dict[str, str], list[str]]]:
    for fields in _paragraphs(_text(found, read, STATUS)):
        if not fields.get("status", "").endswith(" installed"):
            continue
        name = fields["package"]
        for label in (name, f"{name}:{fields.get('architecture', '')}"):
            if f"{INFO}{label}.list" in found:
                yield fields, _text(found, read, f"{INFO}{label}.list").splitlines()
                break


def _distroless(
    found: Mapping[str, Found], read: Read
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Images without dpkg keep one paragraph a file, and md5sums for a list."""
    for raw in sorted(found):
        if raw.startswith(STATUS_D) and not raw.endswith(".md5sums"):
            sums = _text(found, read, f"{raw}.md5sums").splitlines()
            for fields in _paragraphs(_text(found, read, raw)):
                yield fields, [line.partition("  ")[2] for line in sums]


def _diverted(text: str) -> dict[RootPath, tuple[RootPath, str]]:
    """From → (to, the package that keeps its own file there). Source: dpkg-divert(1)."""
    lines = text.splitlines()
    rows = zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    return {rootpath(before): (rootpath(after), package) for before, after, package in rows}


def _actual(
    path: RootPath, package: str, diverted: Mapping[RootPath, tuple[RootPath, str]]
) -> RootPath:
    to, keeper = diverted.get(path, (path, package))
    return path if package == keeper else to


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields with lower-case names; of a continued field the first line and its rest, joined."""
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += " " + line.strip()
                continue
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()
        if "package" in fields:
            yield fields


def _text(found: Mapping[str, Found], read: Read, raw: str) -> str:
    return read(raw).decode("utf-8", "replace") if raw in found else ""
