"""footprint.json: the footprint as a document, written and read back."""

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from minbuild.errors import UsageError
from minbuild.escape import json_safe
from minbuild.footprint.sums import faults
from minbuild.footprint.types import (
    SCHEMA,
    FileRow,
    Finding,
    FindingKind,
    Footprint,
    Input,
    Inputs,
    PackageRow,
    ProbeRow,
    Row,
    Surface,
    Totals,
    Waived,
)
from minbuild.paths import RootPath
from minbuild.resolve.types import Caution, Need, NeedKind, Possible

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def render(footprint: Footprint) -> str:
    """Write a footprint as JSON: keys sorted, sizes in bytes, no time stamps."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "image": {
            "name": footprint.name,
            "arch": footprint.arch,
            "kernel": footprint.kernel,
            "suites": list(footprint.suites),
            "packed": dict(footprint.packed),
        },
        "totals": _flat(footprint.totals),
        "sections": [_flat(row) for row in footprint.sections],
        "components": [_flat(row) for row in footprint.components],
        "packages": [_flat(row) for row in footprint.packages],
        "files": [_file_out(row) for row in footprint.files],
        "edges": [
            {"to": need.path, "from": need.by, "kind": str(need.kind), "evidence": need.evidence}
            for need in footprint.edges
        ],
        "budget": dict(footprint.budget),
    }
    if footprint.places:
        document["budget_places"] = dict(footprint.places)
    if footprint.surface is not None:
        document["surface"] = {
            "findings": [_flat(one) for one in footprint.surface.findings],
            "unknown": list(footprint.surface.unknown),
            "may_listen": FindingKind.MAY_LISTEN not in footprint.surface.unknown,
            **({"in_lab": True} if footprint.surface.in_lab else {}),
        }
    if footprint.possible:
        document["possible_dlopens"] = [
            {"path": path, "sonames": list(names)} for path, names in footprint.possible.items()
        ]
    if footprint.listed:
        document["possible_data"] = [_flat(one) for one in footprint.listed]
    if footprint.cautions:
        document["warnings"] = [_flat(one) for one in footprint.cautions]
    if footprint.waivers:
        document["waivers"] = [_flat(one) for one in footprint.waivers]
    if footprint.probes is not None:
        document["probes"] = [_flat(one) for one in footprint.probes]
    if footprint.inputs is not None:
        inputs = _flat(footprint.inputs)
        document["inputs"] = inputs | {
            "formats": list(footprint.inputs.formats),
            "files": [_flat(one) for one in footprint.inputs.files],
        }
    return json_safe(_lines(document))


def _lines(document: Mapping[str, object]) -> str:
    """Write a document with each row of its tables on a line of its own, which shows well in a diff.

    A table is written at once: to begin json's encoder takes longer than a row. No text holds the
    separator's control character, which JSON writes as an escape.
    """
    parts = []
    for name, value in sorted(document.items()):
        text = _encode(value)
        if isinstance(value, list) and value:
            rows = text[1:-1].replace(f"}}{_BETWEEN}{{", "},\n  {").replace(_BETWEEN, ", ")
            parts.append(f' "{name}": [\n  {rows}\n ]')
        else:
            parts.append(f' "{name}": {text.replace(_BETWEEN, ", ")}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


_BETWEEN = ",\0"
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(_BETWEEN, ": ")).encode


def read(text: str, where: str) -> Footprint:
    """Read a footprint that `render` wrote.

    Raises: UsageError when the document is damaged or of another schema.
    """
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        found = _footprint(document)
        for fault in faults(found):
            raise ValueError(f"it does not add up: {fault}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is no footprint: {error}", where=where, fix="name a footprint.json of minbuild"
        ) from error
    return found


def _footprint(document: Mapping[str, Any]) -> Footprint:
    image = document["image"]
    return Footprint(
        name=_text(image["name"]),
        arch=_text(image["arch"]),
        kernel=_text(image["kernel"]),
        suites=tuple(_text(suite) for suite in image["suites"]),
        packed={_text(name): _size(size) for name, size in sorted(image["packed"].items())},
        totals=_typed(Totals, document["totals"]),
        sections=tuple(_typed(Row, row) for row in document["sections"]),
        components=tuple(_typed(Row, row) for row in document["components"]),
        packages=tuple(_typed(PackageRow, row) for row in document["packages"]),
        files=tuple(_file_in(row) for row in document["files"]),
        edges=tuple(
            Need(
                RootPath(_text(edge["to"])),
                _text(edge["from"]),
                NeedKind(edge["kind"]),
                _text(edge["evidence"]),
            )
            for edge in document["edges"]
        ),
        budget={
            _text(name): _size(limit) for name, limit in sorted(document.get("budget", {}).items())
        },
        places={
            _text(name): _text(place)
            for name, place in sorted(document.get("budget_places", {}).items())
        },
        surface=_surface(document["surface"]) if "surface" in document else None,
        possible={
            RootPath(_text(row["path"])): tuple(_text(name) for name in row["sonames"])
            for row in document.get("possible_dlopens", ())
        },
        cautions=tuple(_typed(Caution, row) for row in document.get("warnings", ())),
        listed=tuple(_possible(row) for row in document.get("possible_data", ())),
        waivers=tuple(_typed(Waived, row) for row in document.get("waivers", ())),
        probes=tuple(_typed(ProbeRow, row) for row in document["probes"])
        if "probes" in document
        else None,
        inputs=_inputs(document["inputs"]) if "inputs" in document else None,
    )


def _inputs(row: Mapping[str, Any]) -> Inputs:
    return Inputs(
        arch=_text(row["arch"]),
        cell=_text(row["cell"]),
        compression=_text(row["compression"]),
        formats=tuple(_text(name) for name in row["formats"]),
        settings=_text(row["settings"]),
        files=tuple(_typed(Input, one) for one in row["files"]),
    )


def _possible(row: Mapping[str, Any]) -> Possible:
    return Possible(
        RootPath(_text(row["by"])), *(_text(row[name]) for name in _names(Possible)[1:])
    )


def _surface(document: Mapping[str, Any]) -> Surface:
    findings = tuple(
        Finding(FindingKind(row["kind"]), _text(row["subject"]), _text(row["detail"]))
        for row in document["findings"]
    )
    if any(one.kind is FindingKind.EXPORTS and not one.detail.isdecimal() for one in findings):
        raise ValueError("a number of exports is no number")
    unknown = [FindingKind(kind) for kind in document["unknown"]]
    if not document.get("may_listen", False):  # documents of a minbuild that did not look
        unknown = sorted({*unknown, FindingKind.MAY_LISTEN})
    return Surface(findings, tuple(unknown), document.get("in_lab", False) is True)


def _flat(row: "DataclassInstance") -> dict[str, object]:
    """The fields of a dataclass, none of which is one; dataclasses.asdict takes ten times as long."""
    return {name: getattr(row, name) for name in _names(type(row))}


@cache
def _names(kind: "type[DataclassInstance]") -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _file_out(row: FileRow) -> dict[str, object]:
    return _flat(row) | {"mode": f"{row.mode:04o}"}


def _file_in(row: Mapping[str, Any]) -> FileRow:
    return _typed(FileRow, {**row, "mode": int(row["mode"], 8)})


def _typed(kind: type[T], row: Mapping[str, Any]) -> T:
    """Build a flat dataclass of texts, sizes and claims; a wrong key or type is a TypeError."""
    read = {int: _size, bool: _claim}
    checked = {
        name: read.get(wanted, _text)(row[name]) for name, wanted in kind.__annotations__.items()
    }
    return kind(**checked)


def _claim(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number of bytes")
    return value
