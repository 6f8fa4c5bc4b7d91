"""The lock's file format: JSON, one package a line, so that a new version is a one-line change."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from minbuild.archive.forms import ARCH, NAME, VERSION
from minbuild.archive.types import INSTALLED, Lock, Package, SuiteState
from minbuild.errors import ArchiveError, together
from minbuild.foreign import read_text
from minbuild.records import full_disk

SCHEMA = "minbuild.lock/1"
LARGEST = 64 << 20
"""Bytes of a lock: those of hosts have 30 kB."""
_KEYS = ("schema", "arch", "suites", "packages", "toolbox")
_ROOT = "([a-z][a-z0-9.-]*)?"
"""debian, debian-security, another archive's name; \"\" for a local file."""
_FORMS = {
    "name": NAME,
    "version": VERSION,
    "arch": ARCH,
    "source": NAME,
    "source_version": VERSION,
}
_HEX = frozenset("0123456789abcdef")

T = TypeVar("T", Package, SuiteState)


def read(path: Path) -> Lock:
    """Read a lock.

    Raises: ArchiveError with every problem of the file.
    """
    try:
        text = read_text(path, LARGEST)
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"the lock cannot be read: {error}", where=str(path), fix=_fix(path)
        ) from error
    return parse(text, path)


@lru_cache(maxsize=4)
def parse(text: str, path: Path) -> Lock:
    """Read a lock's text, which a build does more than once; `path` is for messages.

    Raises: ArchiveError with every problem of the text.
    """
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"this is no lock: {error}", where=str(path), fix=_fix(path)) from error
    problems: list[ArchiveError] = []

    def problem(what: str, place: str = "") -> None:
        where = f"{path} ({place})" if place else str(path)
        problems.append(ArchiveError(what, where=where, fix=_fix(path)))

    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        problem(f"this is no lock that minbuild knows: its schema is not {SCHEMA}")
        raise together(problems)
    for key in sorted(found.keys() ^ {*_KEYS}):
        problem(f"a lock {'has no' if key in found else 'needs a'} field {key!r}")
    arch = found.get("arch")
    if not isinstance(arch, str) or not arch:
        problem("not an architecture", "arch")
    suites = _rows(SuiteState, "suites", found, problem)
    packages = _packages("packages", found, problem)
    toolbox = _packages("toolbox", found, problem)
    if problems:
        raise together(problems)
    return Lock(str(arch), suites, packages, toolbox)


def render(lock: Lock) -> str:
    """Write a lock as text: always the same for the same lock, however it is ordered."""
    out = [f'{{"schema": {json.dumps(SCHEMA)}', f'"arch": {json.dumps(lock.arch)}']
    out.append(_table("suites", SuiteState, lock.suites))
    out.append(_table("packages", Package, sorted(lock.packages, key=_order)))
    out.append(_table("toolbox", Package, sorted(lock.toolbox, key=_order)))
    return ",\n".join(out) + "}\n"


def write(path: Path, lock: Lock) -> None:
    """Write a lock, whole or not at all.

    Raises: ToolError when its directory cannot be written.
    """
    place = path.resolve()
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    with full_disk(place.parent):
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(render(lock))
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, place)
        finally:
            beside.unlink(missing_ok=True)


def _fix(path: Path) -> str:
    return f"restore {path.name} from your version control, or remove it and run: minbuild lock"


def _order(package: Package) -> tuple[str, ...]:
    return (package.name, package.arch, package.version, package.sha256)


def _table(key: str, kind: type[T], rows: Sequence[T]) -> str:
    """A list with one object a line: its fields, without those that are empty and may be."""
    fields = [(field.name, field.default == "") for field in dataclasses.fields(kind)]

    def said(row: T) -> dict[str, object]:
        values = ((name, getattr(row, name), optional) for name, optional in fields)
        return {name: value for name, value, optional in values if value or not optional}

    body = ",\n ".join(json.dumps(said(row)) for row in rows)
    return f'"{key}": [\n {body}]' if body else f'"{key}": []'


def _packages(
    key: str, found: Mapping[str, object], problem: Callable[[str, str], None]
) -> tuple[Package, ...]:
    packages = _rows(Package, key, found, problem)
    for number, package in enumerate(packages):
        if number and packages[number - 1].name == package.name:
            problem(f"{package.name} stands twice in the lock", f"{key}[{number}]")
    return tuple(sorted(packages, key=_order))


def _rows(
    kind: type[T], key: str, found: Mapping[str, object], problem: Callable[[str, str], None]
) -> tuple[T, ...]:
    rows = found.get(key, [])
    if not isinstance(rows, list):
        problem("not a list", key)
        return ()
    made: list[T] = []
    for number, row in enumerate(rows):
        reason = _unfit(kind, row)
        if reason:
            problem(reason, f"{key}[{number}]")
        else:
            made.append(kind(**row))
    return tuple(made)


def _unfit(kind: type[T], row: object) -> str:
    """Why a row is no such thing; "" when it is one."""
    if not isinstance(row, dict):
        return "not an object"
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in sorted(row.keys() - fields.keys()):
        return f"no such field: {name!r}"
    for name, field in fields.items():
        if name not in row:
            if field.default is dataclasses.MISSING:
                return f"needs a field {name!r}"
            continue
        value = row[name]
        if type(value) is not field.type:
            return f"{name} is not a {'number' if field.type is int else 'text'}"
        if isinstance(value, int) and value < 0:
            return f"{name} is below zero"
    return _unsafe(row)


def _unsafe(row: Mapping[str, object]) -> str:
    """Why a row may not be used though its fields have the right types."""
    digest, path, root = row.get("sha256", ""), str(row.get("path", "x")), row.get("root", "")
    if not isinstance(digest, str) or len(digest) != 64 or not {*digest} <= _HEX:
        return "sha256 is no SHA-256"
    if not re.fullmatch(_ROOT, str(root)):
        return f"no name of an archive: {root!r}"
    if "path" in row and not root and not path.startswith(f"{INSTALLED}/"):
        return "it names a file of this machine, and a lock pins packages of archives alone"
    parts = path.removesuffix("/") if not root else path
    if path.startswith("/") or {"", ".", ".."} & {*parts.split("/")}:
        return f"path leads out of the mirror: {path!r}"
    if "path" in row and not path:
        return "path is empty"
    return _odd(row) if root and "path" in row else ""


def _odd(row: Mapping[str, object]) -> str:
    """Which text of an archive's package is none that dpkg would take; "" for none."""
    for field, form in _FORMS.items():
        text = row.get(field, "")
        if text and isinstance(text, str) and not form.fullmatch(text):
            return f"{field} is no {field.replace('_', ' ')} of a package: {text!r}"
    return ""


def schema() -> dict[str, object]:
    """The JSON Schema of a lock. Source: JSON Schema 2020-12."""
    tables = {"suites": SuiteState, "packages": Package, "toolbox": Package}
    properties: dict[str, object] = {
        "schema": {"const": SCHEMA},
        "arch": {"type": "string", "minLength": 1},
    }
    for key, kind in tables.items():
        properties[key] = {"type": "array", "items": _schema_of(kind)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "minbuild lock",
        "type": "object",
        "properties": properties,
        "required": [*_KEYS],
        "additionalProperties": False,
    }


def _schema_of(kind: type[Package] | type[SuiteState]) -> dict[str, object]:
    special: dict[str, dict[str, object]] = {
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "root": {"type": "string", "pattern": f"^{_ROOT}$"},
        "path": {"type": "string", "minLength": 1},
    }
    fields = dataclasses.fields(kind)
    whole: dict[str, object] = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "properties": {
            one.name: special.get(one.name, whole if one.type is int else {"type": "string"})
            for one in fields
        },
        "required": [one.name for one in fields if one.default is dataclasses.MISSING],
        "additionalProperties": False,
    }
