"""A software bill of materials in CycloneDX 1.6; the one door to cyclonedx-python-lib."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from minbuild import __version__
from minbuild.archive.model import Package
from minbuild.compliance.built_image import BuiltImage
from minbuild.compliance.cve import ImageIssue
from minbuild.compliance.licences import UNKNOWN_LICENCE
from minbuild.compliance.purl import make_purl
from minbuild.errors import ToolError
from minbuild.escape import dump_json

if TYPE_CHECKING:
    from datetime import datetime

    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import LicenseExpression


DEBIAN_SUPPLIER = "Debian"
INSTALL_HINT = "install the extra: pip install 'minbuild[sbom]'"


def find_supplier(package: Package) -> str:
    """Who gave a package; the distribution by the name that it has for itself."""
    distribution = package.installed_origin[1] if package.installed_origin else "debian"
    return DEBIAN_SUPPLIER if distribution == "debian" else distribution


def render_cyclonedx(built_image: BuiltImage, licences: Mapping[str, tuple[str, ...]]) -> str:
    """Write the bill: every package that has a file in the image, with its files.

    `licences` gives a package's SPDX expressions. The same image gives the same bytes.
    Raises: ToolError when the extra is not installed.
    """
    try:
        return bom_to_json(build_bom(built_image, licences))
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=INSTALL_HINT) from error


def bom_to_json(bom: "Bom") -> str:
    """A bill as text; the library keeps occurrences in a set, so they are sorted here."""
    from cyclonedx.output.json import JsonV1Dot6

    document = json.loads(JsonV1Dot6(bom).output_as_string())
    for component in document.get("components", ()):
        occurrences = component.get("evidence", {}).get("occurrences", [])
        occurrences.sort(key=lambda one: one["location"])
    return dump_json(document, sort=True)


def build_bom(built_image: BuiltImage, licences: Mapping[str, tuple[str, ...]]) -> "Bom":
    """The bill as the library's object: the image at its root, each package, what is made here."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    footprint = built_image.footprint
    root = Component(
        name=footprint.name,
        version=footprint.kernel or None,
        type=ComponentType.FIRMWARE,
        bom_ref=f"image:{footprint.name}",
    )
    packages = {
        package.name: _make_component(package, built_image, licences.get(package.name, ()))
        for package in built_image.packages
    }
    bom = Bom(components=packages.values(), serial_number=_make_serial(built_image))
    bom.metadata.timestamp = _to_timestamp(built_image.lock.epoch)
    bom.metadata.component = root
    bom.metadata.tools.components.add(
        Component(name="minbuild", version=__version__, type=ComponentType.APPLICATION)
    )
    bom.register_dependency(root, packages.values())
    for name, others in find_dependencies(built_image).items():
        bom.register_dependency(packages[name], [packages[other] for other in sorted(others)])
    return bom


def find_dependencies(built_image: BuiltImage) -> dict[str, set[str]]:
    """Which package needs which, by the needs between their files; sorted by name."""
    owner = {row.path: row.package for row in built_image.footprint.files}
    dependencies: dict[str, set[str]] = {package.name: set() for package in built_image.packages}
    for need in built_image.footprint.edges:
        dependent, dependency = owner.get(need.needed_by, ""), owner.get(need.path, "")  # type: ignore[call-overload]
        if dependent in dependencies and dependency in dependencies and dependent != dependency:
            dependencies[dependent].add(dependency)
    return dependencies


def _make_component(
    package: Package, built_image: BuiltImage, licences: tuple[str, ...]
) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
    from cyclonedx.model.contact import OrganizationalEntity
    from packageurl import PackageURL

    known_licences = [name for name in licences if name != UNKNOWN_LICENCE]
    rows = built_image.files[package.name]
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"deb:{package.name}",
        purl=PackageURL.from_string(make_purl(package)),
        supplier=OrganizationalEntity(name=find_supplier(package)),
        # of what is installed only the files are known, not the package that brought them
        hashes=[]
        if package.installed_origin
        else [HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)],
        licenses=_make_licences(known_licences),
        evidence=ComponentEvidence(occurrences=[Occurrence(location=row.path) for row in rows]),
        properties=[
            Property(name=f"minbuild:file:{row.path}", value=f"sha256:{row.sha256}") for row in rows
        ],
    )


def _make_licences(known_licences: list[str]) -> "list[LicenseExpression]":
    """One expression for all that the copyright file names; nothing where it names none."""
    from cyclonedx.model.license import LicenseExpression

    if not known_licences:
        return []
    parts = [
        f"({one})" if " OR " in one and len(known_licences) > 1 else one for one in known_licences
    ]
    return [LicenseExpression(" AND ".join(parts))]


def _make_serial(built_image: BuiltImage) -> uuid.UUID:
    """A serial number that follows from the image: version 8 of RFC 9562."""
    parts = [f"{row.path} {row.sha256} {row.mode}" for row in built_image.footprint.files]
    raw = bytearray(hashlib.sha256("\n".join(parts).encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(raw))


def _to_timestamp(epoch: int) -> "datetime":
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC)


def render_vex(built_image: BuiltImage, issues: tuple[ImageIssue, ...]) -> str:
    """Write what is known of every issue: trimmed files are not affected, all else is in triage.

    Raises: ToolError when the extra is not installed.
    """
    from minbuild.errors import ToolError

    try:
        from cyclonedx.model import impact_analysis as states
        from cyclonedx.model import vulnerability as model
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=INSTALL_HINT) from error
    bom = build_bom(built_image, {})
    for issue in issues:
        if issue.trimmed:
            analysis = model.VulnerabilityAnalysis(
                state=states.ImpactAnalysisState.NOT_AFFECTED,
                justification=states.ImpactAnalysisJustification.CODE_NOT_PRESENT,
                detail=f"not in the image: {', '.join(issue.trimmed[:5])}",
            )
        else:
            analysis = model.VulnerabilityAnalysis(state=states.ImpactAnalysisState.IN_TRIAGE)
        bom.vulnerabilities.add(
            model.Vulnerability(
                id=issue.advisory.name,
                analysis=analysis,
                recommendation=f"update to {issue.advisory.fixed}"
                if issue.advisory.fixed
                else None,
                affects=[model.BomTarget(ref=f"deb:{name}") for name in issue.packages],
            )
        )
    return bom_to_json(bom)
