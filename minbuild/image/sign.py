"""Signatures over what was built: the UKI for UEFI Secure Boot."""

from pathlib import Path

from minbuild.manifest.types import Sign
from minbuild.toolbox.toolbox import Toolbox

TOOL = "sbsign"


def sign(uki: Path, wish: Sign, work: Path, toolbox: Toolbox) -> None:
    """Sign a UKI in place; the signature carries the time of signing, all else stays as it was.

    Source: UEFI 2.10, 32.2, "Authenticode"; sbsign(1).
    Raises: ToolError when the key or the certificate cannot be used.
    """
    signed = work / f"{uki.name}.signed"
    words: list[str | Path] = ["--key", wish.key, "--cert", wish.certificate]
    toolbox.run(TOOL, [*words, "--output", signed, uki], what=f"signing {uki.name}")
    signed.replace(uki)
