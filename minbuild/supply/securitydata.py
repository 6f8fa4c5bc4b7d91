"""The shape of security data: what of the tracker's JSON and of OSV's is read is there.

Source: Debian security tracker, data/json; OSV schema 1.6.
"""

from typing import Any


class Misshapen(Exception):
    """Data whose shape is another one, with the place in words."""


def is_osv(data: Any) -> bool:
    """Whether data are OSV's and not the tracker's."""
    return isinstance(data, list) or "affected" in data


def check(data: Any, suite: str) -> None:
    """Hold data against the parts of both formats that are read; `suite` is Debian's release.

    Raises: Misshapen.
    """
    if not isinstance(data, list | dict) or not data:
        raise Misshapen("neither an object nor a list with something in it")
    if isinstance(data, dict) and not is_osv(data):
        for source, issues in data.items():
            for name, about in _mapping(issues, source).items():
                _check_issue(_mapping(about, f"{source}: {name}"), suite, f"{source}: {name}")
        return
    for number, entry in enumerate(data if isinstance(data, list) else [data], 1):
        _check_entry(_mapping(entry, f"entry {number}"), f"entry {number}")


def _check_issue(about: dict[str, Any], suite: str, place: str) -> None:
    for one, state in _mapping(about.get("releases"), f"{place}: releases").items():
        _mapping(state, f"{place}: releases: {one}")
        if one == suite:
            _text(state, "status", f"{place}: {suite}")


def _check_entry(entry: dict[str, Any], place: str) -> None:
    _text(entry, "id", place)
    for affected in _list(entry.get("affected"), f"{place}: affected"):
        here = f"{place}: affected"
        package = _mapping(_mapping(affected, here).get("package"), f"{here}: package")
        _text(package, "ecosystem", f"{here}: package")
        _text(package, "name", f"{here}: package")
        for one in _list(affected.get("ranges", []), f"{here}: ranges"):
            for event in _list(_mapping(one, f"{here}: ranges").get("events"), f"{here}: events"):
                _mapping(event, f"{here}: events")


def _text(value: dict[str, Any], key: str, place: str) -> None:
    if not isinstance(value.get(key), str):
        raise Misshapen(f"{place} has no {key}")


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misshapen(f"{place} is {'not there' if value is None else 'no object'}")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise Misshapen(f"{place} is {'not there' if value is None else 'no list'}")
    return value
