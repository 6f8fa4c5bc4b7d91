"""Document footprint.json: writer and reader."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from minbuild.errors import UsageError
from minbuild.escape import escape_json
from minbuild.footprint.measure import count_totals, sum_by_owner
from minbuild.footprint.model import (
    SCHEMA,
    BuildInput,
    BuildInputs,
    FileRow,
    FindingKind,
    FixedAddress,
    Footprint,
    OwnerRow,
    PackageRow,
    ProbeRow,
    Surface,
    SurfaceFinding,
    Totals,
    WaiverRow,
)
from minbuild.kconfig.model import How, OptionNeed
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind, OptionalFile, ScriptWarning

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


MODE_BITS = {FindingKind.SETUID: 0o4000, FindingKind.SETGID: 0o2000}
OWNER_TABLES = ("section", "component", "package")


def find_faults(footprint: Footprint) -> Iterator[str]:
    """Say what does not add up: sums, sizes below zero, a path twice, programs left out."""
    files = footprint.files
    if len({row.path for row in files}) != len(files):
        yield "a path is listed twice"
    if any(min(row.size, row.packed, row.mode) < 0 for row in files):
        yield "a file has a size below zero"
    overhead_sums = set()
    for name in OWNER_TABLES:
        table: Sequence[OwnerRow | PackageRow] = getattr(footprint, f"{name}s")
        table_faults = list(_check_table(files, name, table))
        yield from table_faults
        owners = {getattr(row, name) for row in files}
        overhead_sums.add(sum(row.packed for row in table if row.name not in owners))
    if len(overhead_sums) > 1:
        yield "its tables differ in what belongs to no file"
    packed = sum(row.packed for row in files) + max(overhead_sums)
    totals = count_totals(files)
    for field in ("files", "links", "directories", "bytes"):
        if getattr(totals, field) != getattr(footprint.totals, field):
            yield f"its {field} are not those of the paths that it lists"
    if packed != footprint.totals.packed:
        yield "its packed size is not the sum of its rows"
    yield from _find_omissions(footprint)


def _check_table(
    files: Sequence[FileRow], name: str, table: Sequence[OwnerRow | PackageRow]
) -> Iterator[str]:
    unmatched = {row.name: row for row in table}
    if len(unmatched) != len(table):
        yield f"a {name} is listed twice"
    for row in sum_by_owner(files, lambda row: str(getattr(row, name))):
        stated = unmatched.pop(row.name, None)
        if stated is None or (stated.files, stated.bytes, stated.packed) != (
            row.files,
            row.bytes,
            row.packed,
        ):
            yield f"the {name} {row.name or '(none)'} is not the sum of its files"
    if any(row.files or row.bytes or row.packed < 0 for row in unmatched.values()):
        yield f"a {name} has files that are not listed"


def _find_omissions(footprint: Footprint) -> Iterator[str]:
    """Modes say what is set-user-ID, whatever the findings do."""
    if footprint.surface is None:
        return
    reported = {(one.kind, one.subject) for one in footprint.surface.findings}
    for row in footprint.files:
        for kind, bit in MODE_BITS.items():
            is_executable = row.type == "file" and row.mode & bit and row.mode & 0o111
            if is_executable and (kind, row.path) not in reported:
                yield f"its findings leave out {row.path}, which is {kind}"


T = TypeVar("T")


def render_footprint(footprint: Footprint) -> str:
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
        "totals": _flatten(footprint.totals),
        "sections": [_flatten(row) for row in footprint.sections],
        "components": [_flatten(row) for row in footprint.components],
        "packages": [_flatten(row) for row in footprint.packages],
        "files": [_encode_file(row) for row in footprint.files],
        "edges": [
            {
                "to": need.path,
                "from": need.needed_by,
                "kind": str(need.kind),
                "evidence": need.evidence,
            }
            for need in footprint.edges
        ],
        "budget": dict(footprint.budget),
    }
    return escape_json(_render_document(document | _encode_optional_parts(footprint)))


def _encode_fixed_address(fixed: FixedAddress | None) -> dict[str, object]:
    if fixed is None:
        return {}
    return {"fixed_address": _flatten(fixed) | {"nameservers": list(fixed.nameservers)}}


def _encode_optional_parts(footprint: Footprint) -> dict[str, object]:
    """What a footprint may lack: such keys are left out, and old documents have none of them."""
    document: dict[str, object] = {}
    if footprint.budget_locations:
        document["budget_places"] = dict(footprint.budget_locations)
    if footprint.surface is not None:
        document["surface"] = {
            "findings": [_flatten(one) for one in footprint.surface.findings],
            "unknown": list(footprint.surface.unknown),
            "may_listen": FindingKind.MAY_LISTEN not in footprint.surface.unknown,
            **({"in_lab": True} if footprint.surface.in_lab else {}),
        }
    if footprint.possible_dlopens:
        document["possible_dlopens"] = [
            {"path": path, "sonames": list(names)}
            for path, names in footprint.possible_dlopens.items()
        ]
    if footprint.possible_data:
        document["possible_data"] = [_flatten(one) for one in footprint.possible_data]
    if footprint.warnings:
        document["warnings"] = [_flatten(one) for one in footprint.warnings]
    if footprint.waivers:
        document["waivers"] = [_flatten(one) for one in footprint.waivers]
    if footprint.probes is not None:
        document["probes"] = [_flatten(one) for one in footprint.probes]
    document |= _encode_fixed_address(footprint.fixed_address)
    if footprint.inputs is not None:
        inputs = _flatten(footprint.inputs)
        document["inputs"] = inputs | {
            "formats": list(footprint.inputs.formats),
            "files": [_flatten(one) for one in footprint.inputs.files],
        }
    if footprint.kernel_options:
        document["kernel_options"] = [_flatten(one) for one in footprint.kernel_options]
    return document


def _render_document(document: Mapping[str, object]) -> str:
    """Write a document with each row of its tables on a line of its own, which shows well in a diff.

    A table is written at once: to begin json's encoder takes longer than a row. No text holds the
    separator's control character, which JSON writes as an escape.
    """
    parts = []
    for name, value in sorted(document.items()):
        text = _encode(value)
        if isinstance(value, list) and value:
            rows = text[1:-1].replace(f"}}{_SEPARATOR}{{", "},\n  {").replace(_SEPARATOR, ", ")
            parts.append(f' "{name}": [\n  {rows}\n ]')
        else:
            parts.append(f' "{name}": {text.replace(_SEPARATOR, ", ")}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


_SEPARATOR = ",\0"
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(_SEPARATOR, ": ")).encode


def read_footprint(text: str, where: str) -> Footprint:
    """Read a footprint that `render` wrote.

    Raises: UsageError when the document is damaged or of another schema.
    """
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        footprint = _parse_footprint(document)
        for fault in find_faults(footprint):
            raise ValueError(f"it does not add up: {fault}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is no footprint: {error}", where=where, fix="name a footprint.json of minbuild"
        ) from error
    return footprint


def _parse_dlopens(rows: Sequence[Mapping[str, Any]]) -> dict[RootPath, tuple[str, ...]]:
    return {
        RootPath(_require_text(row["path"])): tuple(map(_require_text, row["sonames"]))
        for row in rows
    }


def _parse_footprint(document: Mapping[str, Any]) -> Footprint:
    image = document["image"]
    return Footprint(
        name=_require_text(image["name"]),
        arch=_require_text(image["arch"]),
        kernel=_require_text(image["kernel"]),
        suites=tuple(_require_text(suite) for suite in image["suites"]),
        packed={
            _require_text(name): _require_size(size)
            for name, size in sorted(image["packed"].items())
        },
        totals=_parse_row(Totals, document["totals"]),
        sections=tuple(_parse_row(OwnerRow, row) for row in document["sections"]),
        components=tuple(_parse_row(OwnerRow, row) for row in document["components"]),
        packages=tuple(_parse_row(PackageRow, row) for row in document["packages"]),
        files=tuple(_parse_file(row) for row in document["files"]),
        edges=tuple(map(_parse_need, document["edges"])),
        budget={
            _require_text(name): _require_size(limit)
            for name, limit in sorted(document.get("budget", {}).items())
        },
        budget_locations={
            _require_text(name): _require_text(location)
            for name, location in sorted(document.get("budget_places", {}).items())
        },
        surface=_parse_surface(document["surface"]) if "surface" in document else None,
        possible_dlopens=_parse_dlopens(document.get("possible_dlopens", ())),
        warnings=tuple(_parse_row(ScriptWarning, row) for row in document.get("warnings", ())),
        possible_data=tuple(_parse_possible_data(row) for row in document.get("possible_data", ())),
        waivers=tuple(_parse_row(WaiverRow, row) for row in document.get("waivers", ())),
        probes=tuple(_parse_row(ProbeRow, row) for row in document["probes"])
        if "probes" in document
        else None,
        fixed_address=_parse_fixed_address(document["fixed_address"])
        if "fixed_address" in document
        else None,
        inputs=_parse_inputs(document["inputs"]) if "inputs" in document else None,
        kernel_options=tuple(map(_parse_option, document.get("kernel_options", ()))),
    )


def _parse_need(edge: Mapping[str, Any]) -> Need:
    return Need(
        RootPath(_require_text(edge["to"])),
        _require_text(edge["from"]),
        NeedKind(edge["kind"]),  # type: ignore[call-arg]  # mypy: as if it made one
        _require_text(edge["evidence"]),
    )


def _parse_fixed_address(row: Mapping[str, Any]) -> FixedAddress:
    return FixedAddress(
        _require_text(row["address"]),
        _require_text(row["gateway"]),
        tuple(_require_text(one) for one in row["nameservers"]),
    )


def _parse_inputs(row: Mapping[str, Any]) -> BuildInputs:
    return BuildInputs(
        arch=_require_text(row["arch"]),
        cell=_require_text(row["cell"]),
        compression=_require_text(row["compression"]),
        formats=tuple(_require_text(name) for name in row["formats"]),
        settings=_require_text(row["settings"]),
        files=tuple(_parse_row(BuildInput, one) for one in row["files"]),
    )


def _parse_option(row: Mapping[str, Any]) -> OptionNeed:
    name, value, by, evidence = (
        _require_text(row[key]) for key in ("name", "value", "by", "evidence")
    )
    return OptionNeed(name, value, by, How(row["how"]), evidence)


def _parse_possible_data(row: Mapping[str, Any]) -> OptionalFile:
    return OptionalFile(
        RootPath(_require_text(row["by"])),
        *(_require_text(row[name]) for name in _list_fields(OptionalFile)[1:]),
    )


def _parse_surface(document: Mapping[str, Any]) -> Surface:
    findings = tuple(
        SurfaceFinding(
            FindingKind(row["kind"]), _require_text(row["subject"]), _require_text(row["detail"])
        )
        for row in document["findings"]
    )
    if any(one.kind is FindingKind.EXPORTS and not one.detail.isdecimal() for one in findings):
        raise ValueError("a number of exports is no number")
    unknown = [FindingKind(kind) for kind in document["unknown"]]
    if not document.get("may_listen", False):  # documents of a minbuild that did not look
        unknown = sorted({*unknown, FindingKind.MAY_LISTEN})
    return Surface(findings, tuple(unknown), document.get("in_lab", False) is True)


def _flatten(row: "DataclassInstance") -> dict[str, object]:
    """The fields of a dataclass, none of which is one; dataclasses.asdict takes ten times as long."""
    return {name: getattr(row, name) for name in _list_fields(type(row))}


@cache
def _list_fields(kind: "type[DataclassInstance]") -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _encode_file(row: FileRow) -> dict[str, object]:
    return _flatten(row) | {"mode": f"{row.mode:04o}"}


def _parse_file(row: Mapping[str, Any]) -> FileRow:
    return _parse_row(FileRow, {**row, "mode": int(row["mode"], 8)})


def _parse_row(kind: type[T], row: Mapping[str, Any]) -> T:
    """Build a flat dataclass of texts, sizes and claims; a wrong key or type is a TypeError."""
    parsers = {int: _require_size, bool: _require_bool}
    values = {
        name: parsers.get(annotation, _require_text)(row[name])
        for name, annotation in kind.__annotations__.items()
    }
    return kind(**values)


def _require_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _require_size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number of bytes")
    return value
