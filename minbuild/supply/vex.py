"""Issues that do not touch an image, said in CycloneDX VEX."""

from minbuild.supply.issues import Issue
from minbuild.supply.sbom import EXTRA, bill, rendered
from minbuild.supply.shipment import Shipment


def vex(shipment: Shipment, issues: tuple[Issue, ...]) -> str:
    """Write what is known of every issue: trimmed files are not affected, all else is in triage.

    Raises: ToolError when the extra is not installed.
    """
    from minbuild.errors import ToolError

    try:
        from cyclonedx.model import impact_analysis as states
        from cyclonedx.model import vulnerability as model
    except ImportError as error:
        raise ToolError("cyclonedx-python-lib is not installed", fix=EXTRA) from error
    bom = bill(shipment, {})
    for one in issues:
        if one.trimmed:
            analysis = model.VulnerabilityAnalysis(
                state=states.ImpactAnalysisState.NOT_AFFECTED,
                justification=states.ImpactAnalysisJustification.CODE_NOT_PRESENT,
                detail=f"not in the image: {', '.join(one.trimmed[:5])}",
            )
        else:
            analysis = model.VulnerabilityAnalysis(state=states.ImpactAnalysisState.IN_TRIAGE)
        bom.vulnerabilities.add(
            model.Vulnerability(
                id=one.known.name,
                analysis=analysis,
                recommendation=f"update to {one.known.fixed}" if one.known.fixed else None,
                affects=[model.BomTarget(ref=f"deb:{name}") for name in one.packages],
            )
        )
    return rendered(bom)
