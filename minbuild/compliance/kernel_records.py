"""Records of the kernel's own CVE authority: which versions an issue is in, and which sources it touches.

Source: CVE record format 5.1; Linux, Documentation/process/cve.rst; the records of its vulns repository.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minbuild.compliance.security_data import Advisory
from minbuild.errors import UsageError
from minbuild.file_io import read_named_text

RECORD_TYPE = "CVE_RECORD"
LINUX = "linux"
"""Debian's name of the source."""


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Versions from `first`, of which one is affected or not."""

    first: str
    before: str = ""
    """The first version behind the range; "" where it has none."""
    last: str = ""
    """`6.12.*`: no other series; `*`: all later ones; "" with `before`, or of one version alone."""
    is_affected: bool = True


@dataclass(frozen=True, slots=True)
class KernelRecord:
    """One issue of the kernel, as its own record says it."""

    name: str
    text: str
    files: tuple[str, ...]
    """Sources that it touches, sorted: drivers/net/tun.c."""
    ranges: tuple[VersionRange, ...]
    is_affected_otherwise: bool
    """What holds of a version that no range has."""


def is_record_text(text: str) -> bool:
    """Whether a JSON text is one of CVE records, and not of a distribution's data."""
    return f'"{RECORD_TYPE}"' in text


def load_kernel_records(directory: Path) -> tuple[KernelRecord, ...]:
    """Read every CVE-*.json below a directory, sorted by name. Raises: UsageError."""
    paths = sorted(directory.rglob("CVE-*.json"))
    if not paths:
        raise UsageError(
            "no CVE record is below this directory",
            where=str(directory),
            fix="name cve/published of a clone of the kernel's vulns repository",
        )
    records = [
        one for path in paths for one in read_kernel_records(read_named_text(path), str(path))
    ]
    return tuple(sorted(records, key=lambda one: one.name))


def read_kernel_records(text: str, where: str) -> tuple[KernelRecord, ...]:
    """Read one record, or a list of them, sorted by name; those of other products are left out.

    Raises: UsageError for anything else.
    """
    try:
        document = json.loads(text)
        rows = document if isinstance(document, list) else [document]
        records = [one for row in rows if (one := _parse_record(row)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is no CVE record: {type(error).__name__} {str(error)[:100]}",
            where=where,
            fix="give records in the CVE format 5, as the kernel's vulns repository has them",
        ) from error
    return tuple(sorted(records, key=lambda one: one.name))


def _parse_record(row: Mapping[str, Any]) -> KernelRecord | None:
    if row["dataType"] != RECORD_TYPE:
        raise ValueError(f"its dataType is not {RECORD_TYPE}")
    name, container = _text(row["cveMetadata"]["cveId"]), row["containers"]["cna"]
    affected = [one for one in container.get("affected", ()) if one.get("product") == "Linux"]
    if not affected:  # of another product, or a record that was rejected
        return None
    files = {_text(path) for one in affected for path in one.get("programFiles", ())}
    # beside releases, each record has an entry of commits, which no release can be looked up in
    releases = [one for one in affected if not _is_of_commits(one)]
    ranges = [_parse_range(version) for one in releases for version in one.get("versions", ())]
    texts = [_text(one["value"]) for one in container.get("descriptions", ())]
    is_affected_otherwise = not releases or any(
        one.get("defaultStatus", "unknown") != "unaffected" for one in releases
    )
    return KernelRecord(
        name, texts[0] if texts else "", tuple(sorted(files)), tuple(ranges), is_affected_otherwise
    )


def _is_of_commits(affected: Mapping[str, Any]) -> bool:
    return any(version.get("versionType") == "git" for version in affected.get("versions", ()))


def _parse_range(version: Mapping[str, Any]) -> VersionRange:
    return VersionRange(
        _text(version["version"]),
        _text(version.get("lessThan", "")),
        _text(version.get("lessThanOrEqual", "")),
        version["status"] != "unaffected",
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def is_open_in(record: KernelRecord, version: str) -> bool:
    """Whether a kernel of this version has the issue: 6.12.118. What cannot be told counts as yes."""
    hits = [one.is_affected for one in record.ranges if _has_version(one, version)]
    return all(hits) if hits else record.is_affected_otherwise


def find_fixing_version(record: KernelRecord, version: str) -> str:
    """The first later version of the same series without the issue; "" where there is none yet."""
    series = version.split(".")[:2]
    fixes = [
        one.first
        for one in record.ranges
        if not one.is_affected
        and one.first.split(".")[:2] == series
        and _split_version(one.first) > _split_version(version)
    ]
    return min(fixes, key=_split_version, default="")


def _has_version(of: VersionRange, version: str) -> bool:
    number, first = _split_version(version), _split_version(of.first)
    if of.before:
        return first <= number < _split_version(of.before)
    if of.last == "*":
        return first <= number
    if of.last.endswith(".*"):
        return first <= number and version.startswith(of.last[:-1])
    if of.last:
        return first <= number <= _split_version(of.last)
    return first == number


def _split_version(version: str) -> tuple[int, ...]:
    """6.12 as (6, 12, 0); a release candidate counts as its release."""
    numbers = [int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3]]
    return (*numbers, *(0,) * (3 - len(numbers)))


def add_records(
    advisories: Sequence[Advisory], records: Iterable[KernelRecord], version: str
) -> tuple[Advisory, ...]:
    """Advisories with the sources that the kernel's records name.

    Where a distribution's data speak of the kernel, they decide what is open; else the records do, for
    `version`. Sorted as `read_advisories` does.
    """
    by_name = {record.name: record for record in records}
    if any(one.source == LINUX for one in advisories):
        return tuple(
            replace(one, files=by_name[one.name].files)
            if one.source == LINUX and one.name in by_name
            else one
            for one in advisories
        )
    more = _list_open(by_name.values(), version)
    return tuple(sorted([*advisories, *more], key=lambda one: (one.source, one.name)))


def _list_open(records: Iterable[KernelRecord], version: str) -> Iterator[Advisory]:
    for record in records:
        if is_open_in(record, version):
            fixed = find_fixing_version(record, version)
            yield Advisory(record.name, LINUX, fixed, "", record.text, record.files)
