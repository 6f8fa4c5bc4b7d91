"""Running a command on file systems of its own, which nobody else sees."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def mounted(
    script: str, *words: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `words` after a shell script that mounts; skip the test where namespaces are forbidden.

    `env` is added to this process's environment.
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'set -e; {script}; exec "$@"', "sh", *words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"namespaces are not allowed here: {done.stderr}")
    return done
