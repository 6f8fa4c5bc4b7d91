"""A software bill of materials in CycloneDX 1.6; the one door to cyclonedx-python-lib."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from minbuild import __version__
from minbuild.archive.types import Package
from minbuild.errors import ToolError
from minbuild.escape import dump
from minbuild.supply.licence import UNKNOWN
from minbuild.supply.purl import purl
from minbuild.supply.shipment import Shipment

if TYPE_CHECKING:
    from datetime import datetime

    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import LicenseExpression

SUPPLIER = "Debian"
EXTRA = "install the extra: pip install 'minbuild[sbom]'"


def supplier(package: Package) -> str:
    """Who gave a package; the distribution by the name that it has for itself."""
    distribution = package.installed[1] if package.installed else "debian"
    return SUPPLIER if distribution == "debian" else distribution


def cyclonedx(shipment: Shipment, licences: Mapping[str, tuple[str, ...]]) -> str:
    """Write the bill: every package that has a file in the image, with its files.

    `licences` gives a package's SPDX expressions. The same image gives the same bytes.
    Raises: ToolError when the extra is not installed.
    """
    try:
        return rendered(bill(shipment, licences))
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=EXTRA) from error


def rendered(bom: "Bom") -> str:
    """A bill as text; the library keeps occurrences in a set, so they are sorted here."""
    from cyclonedx.output.json import JsonV1Dot6

    document = json.loads(JsonV1Dot6(bom).output_as_string())
    for component in document.get("components", ()):
        found = component.get("evidence", {}).get("occurrences", [])
        found.sort(key=lambda one: one["location"])
    return dump(document, sort=True)


def bill(shipment: Shipment, licences: Mapping[str, tuple[str, ...]]) -> "Bom":
    """The bill as the library's object: the image at its root, each package, what is made here."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    footprint = shipment.footprint
    root = Component(
        name=footprint.name,
        version=footprint.kernel or None,
        type=ComponentType.FIRMWARE,
        bom_ref=f"image:{footprint.name}",
    )
    packages = {
        package.name: _package(package, shipment, licences.get(package.name, ()))
        for package in shipment.packages
    }
    bom = Bom(components=packages.values(), serial_number=_serial(shipment))
    bom.metadata.timestamp = _moment(shipment.lock.epoch)
    bom.metadata.component = root
    bom.metadata.tools.components.add(
        Component(name="minbuild", version=__version__, type=ComponentType.APPLICATION)
    )
    bom.register_dependency(root, packages.values())
    for name, others in needs(shipment).items():
        bom.register_dependency(packages[name], [packages[other] for other in sorted(others)])
    return bom


def needs(shipment: Shipment) -> dict[str, set[str]]:
    """Which package needs which, by the needs between their files; sorted by name."""
    owner = {row.path: row.package for row in shipment.footprint.files}
    found: dict[str, set[str]] = {package.name: set() for package in shipment.packages}
    for need in shipment.footprint.edges:
        by, to = owner.get(need.by, ""), owner.get(need.path, "")  # type: ignore[call-overload]
        if by in found and to in found and by != to:
            found[by].add(to)
    return found


def _package(package: Package, shipment: Shipment, licences: tuple[str, ...]) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
    from cyclonedx.model.contact import OrganizationalEntity
    from packageurl import PackageURL

    known = [name for name in licences if name != UNKNOWN]
    rows = shipment.files[package.name]
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"deb:{package.name}",
        purl=PackageURL.from_string(purl(package)),
        supplier=OrganizationalEntity(name=supplier(package)),
        # of what is installed only the files are known, not the package that brought them
        hashes=[]
        if package.installed
        else [HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)],
        licenses=_licences(known),
        evidence=ComponentEvidence(occurrences=[Occurrence(location=row.path) for row in rows]),
        properties=[
            Property(name=f"minbuild:file:{row.path}", value=f"sha256:{row.sha256}") for row in rows
        ],
    )


def _licences(known: list[str]) -> "list[LicenseExpression]":
    """One expression for all that the copyright file names; nothing where it names none."""
    from cyclonedx.model.license import LicenseExpression

    if not known:
        return []
    parts = [f"({one})" if " OR " in one and len(known) > 1 else one for one in known]
    return [LicenseExpression(" AND ".join(parts))]


def _serial(shipment: Shipment) -> uuid.UUID:
    """A serial number that follows from the image: version 8 of RFC 9562."""
    parts = [f"{row.path} {row.sha256} {row.mode}" for row in shipment.footprint.files]
    raw = bytearray(hashlib.sha256("\n".join(parts).encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(raw))


def _moment(epoch: int) -> "datetime":
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC)
