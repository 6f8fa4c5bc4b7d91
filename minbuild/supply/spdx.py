"""A software bill of materials in SPDX 2.3; the one door to spdx-tools."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from minbuild import __version__
from minbuild.archive.types import Package
from minbuild.errors import ToolError
from minbuild.footprint.types import FileRow
from minbuild.supply.licence import UNKNOWN
from minbuild.supply.purl import purl
from minbuild.supply.sbom import EXTRA, needs, supplier
from minbuild.supply.shipment import Shipment

if TYPE_CHECKING:
    from spdx_tools.spdx.model import Document

IMAGE = "SPDXRef-image"


def spdx(
    shipment: Shipment,
    licences: Mapping[str, tuple[str, ...]],
    serial: str,
    sha1: Mapping[str, str],
) -> str:
    """Write the bill: the image, its packages, and the digests of every file in `sha1`.

    SPDX 2.3 (8.4) asks for a file's SHA-1; a file whose SHA-1 is not known is not listed.

    Raises: ToolError when the extra is not installed.
    """
    try:
        from spdx_tools.spdx.writer.write_utils import convert, validate_and_deduplicate
    except ImportError as error:
        raise ToolError("spdx-tools is not installed", fix=EXTRA) from error
    made = document(shipment, licences, serial, sha1)
    found: dict[str, Any] = convert(validate_and_deduplicate(made, validate=False), None)
    for package in found["packages"]:
        for reference in package.get("externalRefs", ()):
            # SPDX 2.3 (7.21) and its schema: PACKAGE-MANAGER; spdx-tools 0.8 writes 2.2's
            # PACKAGE_MANAGER (spdx/tools-python, issues 813 and 849).
            category = reference["referenceCategory"]
            reference["referenceCategory"] = category.replace("_", "-")
    return json.dumps(found, indent=4) + "\n"


def document(
    shipment: Shipment,
    licences: Mapping[str, tuple[str, ...]],
    serial: str,
    sha1: Mapping[str, str],
) -> "Document":
    """The bill as the library's object."""
    from spdx_tools.spdx import model

    footprint = shipment.footprint
    moment = datetime.fromtimestamp(shipment.lock.epoch, UTC).replace(tzinfo=None)
    image = model.Package(
        spdx_id=IMAGE, name=footprint.name, version=footprint.kernel or None,
        download_location=model.SpdxNoAssertion(), **_analysed(shipment, "", sha1),
    )  # fmt: skip
    packages = [
        _package(one, shipment, licences.get(one.name, ()), sha1) for one in shipment.packages
    ]
    files = [
        model.File(
            name=f".{row.path}",
            spdx_id=f"SPDXRef-file-{number}",
            checksums=[
                model.Checksum(model.ChecksumAlgorithm.SHA1, sha1[row.path]),
                model.Checksum(model.ChecksumAlgorithm.SHA256, row.sha256),
            ],
        )
        for number, row in enumerate(_listed(shipment, sha1))
    ]
    return model.Document(
        model.CreationInfo(
            spdx_version="SPDX-2.3",
            spdx_id="SPDXRef-DOCUMENT",
            name=footprint.name,
            document_namespace=f"urn:uuid:{serial}",
            creators=[model.Actor(model.ActorType.TOOL, f"minbuild-{__version__}")],
            created=moment,
        ),
        packages=[image, *packages],
        files=files,
        relationships=_relationships(shipment, sha1),
        extracted_licensing_info=_references(licences),
    )


def _listed(shipment: Shipment, sha1: Mapping[str, str]) -> list[FileRow]:
    return [r for r in shipment.footprint.files if r.type == "file" and r.path in sha1]


def _analysed(shipment: Shipment, package: str, sha1: Mapping[str, str]) -> dict[str, Any]:
    """The verification code of a package's files in the image. Source: SPDX 2.3, 7.9."""
    from spdx_tools.spdx.model import PackageVerificationCode

    sums = sorted(sha1[r.path] for r in _listed(shipment, sha1) if r.package == package)
    if not sums:
        return {"files_analyzed": False}
    code = hashlib.sha1("".join(sums).encode(), usedforsecurity=False).hexdigest()
    return {"files_analyzed": True, "verification_code": PackageVerificationCode(code)}


def _id(name: str) -> str:
    return "SPDXRef-deb-" + re.sub(r"[^A-Za-z0-9.-]", lambda found: f"-{ord(found[0])}-", name)


def _package(
    package: Package, shipment: Shipment, licences: tuple[str, ...], sha1: Mapping[str, str]
) -> Any:
    from spdx_tools.common.spdx_licensing import spdx_licensing
    from spdx_tools.spdx import model

    known = [f"({name})" if " OR " in name else name for name in licences if name != UNKNOWN]
    declared: Any = spdx_licensing.parse(" AND ".join(known)) if known else model.SpdxNoAssertion()
    return model.Package(
        spdx_id=_id(package.name),
        name=package.name,
        version=package.version,
        supplier=model.Actor(model.ActorType.ORGANIZATION, supplier(package)),
        download_location=model.SpdxNoAssertion(),
        **_analysed(shipment, package.name, sha1),
        checksums=[]
        if package.installed
        else [model.Checksum(model.ChecksumAlgorithm.SHA256, package.sha256)],
        license_declared=declared,
        external_references=[
            model.ExternalPackageRef(
                model.ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl(package)
            )
        ],
    )


def _relationships(shipment: Shipment, sha1: Mapping[str, str]) -> list[Any]:
    from spdx_tools.spdx.model import Relationship, RelationshipType

    found = [Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, IMAGE)]
    found += [
        Relationship(IMAGE, RelationshipType.CONTAINS, _id(package.name))
        for package in shipment.packages
    ]
    for number, row in enumerate(_listed(shipment, sha1)):
        owner = _id(row.package) if row.package else IMAGE
        found.append(Relationship(owner, RelationshipType.CONTAINS, f"SPDXRef-file-{number}"))
    found += [
        Relationship(_id(by), RelationshipType.DEPENDS_ON, _id(to))
        for by, others in needs(shipment).items()
        for to in sorted(others)
    ]
    return found


def _references(licences: Mapping[str, tuple[str, ...]]) -> list[Any]:
    """Licences that SPDX does not list must be declared; their text is in the copyright file."""
    from spdx_tools.spdx.model import ExtractedLicensingInfo

    names: dict[str, str] = {}
    for package, several in sorted(licences.items()):
        for one in several:
            for name in re.findall(r"LicenseRef-[A-Za-z0-9.-]+", one):
                names.setdefault(name, package)
    return [
        ExtractedLicensingInfo(
            license_id=name, extracted_text=f"See the copyright file of {package}.",
            license_name=name.removeprefix("LicenseRef-"),
        )
        for name, package in sorted(names.items())
    ]  # fmt: skip
