"""Software bill of materials in SPDX 2.3; needs spdx-tools."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spdx_tools.common.spdx_licensing import spdx_licensing
from spdx_tools.spdx import model
from spdx_tools.spdx.model import (
    ExtractedLicensingInfo,
    PackageVerificationCode,
    Relationship,
    RelationshipType,
)
from spdx_tools.spdx.writer.write_utils import convert, validate_and_deduplicate

from minbuild import __version__
from minbuild.archive.model import Package
from minbuild.compliance.built_image import BuiltImage, find_dependencies, find_supplier, make_purl
from minbuild.compliance.licences import UNKNOWN_LICENCE
from minbuild.footprint.model import FileRow

IMAGE_ID = "SPDXRef-image"


def render_spdx(
    built_image: BuiltImage,
    licences: Mapping[str, tuple[str, ...]],
    serial: str,
    sha1: Mapping[str, str],
) -> str:
    """Write the bill: the image, its packages, and the digests of every file in `sha1`.

    SPDX 2.3 (8.4) requires a file's SHA-1; a file without a known SHA-1 is not listed.
    """
    bill = build_document(built_image, licences, serial, sha1)
    output: dict[str, Any] = convert(validate_and_deduplicate(bill, validate=False), None)
    for package in output["packages"]:
        for reference in package.get("externalRefs", ()):
            # SPDX 2.3 (7.21) and its schema: PACKAGE-MANAGER; spdx-tools 0.8 writes 2.2's
            # PACKAGE_MANAGER (spdx/tools-python, issues 813 and 849).
            category = reference["referenceCategory"]
            reference["referenceCategory"] = category.replace("_", "-")
    return json.dumps(output, indent=4) + "\n"


def build_document(
    built_image: BuiltImage,
    licences: Mapping[str, tuple[str, ...]],
    serial: str,
    sha1: Mapping[str, str],
) -> model.Document:
    """The bill as the library's object."""
    footprint = built_image.footprint
    created = datetime.fromtimestamp(built_image.lock.epoch, UTC).replace(tzinfo=None)
    image = model.Package(
        spdx_id=IMAGE_ID, name=footprint.name, version=footprint.kernel or None,
        download_location=model.SpdxNoAssertion(), **_make_verification(built_image, "", sha1),
    )  # fmt: skip
    packages = [
        _make_package(one, built_image, licences.get(one.name, ()), sha1)
        for one in built_image.packages
    ]
    return model.Document(
        model.CreationInfo(
            spdx_version="SPDX-2.3",
            spdx_id="SPDXRef-DOCUMENT",
            name=footprint.name,
            document_namespace=f"urn:uuid:{serial}",
            creators=[model.Actor(model.ActorType.TOOL, f"minbuild-{__version__}")],
            created=created,
        ),
        packages=[image, *packages],
        files=_make_files(built_image, sha1),
        relationships=_make_relationships(built_image, sha1),
        extracted_licensing_info=_declare_references(licences),
    )


def _make_files(built_image: BuiltImage, sha1: Mapping[str, str]) -> list[model.File]:
    return [
        model.File(
            name=f".{row.path}",
            spdx_id=f"SPDXRef-file-{number}",
            checksums=[
                model.Checksum(model.ChecksumAlgorithm.SHA1, sha1[row.path]),
                model.Checksum(model.ChecksumAlgorithm.SHA256, row.sha256),
            ],
        )
        for number, row in enumerate(_list_files(built_image, sha1))
    ]


def _list_files(built_image: BuiltImage, sha1: Mapping[str, str]) -> list[FileRow]:
    return [r for r in built_image.footprint.files if r.type == "file" and r.path in sha1]


def _make_verification(
    built_image: BuiltImage, package: str, sha1: Mapping[str, str]
) -> dict[str, Any]:
    """The verification code of a package's files in the image. Source: SPDX 2.3, 7.9."""
    sums = sorted(sha1[r.path] for r in _list_files(built_image, sha1) if r.package == package)
    if not sums:
        return {"files_analyzed": False}
    code = hashlib.sha1("".join(sums).encode(), usedforsecurity=False).hexdigest()
    return {"files_analyzed": True, "verification_code": PackageVerificationCode(code)}


def _make_id(name: str) -> str:
    return "SPDXRef-deb-" + re.sub(r"[^A-Za-z0-9.-]", lambda match: f"-{ord(match[0])}-", name)


def _make_package(
    package: Package, built_image: BuiltImage, licences: tuple[str, ...], sha1: Mapping[str, str]
) -> Any:
    known_licences = [
        f"({name})" if " OR " in name else name for name in licences if name != UNKNOWN_LICENCE
    ]
    declared: Any = (
        spdx_licensing.parse(" AND ".join(known_licences))
        if known_licences
        else model.SpdxNoAssertion()
    )
    return model.Package(
        spdx_id=_make_id(package.name),
        name=package.name,
        version=package.version,
        supplier=model.Actor(model.ActorType.ORGANIZATION, find_supplier(package)),
        download_location=model.SpdxNoAssertion(),
        **_make_verification(built_image, package.name, sha1),
        checksums=[]
        if package.installed_origin
        else [model.Checksum(model.ChecksumAlgorithm.SHA256, package.sha256)],
        license_declared=declared,
        external_references=[
            model.ExternalPackageRef(
                model.ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", make_purl(package)
            )
        ],
    )


def _make_relationships(built_image: BuiltImage, sha1: Mapping[str, str]) -> list[Any]:
    relationships = [Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, IMAGE_ID)]
    relationships += [
        Relationship(IMAGE_ID, RelationshipType.CONTAINS, _make_id(package.name))
        for package in built_image.packages
    ]
    for number, row in enumerate(_list_files(built_image, sha1)):
        owner = _make_id(row.package) if row.package else IMAGE_ID
        relationships.append(
            Relationship(owner, RelationshipType.CONTAINS, f"SPDXRef-file-{number}")
        )
    relationships += [
        Relationship(_make_id(by), RelationshipType.DEPENDS_ON, _make_id(to))
        for by, others in find_dependencies(built_image).items()
        for to in sorted(others)
    ]
    return relationships


def _declare_references(licences: Mapping[str, tuple[str, ...]]) -> list[Any]:
    """Licences that SPDX does not list must be declared; their text is in the copyright file."""
    names: dict[str, str] = {}
    for package, expressions in sorted(licences.items()):
        for expression in expressions:
            for name in re.findall(r"LicenseRef-[A-Za-z0-9.-]+", expression):
                names.setdefault(name, package)
    return [
        ExtractedLicensingInfo(
            license_id=name, extracted_text=f"See the copyright file of {package}.",
            license_name=name.removeprefix("LicenseRef-"),
        )
        for name, package in sorted(names.items())
    ]  # fmt: skip
