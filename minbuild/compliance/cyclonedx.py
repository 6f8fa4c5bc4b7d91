"""Software bill of materials and VEX in CycloneDX 1.6; needs cyclonedx-python-lib."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.impact_analysis import ImpactAnalysisJustification, ImpactAnalysisState
from cyclonedx.model.license import LicenseExpression
from cyclonedx.model.vulnerability import BomTarget, Vulnerability, VulnerabilityAnalysis
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from minbuild import __version__
from minbuild.archive.model import Package
from minbuild.compliance.built_image import (
    BuiltImage,
    find_dependencies,
    find_supplier,
    make_purl,
    make_serial,
)
from minbuild.compliance.cve import ImageIssue
from minbuild.compliance.licences import UNKNOWN_LICENCE
from minbuild.escape import dump_json
from minbuild.kernel.package import SOURCES_FILE

KERNEL_PATH = "/boot/vmlinuz-"
COMPILER_NAMES = ("binutils", "bison", "cpp-", "flex", "gcc-", "make")
"""How the names of packages of the toolchain begin whose version shows in a kernel."""


def render_cyclonedx(built_image: BuiltImage, licences: Mapping[str, tuple[str, ...]]) -> str:
    """Write the bill: every package that has a file in the image, with its files.

    `licences`: SPDX expressions of each package. The same image gives the same bytes.
    """
    return bom_to_json(build_bom(built_image, licences))


def bom_to_json(bom: Bom) -> str:
    """A bill as text; the library keeps occurrences in a set, so they are sorted here."""
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    for component in document.get("components", ()):
        occurrences = component.get("evidence", {}).get("occurrences", [])
        occurrences.sort(key=lambda one: one["location"])
    return dump_json(document, sort=True)


def build_bom(built_image: BuiltImage, licences: Mapping[str, tuple[str, ...]]) -> Bom:
    """The bill as the library's object: the image at its root, each package, what is made here."""
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
    bom = Bom(components=packages.values(), serial_number=make_serial(built_image))
    bom.metadata.timestamp = _to_timestamp(built_image.lock.epoch)
    bom.metadata.component = root
    bom.metadata.tools.components.add(
        Component(name="minbuild", version=__version__, type=ComponentType.APPLICATION)
    )
    bom.register_dependency(root, packages.values())
    for name, others in find_dependencies(built_image).items():
        bom.register_dependency(packages[name], [packages[other] for other in sorted(others)])
    return bom


def _make_component(
    package: Package, built_image: BuiltImage, licences: tuple[str, ...]
) -> Component:
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
            *(
                Property(name=f"minbuild:file:{row.path}", value=f"sha256:{row.sha256}")
                for row in rows
            ),
            *_describe_kernel(built_image, package),
        ],
    )


def _describe_kernel(built_image: BuiltImage, package: Package) -> Iterator[Property]:
    """Of a source that the image's kernel was compiled from: its configuration, its toolchain."""
    rows = built_image.files[package.name]
    if built_image.compiled is None or not any(row.path.startswith(KERNEL_PATH) for row in rows):
        return
    for name, digest in built_image.kernel_evidence.items():
        yield Property(name=f"minbuild:kernel:{name}", value=f"sha256:{digest}")
    for tool in built_image.lock.toolbox:
        if tool.name.startswith(COMPILER_NAMES):
            value = f"{tool.version} sha256:{tool.sha256}"
            yield Property(name=f"minbuild:kernel:toolchain:{tool.name}", value=value)


def _explain_absence(built_image: BuiltImage, issue: ImageIssue) -> str:
    names = ", ".join(issue.trimmed[:5])
    if not issue.not_compiled:
        return f"not in the image: {names}"
    assert built_image.compiled is not None
    digest = built_image.kernel_evidence[SOURCES_FILE]
    return (
        f"not compiled: {names}; {SOURCES_FILE} (sha256:{digest}) lists the "
        f"{len(built_image.compiled):,} sources and headers that were"
    )


def _make_licences(known_licences: list[str]) -> list[LicenseExpression]:
    """One expression for all that the copyright file names; nothing where it names none."""
    if not known_licences:
        return []
    parts = [
        f"({one})" if " OR " in one and len(known_licences) > 1 else one for one in known_licences
    ]
    return [LicenseExpression(" AND ".join(parts))]


def _to_timestamp(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def render_vex(built_image: BuiltImage, issues: tuple[ImageIssue, ...]) -> str:
    """Write the state of every issue: those of trimmed files do not affect, others are in triage."""
    bom = build_bom(built_image, {})
    for issue in issues:
        if issue.trimmed:
            analysis = VulnerabilityAnalysis(
                state=ImpactAnalysisState.NOT_AFFECTED,
                justification=ImpactAnalysisJustification.CODE_NOT_PRESENT,
                detail=_explain_absence(built_image, issue),
            )
        else:
            analysis = VulnerabilityAnalysis(state=ImpactAnalysisState.IN_TRIAGE)
        bom.vulnerabilities.add(
            Vulnerability(
                bom_ref=issue.advisory.name,
                id=issue.advisory.name,
                analysis=analysis,
                recommendation=f"update to {issue.advisory.fixed}"
                if issue.advisory.fixed
                else None,
                affects=[BomTarget(ref=f"deb:{name}") for name in issue.packages],
            )
        )
    return bom_to_json(bom)
