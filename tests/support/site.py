"""The site of the documentation, built as `make docs` builds it."""

import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
"""A proxy that is not there."""


def build_site(directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Build the site into `directory` without a network; the caller looks at the exit code."""
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-f",
        TOP / "mkdocs.yml",
        "-d",
        directory,
    ]
    env = {**os.environ, **NO_NETWORK, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run([*argv, *options], capture_output=True, text=True, timeout=600, env=env)
