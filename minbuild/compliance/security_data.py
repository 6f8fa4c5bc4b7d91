"""Security data, from a file or an address, and checks of their structure: tracker JSON, OSV entries.

Source: Debian security tracker, data/json; OSV schema 1.6.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbuild.archive.http_client import fetch_small
from minbuild.archive.http_request import strip_credentials
from minbuild.errors import UsageError
from minbuild.file_io import read_named_text

MAX_DATA_SIZE = 256 << 20
"""Bytes of security data that are fetched."""


def load_security_data(source: str) -> str:
    """Return the text of a file or an address. Raises: UsageError, ArchiveError."""
    if "://" in source:
        data = fetch_small(strip_credentials(source), purpose="security data", limit=MAX_DATA_SIZE)
        return data.decode("utf-8", "replace")
    return read_named_text(Path(source))


class MalformedData(Exception):
    """Data with another structure; the message names the location."""


def is_osv(data: Any) -> bool:
    """Tell OSV entries from the tracker's data."""
    return isinstance(data, list) or "affected" in data


def check_shape(data: Any, suite: str) -> None:
    """Check the parts of both formats that are read; `suite` is Debian's release.

    Raises: MalformedData.
    """
    if not isinstance(data, list | dict) or not data:
        raise MalformedData("neither an object nor a list with something in it")
    if isinstance(data, dict) and not is_osv(data):
        for source, issues in data.items():
            for name, about in _require_mapping(issues, source).items():
                _check_issue(
                    _require_mapping(about, f"{source}: {name}"), suite, f"{source}: {name}"
                )
        return
    for number, entry in enumerate(data if isinstance(data, list) else [data], 1):
        _check_entry(_require_mapping(entry, f"entry {number}"), f"entry {number}")


def _check_issue(about: dict[str, Any], suite: str, location: str) -> None:
    for release, state in _require_mapping(about.get("releases"), f"{location}: releases").items():
        _require_mapping(state, f"{location}: releases: {release}")
        if release == suite:
            _require_text(state, "status", f"{location}: {suite}")


def _check_entry(entry: dict[str, Any], location: str) -> None:
    _require_text(entry, "id", location)
    for affected in _require_list(entry.get("affected"), f"{location}: affected"):
        affected_location = f"{location}: affected"
        package = _require_mapping(
            _require_mapping(affected, affected_location).get("package"),
            f"{affected_location}: package",
        )
        _require_text(package, "ecosystem", f"{affected_location}: package")
        _require_text(package, "name", f"{affected_location}: package")
        for version_range in _require_list(
            affected.get("ranges", []), f"{affected_location}: ranges"
        ):
            for event in _require_list(
                _require_mapping(version_range, f"{affected_location}: ranges").get("events"),
                f"{affected_location}: events",
            ):
                _require_mapping(event, f"{affected_location}: events")


def _require_text(value: dict[str, Any], key: str, location: str) -> None:
    if not isinstance(value.get(key), str):
        raise MalformedData(f"{location} has no {key}")


def _require_mapping(value: Any, location: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedData(f"{location} is {'not there' if value is None else 'no object'}")
    return value


def _require_list(value: Any, location: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedData(f"{location} is {'not there' if value is None else 'no list'}")
    return value


@dataclass(frozen=True, slots=True)
class Advisory:
    """One open issue of one source package, as the data say it."""

    name: str
    source: str
    fixed: str
    """The version that fixes it; "" when there is none yet."""
    urgency: str
    text: str
    files: tuple[str, ...] = ()
    """Of the kernel: sources that it touches, where its own record is known; sorted."""


def read_advisories(text: str, suite: str, where: str) -> tuple[Advisory, ...]:
    """Read the tracker's JSON, or OSV's; sorted.

    `suite` is Debian's release: trixie.
    Raises: UsageError when it is neither, or says of an entry what cannot be read.
    """
    fix = "give Debian's security-tracker data/json, or a list of OSV entries"
    try:
        data = json.loads(text)
        check_shape(data, suite)
        advisories = _parse_osv(data) if is_osv(data) else _parse_tracker(data, suite)
        return tuple(sorted(advisories, key=lambda one: (one.source, one.name)))
    except json.JSONDecodeError as error:
        problem = f"no JSON at line {error.lineno}, column {error.colno}"
        problem = f"{problem} ({error.msg})" if text.strip() else "the file is empty"
        is_cut = error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip())
        if is_cut and text.strip():
            fix = f"fetch it again: it ends too early; or {fix}"
    except MalformedData as error:
        problem = str(error)
    except RecursionError:
        problem = "it is nested too deeply"
    raise UsageError(f"this is no security data: {problem}", where=where, fix=fix)


def _parse_tracker(data: Mapping[str, Any], suite: str) -> Iterator[Advisory]:
    for source, issues in data.items():
        for name, about in issues.items():
            state = about["releases"].get(suite)
            if state is None or state["status"] == "resolved":
                fixed = state and state.get("fixed_version")
                if not fixed or fixed == "0":
                    continue
            else:
                fixed = about["releases"].get("sid", {}).get("fixed_version", "")
            yield Advisory(name, source, str(fixed or ""), str((state or {}).get("urgency", "")),
                        str(about.get("description", "")))  # fmt: skip


def _parse_osv(data: Any) -> Iterator[Advisory]:
    for entry in data if isinstance(data, list) else [data]:
        for affected in entry["affected"]:
            if not affected["package"]["ecosystem"].startswith("Debian"):
                continue
            events = [event for one in affected.get("ranges", ()) for event in one["events"]]
            fixed = next((event["fixed"] for event in events if "fixed" in event), "")
            text = str(entry.get("details") or entry.get("summary") or "")
            yield Advisory(str(entry["id"]), str(affected["package"]["name"]), str(fixed), "", text)
