"""What the lab saw a host open: ports.json beside the image, and its part of the surface."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from minbuild.errors import UsageError
from minbuild.escape import dump
from minbuild.footprint.types import SEEN, Finding, FindingKind, Footprint, Surface

SCHEMA = "minbuild.ports/1"


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port that was opened while the host ran."""

    name: str
    """22/tcp."""
    by: str
    """The process's name."""
    local: bool
    """True: on the loopback address only."""


def digest(footprint: str) -> str:
    """What ties the ports to a build: its footprint.json, hashed."""
    return hashlib.sha256(footprint.encode()).hexdigest()


def render(ports: Iterable[Port], footprint: str) -> str:
    """Write ports as a document: schema `minbuild.ports/1`; `footprint` is that document's text."""
    rows = [{"port": one.name, "by": one.by, "local": one.local} for one in sorted(set(ports))]
    document = {"schema": SCHEMA, "footprint": digest(footprint), "ports": rows}
    return dump(document, sort=True)


def read(text: str, footprint: str, where: str) -> tuple[Port, ...] | None:
    """Read what `render` wrote; None when it is of another build.

    Raises: UsageError when it is something else.
    """
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        ports = tuple(
            Port(str(one["port"]), str(one["by"]), one["local"] is True)
            for one in document["ports"]
        )
        return ports if document["footprint"] == digest(footprint) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is no record of ports: {error}", where=where,
            fix="remove it, or make it anew: minbuild boot",
        ) from error  # fmt: skip


def with_ports(footprint: Footprint, ports: Iterable[Port]) -> Footprint:
    """Add to a footprint's surface what the lab saw open."""
    before = footprint.surface or Surface()
    found = {Finding(FindingKind.LISTENER, one.name, f"{SEEN}: {_by(one)}") for one in ports}
    surface = replace(before, findings=tuple(sorted({*before.findings, *found})), in_lab=True)
    return replace(footprint, surface=surface)


def _by(port: Port) -> str:
    return f"{port.by}, on the loopback address only" if port.local else port.by
