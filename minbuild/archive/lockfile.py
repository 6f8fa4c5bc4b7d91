"""Lock file: JSON with one package a line, so that a new version is a one-line change."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from minbuild.archive.model import (
    ARCHITECTURE,
    INSTALLED,
    PACKAGE_NAME,
    PACKAGE_VERSION,
    Lock,
    LockedSuite,
    Package,
)
from minbuild.errors import ArchiveError, combine
from minbuild.file_io import read_regular_text, write_atomic


@dataclass(frozen=True, slots=True)
class LockChange:
    """A package that one of two locks adds, removes or changes."""

    part: str
    """host or toolbox."""
    name: str
    before: str
    """Its version; "" if added."""
    after: str
    """Its version; "" if removed."""
    suite: str


def diff_locks(before: Lock | None, after: Lock) -> tuple[LockChange, ...]:
    """List what a new lock adds, removes and changes: packages of the host first, by name."""
    changes = _diff_packages("host", before.packages if before else (), after.packages)
    changes += _diff_packages("toolbox", before.toolbox if before else (), after.toolbox)
    return tuple(changes)


def _diff_packages(
    part: str, before: Sequence[Package], after: Sequence[Package]
) -> list[LockChange]:
    old = {package.name: package for package in before}
    new = {package.name: package for package in after}
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was is None or now is None or was.sha256 != now.sha256:
            suite = (now or was).suite if now or was else ""  # type: ignore[union-attr]
            versions = (was.version if was else "", now.version if now else "")
            changes.append(LockChange(part, name, *versions, suite))
    return changes


SCHEMA = "minbuild.lock/1"
MAX_SIZE = 64 << 20
"""Bytes of the largest lock; one of a host has 30 kB."""
_KEYS = ("schema", "arch", "suites", "packages", "toolbox")
_REPOSITORY_PATTERN = "([a-z][a-z0-9.-]*)?"
"""debian, debian-security, the name of another archive; \"\" for a local file."""
_PATTERNS = {
    "name": PACKAGE_NAME,
    "version": PACKAGE_VERSION,
    "arch": ARCHITECTURE,
    "source": PACKAGE_NAME,
    "source_version": PACKAGE_VERSION,
}
_HEX = frozenset("0123456789abcdef")

T = TypeVar("T", Package, LockedSuite)


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    Raises: ArchiveError with every problem of the file.
    """
    try:
        text = read_regular_text(path, MAX_SIZE)
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"cannot read the lock file: {error}", where=str(path), fix=_suggest_fix(path)
        ) from error
    return parse_lock(text, path)


@lru_cache(maxsize=4)
def parse_lock(text: str, path: Path) -> Lock:
    """Parse the text of a lock, cached since a build does it repeatedly; `path` is for messages.

    Raises: ArchiveError with every problem of the text.
    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(
            f"not a lock file: {error}", where=str(path), fix=_suggest_fix(path)
        ) from error
    problems: list[ArchiveError] = []

    def add_problem(message: str, position: str = "") -> None:
        where = f"{path} ({position})" if position else str(path)
        problems.append(ArchiveError(message, where=where, fix=_suggest_fix(path)))

    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        add_problem(f"unknown lock format: the schema is not {SCHEMA}")
        raise combine(problems)
    for key in sorted(document.keys() ^ {*_KEYS}):
        add_problem(f"{'unknown' if key in document else 'missing'} field {key!r}")
    arch = document.get("arch")
    if not isinstance(arch, str) or not arch:
        add_problem("not an architecture", "arch")
    suites = _parse_rows(LockedSuite, "suites", document, add_problem)
    packages = _parse_packages("packages", document, add_problem)
    toolbox = _parse_packages("toolbox", document, add_problem)
    if problems:
        raise combine(problems)
    return Lock(str(arch), suites, packages, toolbox)


def render_lock(lock: Lock) -> str:
    """Render a lock as text, independent of the order of its packages."""
    out = [f'{{"schema": {json.dumps(SCHEMA)}', f'"arch": {json.dumps(lock.arch)}']
    out.append(_render_table("suites", LockedSuite, lock.suites))
    out.append(_render_table("packages", Package, sorted(lock.packages, key=_sort_key)))
    out.append(_render_table("toolbox", Package, sorted(lock.toolbox, key=_sort_key)))
    return ",\n".join(out) + "}\n"


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock file atomically.

    Raises: ToolError if the directory is not writable.
    """
    write_atomic(path.resolve(), render_lock(lock).encode())


def _suggest_fix(path: Path) -> str:
    return f"restore {path.name} from your version control, or remove it and run: minbuild lock"


def _sort_key(package: Package) -> tuple[str, ...]:
    return (package.name, package.arch, package.version, package.sha256)


def _render_table(key: str, kind: type[T], rows: Sequence[T]) -> str:
    """Render a list, one object a line, without empty optional fields."""
    fields = [(field.name, field.default == "") for field in dataclasses.fields(kind)]

    def to_object(row: T) -> dict[str, object]:
        values = ((name, getattr(row, name), optional) for name, optional in fields)
        return {name: value for name, value, optional in values if value or not optional}

    body = ",\n ".join(json.dumps(to_object(row)) for row in rows)
    return f'"{key}": [\n {body}]' if body else f'"{key}": []'


def _parse_packages(
    key: str, document: Mapping[str, object], add_problem: Callable[[str, str], None]
) -> tuple[Package, ...]:
    packages = _parse_rows(Package, key, document, add_problem)
    for number, package in enumerate(packages):
        if number and packages[number - 1].name == package.name:
            add_problem(f"{package.name} is in the lock twice", f"{key}[{number}]")
    return tuple(sorted(packages, key=_sort_key))


def _parse_rows(
    kind: type[T], key: str, document: Mapping[str, object], add_problem: Callable[[str, str], None]
) -> tuple[T, ...]:
    rows = document.get(key, [])
    if not isinstance(rows, list):
        add_problem("not a list", key)
        return ()
    parsed: list[T] = []
    for number, row in enumerate(rows):
        reason = _find_type_problem(kind, row)
        if reason:
            add_problem(reason, f"{key}[{number}]")
        else:
            parsed.append(kind(**row))
    return tuple(parsed)


def _find_type_problem(kind: type[T], row: object) -> str:
    """Return the type error of a row; "" if there is none."""
    if not isinstance(row, dict):
        return "not an object"
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in sorted(row.keys() - fields.keys()):
        return f"unknown field {name!r}"
    for name, field in fields.items():
        if name not in row:
            if field.default is dataclasses.MISSING:
                return f"missing field {name!r}"
            continue
        value = row[name]
        if type(value) is not field.type:
            return f"{name} is not a {'number' if field.type is int else 'string'}"
        if isinstance(value, int) and value < 0:
            return f"{name} is negative"
    return _find_unsafe_value(row)


def _find_unsafe_value(row: Mapping[str, object]) -> str:
    """Return why a row with the right types is not safe to use; "" if it is."""
    digest, path, repository = row.get("sha256", ""), str(row.get("path", "x")), row.get("root", "")
    if not isinstance(digest, str) or len(digest) != 64 or not {*digest} <= _HEX:
        return "sha256 is not 64 hex digits"
    if not re.fullmatch(_REPOSITORY_PATTERN, str(repository)):
        return f"invalid archive name: {repository!r}"
    if "path" in row and not repository and not path.startswith(f"{INSTALLED}/"):
        return "path names a local file; a lock pins packages of archives only"
    parts = path.removesuffix("/") if not repository else path
    if path.startswith("/") or {"", ".", ".."} & {*parts.split("/")}:
        return f"path is outside of the mirror: {path!r}"
    if "path" in row and not path:
        return "path is empty"
    return _find_malformed_field(row) if repository and "path" in row else ""


def _find_malformed_field(row: Mapping[str, object]) -> str:
    """Return the field that dpkg would reject; "" for none."""
    for field, pattern in _PATTERNS.items():
        text = row.get(field, "")
        if text and isinstance(text, str) and not pattern.fullmatch(text):
            return f"invalid package {field.replace('_', ' ')}: {text!r}"
    return ""


def lock_json_schema() -> dict[str, object]:
    """Return the JSON Schema of a lock. Source: JSON Schema 2020-12."""
    tables = {"suites": LockedSuite, "packages": Package, "toolbox": Package}
    properties: dict[str, object] = {
        "schema": {"const": SCHEMA},
        "arch": {"type": "string", "minLength": 1},
    }
    for key, kind in tables.items():
        properties[key] = {"type": "array", "items": _row_json_schema(kind)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "minbuild lock",
        "type": "object",
        "properties": properties,
        "required": [*_KEYS],
        "additionalProperties": False,
    }


def _row_json_schema(kind: type[Package] | type[LockedSuite]) -> dict[str, object]:
    special: dict[str, dict[str, object]] = {
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "root": {"type": "string", "pattern": f"^{_REPOSITORY_PATTERN}$"},
        "path": {"type": "string", "minLength": 1},
    }
    fields = dataclasses.fields(kind)
    integer: dict[str, object] = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "properties": {
            field.name: special.get(
                field.name, integer if field.type is int else {"type": "string"}
            )
            for field in fields
        },
        "required": [field.name for field in fields if field.default is dataclasses.MISSING],
        "additionalProperties": False,
    }
