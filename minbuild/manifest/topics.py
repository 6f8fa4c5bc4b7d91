"""Where files of rules lie: `rules/TOPIC.yaml` in directories of components."""

import re
from collections.abc import Sequence
from pathlib import Path

from minbuild.shipped import shipped

DIRECTORY = "rules"
"""Beside the sections, in every directory of components."""
TOPIC = "[a-z0-9][a-z0-9-]*"


def rule_files(directories: Sequence[Path]) -> tuple[Path, ...]:
    """The files of rules in directories of components and those that ship, sorted by topic.

    Of two with one name the first directory's holds.
    """
    found: dict[str, Path] = {}
    for directory in (*directories, shipped("manifests") / "components"):
        for path in sorted((directory / DIRECTORY).glob("*.yaml")):
            if re.fullmatch(TOPIC, path.stem):
                found.setdefault(path.stem, path)
    return tuple(found[topic] for topic in sorted(found))
