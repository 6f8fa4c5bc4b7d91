"""Identity of a package from its control file, compared with the lock or index row that names it.

Bills, provenance and the search for security issues go by a row's name, version and source. A row
that says otherwise than the package itself would be repeated there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from minbuild.archive.model import Package
from minbuild.cache.kinds import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.facts.process_pool import find_verified_deb, label_package
from minbuild.formats.deb import open_deb


@dataclass(frozen=True, slots=True)
class PackageIdentity:
    """What a control file says of name, version, architecture and source."""

    name: str
    version: str
    arch: str
    source: str
    """"" where it is the package's own name."""
    source_version: str
    """"" where it is the package's own version."""


def parse_identity(fields: Mapping[str, str]) -> PackageIdentity:
    """Take it from a control file's fields, names in lower case. Source: Debian Policy 5.6.1."""
    source, _, version = fields.get("source", "").partition(" ")
    return PackageIdentity(
        fields.get("package", ""),
        fields.get("version", ""),
        fields.get("architecture", ""),
        source,
        version.strip("() "),
    )


def store_identity(sha256: str, identity: PackageIdentity, store: Store) -> None:
    """Keep what a package's control file says."""
    values = [
        identity.name,
        identity.version,
        identity.arch,
        identity.source,
        identity.source_version,
    ]
    store.put(RecordKind.CONTROL, {sha256: json.dumps(values).encode()})


def has_identity(package: Package, store: Store) -> bool:
    """Whether the store knows what the control file says."""
    return store.get(RecordKind.CONTROL, package.sha256) is not None


def check_identity(package: Package, store: Store) -> None:
    """Refuse a package that is another one than the row that names it says.

    Raises: ArchiveError, also when the package is not in the store and was never read.
    """
    record = store.get(RecordKind.CONTROL, package.sha256)
    if record is not None:
        identity = PackageIdentity(*json.loads(record))
    else:
        with open_deb(find_verified_deb(package, store), label_package(package)) as deb:
            identity = parse_identity(deb.read_control())
        store_identity(package.sha256, identity, store)
    mismatches = [
        f"{field.replace('_', ' ')} {actual or 'its own'}, not {expected or 'its own'}"
        for field, actual, expected in _pair_fields(identity, package)
        if actual != expected
    ]
    if mismatches:
        raise ArchiveError(
            f"the package is another one than its row says: its control file has {'; '.join(mismatches)}",
            where=label_package(package),
            fix="make the lock anew (minbuild lock MANIFEST --update), or use another mirror; "
            "whoever wrote this row was wrong",
        )


def _pair_fields(identity: PackageIdentity, package: Package) -> tuple[tuple[str, str, str], ...]:
    """Each field as the control file and as the row has it; what is said twice counts once."""
    source = identity.source if identity.source != identity.name else ""
    row_source = package.source if package.source != package.name else ""
    version = identity.source_version if identity.source_version != identity.version else ""
    row_version = package.source_version if package.source_version != package.version else ""
    return (
        ("name", identity.name, package.name),
        ("version", identity.version, package.version),
        ("architecture", identity.arch, package.arch),
        ("source", source, row_source),
        ("source_version", version, row_version),
    )
