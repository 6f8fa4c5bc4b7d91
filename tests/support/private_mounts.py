"""Running a command on file systems of its own, which nobody else sees."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def run_with_mounts(
    script: str, *argv: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `words` after a shell script that mounts; skip the test where namespaces are forbidden.

    `env` is added to this process's environment.
    """
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'set -e; {script}; exec "$@"', "sh", *argv],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
    )
    if "unshare:" in result.stderr or "mount:" in result.stderr:
        pytest.skip(f"namespaces are not allowed here: {result.stderr}")
    return result
