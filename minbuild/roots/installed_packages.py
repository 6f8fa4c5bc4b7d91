"""Owners of the files in a root, from its dpkg or rpm database."""

from collections.abc import Callable, Iterator, Mapping

from minbuild.formats.deb import parse_alternatives
from minbuild.formats.root_entry import RootEntry
from minbuild.paths import RootPath, to_root_path
from minbuild.process import RunProgram
from minbuild.roots import rpm_database
from minbuild.roots.model import InstalledPackage

DPKG_STATUS = "var/lib/dpkg/status"
DPKG_STATUS_DIRECTORY = "var/lib/dpkg/status.d/"
DPKG_INFO = "var/lib/dpkg/info/"
DPKG_DIVERSIONS = "var/lib/dpkg/diversions"

DATABASE_DIRECTORIES = ("var/lib/dpkg/", *(f"{place}/" for place in rpm_database.RPM_DIRECTORIES))
"""All that is read to learn whose files are whose lies below these."""

ReadFile = Callable[[str], bytes]


def read_package_database(
    entries: Mapping[str, RootEntry], read: ReadFile, rpm: RunProgram | None = None
) -> tuple[InstalledPackage, ...]:
    """The packages that a root says it has, by the first database there is; () without one.

    `found`: by raw path; `rpm`: None where there is none.
    Raises: ToolError when the database is damaged, or only rpm reads it and there is none.
    """
    if DPKG_STATUS in entries or any(
        native_path.startswith(DPKG_STATUS_DIRECTORY) for native_path in entries
    ):
        return tuple(_read_dpkg(entries, read))
    return rpm_database.read_rpm_database(entries, read, rpm)


def _read_dpkg(entries: Mapping[str, RootEntry], read: ReadFile) -> Iterator[InstalledPackage]:
    """Source: dpkg(1), FILES; deb-control(5)."""
    diversions = _parse_diversions(_read_text(entries, read, DPKG_DIVERSIONS))
    for fields, listing in (*_list_installed(entries, read), *_list_distroless(entries, read)):
        name, arch = fields["package"], fields.get("architecture", "")
        source, _, source_version = fields.get("source", "").partition(" ")
        paths = [to_root_path(line) for line in listing if line not in ("", "/.")]
        yield InstalledPackage(
            name=name,
            version=fields.get("version", ""),
            arch=arch,
            paths=tuple(_resolve_diversion(path, name, diversions) for path in paths),
            depends=parse_alternatives(fields.get("pre-depends", ""))
            + parse_alternatives(fields.get("depends", "")),
            provides=tuple(group[0] for group in parse_alternatives(fields.get("provides", ""))),
            source=source,
            source_version=source_version.strip("()"),
        )


def _list_installed(
    entries: Mapping[str, RootEntry], read: ReadFile
) -> Iterator[tuple[dict[str, str], list[str]]]:
    for fields in _parse_paragraphs(_read_text(entries, read, DPKG_STATUS)):
        if not fields.get("status", "").endswith(" installed"):
            continue
        name = fields["package"]
        for label in (name, f"{name}:{fields.get('architecture', '')}"):
            if f"{DPKG_INFO}{label}.list" in entries:
                yield fields, _read_text(entries, read, f"{DPKG_INFO}{label}.list").splitlines()
                break


def _list_distroless(
    entries: Mapping[str, RootEntry], read: ReadFile
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Images without dpkg keep one paragraph a file, and md5sums for a list."""
    for native_path in sorted(entries):
        if native_path.startswith(DPKG_STATUS_DIRECTORY) and not native_path.endswith(".md5sums"):
            sums = _read_text(entries, read, f"{native_path}.md5sums").splitlines()
            for fields in _parse_paragraphs(_read_text(entries, read, native_path)):
                yield fields, [line.partition("  ")[2] for line in sums]


def _parse_diversions(text: str) -> dict[RootPath, tuple[RootPath, str]]:
    """From → (to, the package that keeps its own file there). Source: dpkg-divert(1)."""
    lines = text.splitlines()
    rows = zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    return {to_root_path(before): (to_root_path(after), package) for before, after, package in rows}


def _resolve_diversion(
    path: RootPath, package: str, diversions: Mapping[RootPath, tuple[RootPath, str]]
) -> RootPath:
    target, diverting_package = diversions.get(path, (path, package))
    return path if package == diverting_package else target


def _parse_paragraphs(text: str) -> Iterator[dict[str, str]]:
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


def _read_text(entries: Mapping[str, RootEntry], read: ReadFile, native_path: str) -> str:
    return read(native_path).decode("utf-8", "replace") if native_path in entries else ""
