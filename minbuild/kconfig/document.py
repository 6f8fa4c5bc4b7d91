"""Resolved options as JSON: what a build keeps of its kernel, and reads again."""

import json
from dataclasses import asdict
from typing import Any

from minbuild.errors import UsageError
from minbuild.kconfig.model import How, KernelOptions, OptionNeed, OptionRequest

SCHEMA = "minbuild.kernel-options/1"
FILE_NAME = "kernel-options.json"
"""Beside the images of a host whose kernel was built."""


def render_options(options: KernelOptions) -> str:
    """Options with their reasons; equal options give equal text."""
    rows = {
        name: [need.value, need.how.value, need.by, need.evidence]
        for name, need in options.needs.items()
    }
    document = {
        "schema": SCHEMA,
        "version": options.version,
        "options": rows,
        "settings": dict(options.settings),
        "texts": sorted(options.texts),
        "patches": [list(patch) for patch in options.patches],
        "requests": [asdict(one) for one in options.requests],
    }
    return json.dumps(document, indent=1) + "\n"


def parse_options(text: str, where: str) -> KernelOptions:
    """Read what `render_options` wrote. Raises: UsageError for anything else."""
    try:
        document: Any = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        return KernelOptions(
            version=str(document["version"]),
            needs={
                str(name): OptionNeed(str(name), str(value), str(by), How(how), str(evidence))
                for name, (value, how, by, evidence) in document["options"].items()
            },
            settings={str(name): str(value) for name, value in document["settings"].items()},
            requests=tuple(OptionRequest(**one) for one in document["requests"]),
            texts=frozenset(map(str, document["texts"])),
            patches=tuple((str(name), str(digest)) for name, digest in document["patches"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is not a list of kernel options: {error}",
            where=where,
            fix="build the host again: minbuild make",
        ) from error
