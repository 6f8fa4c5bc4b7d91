"""Signatures over what was built: the UKI for UEFI Secure Boot."""

import os
from collections.abc import Mapping
from pathlib import Path

from minbuild.manifest.types import Sign
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox

TOOL = "sbsign"
ENGINES = "engines-3"
"""Directory of OpenSSL's engines beside its libraries."""
STEERS_TOOLS = ("LD_", "OPENSSL_", "PKCS11_", "GLIBC_")


def sign(uki: Path, wish: Sign, work: Path, toolbox: Toolbox) -> None:
    """Sign a UKI in place; the signature carries the time of signing, all else stays as it was.

    Source: UEFI 2.10, 32.2, "Authenticode"; sbsign(1).
    Raises: ToolError when the key or the certificate cannot be used.
    """
    signed = work / f"{uki.name}.signed"
    words: list[str | Path] = ["--key", wish.key, "--cert", wish.certificate]
    if wish.module:
        words = ["--engine", "pkcs11", *words]
    env = _token(wish, toolbox) if wish.module else {}
    toolbox.run(TOOL, [*words, "--output", signed, uki], what=f"signing {uki.name}", env=env)
    signed.replace(uki)


def _token(wish: Sign, toolbox: Toolbox) -> Mapping[str, str]:
    """The user's own environment, which tokens are found by, with the toolbox's engine in it."""
    ours = {
        "OPENSSL_ENGINES": str(toolbox.path(RootPath(f"{toolbox.libraries}/{ENGINES}"))),
        "PKCS11_MODULE_PATH": wish.module,
    }
    own = {key: value for key, value in os.environ.items() if not key.startswith(STEERS_TOOLS)}
    return {**own, **toolbox.environment(), **ours}
