"""What a package's control file says it is, held against what names it: a lock or an index.

Bills, provenance and the search for security issues go by a row's name, version and source. A row
that says otherwise than the package itself would be repeated there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from minbuild.archive.types import Package
from minbuild.errors import ArchiveError
from minbuild.store import Store

KIND = "control/1"
"""SHA-256 of a .deb → what its control file says it is."""


@dataclass(frozen=True, slots=True)
class Control:
    """What a control file says of name, version, architecture and source."""

    name: str
    version: str
    arch: str
    source: str
    """"" where it is the package's own name."""
    source_version: str
    """"" where it is the package's own version."""


def control_of(fields: Mapping[str, str]) -> Control:
    """Take it from a control file's fields, names in lower case. Source: Debian Policy 5.6.1."""
    source, _, version = fields.get("source", "").partition(" ")
    return Control(
        fields.get("package", ""),
        fields.get("version", ""),
        fields.get("architecture", ""),
        source,
        version.strip("() "),
    )


def keep_control(sha256: str, found: Control, store: Store) -> None:
    """Keep what a package's control file says."""
    words = [found.name, found.version, found.arch, found.source, found.source_version]
    store.put(KIND, {sha256: json.dumps(words).encode()})


def has_control(package: Package, store: Store) -> bool:
    """Whether the store knows what the control file says."""
    return store.get(KIND, package.sha256) is not None


def check_control(package: Package, store: Store) -> None:
    """Refuse a package that is another one than the row that names it says.

    Raises: ArchiveError, also when the package is not in the store and nobody has looked into it.
    """
    kept = store.get(KIND, package.sha256)
    if kept is not None:
        found = Control(*json.loads(kept))
    else:
        from minbuild.facts.deb import opened
        from minbuild.facts.pool import label, place

        with opened(place(package, store), label(package)) as deb:
            found = control_of(deb.control())
        keep_control(package.sha256, found, store)
    wrong = [
        f"{field.replace('_', ' ')} {own or 'its own'}, not {told or 'its own'}"
        for field, own, told in _pairs(found, package)
        if own != told
    ]
    if wrong:
        from minbuild.facts.pool import label

        raise ArchiveError(
            f"the package is another one than its row says: its control file has {'; '.join(wrong)}",
            where=label(package),
            fix="make the lock anew (minbuild lock MANIFEST --update), or use another mirror; "
            "whoever wrote this row was wrong",
        )


def _pairs(found: Control, package: Package) -> tuple[tuple[str, str, str], ...]:
    """Each field as the control file and as the row has it; what is said twice counts once."""
    own = found.source if found.source != found.name else ""
    told = package.source if package.source != package.name else ""
    version = found.source_version if found.source_version != found.version else ""
    row_version = package.source_version if package.source_version != package.version else ""
    return (
        ("name", found.name, package.name),
        ("version", found.version, package.version),
        ("architecture", found.arch, package.arch),
        ("source", own, told),
        ("source_version", version, row_version),
    )
