"""What one package's paragraph of an index means."""

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from minbuild.archive.forms import ARCH, NAME, VERSION
from minbuild.archive.types import Package
from minbuild.errors import ArchiveError

if TYPE_CHECKING:
    from debian.deb822 import Packages

T = TypeVar("T")

_SHA256 = re.compile(r"[0-9a-f]{64}")


def newest(found: Sequence[tuple[str, T]]) -> tuple[str, T]:
    """The paragraph with the highest version, and what came with it; the first one of equals."""
    if len(found) == 1:
        return found[0]
    from debian.debian_support import Version

    return max(found, key=lambda pair: Version(_field(pair[0], "Version")))


def version(paragraph: str) -> str:
    """The version in a paragraph."""
    return _field(paragraph, "Version")


def package(paragraph: str, root: str, suite: str) -> Package:
    """Read a paragraph as a package of a suite.

    Raises: ArchiveError when it lacks a field or names a place outside of the mirror.
    """
    fields = _parsed(paragraph)
    try:
        source, _, version = fields.get("Source", "").partition(" ")
        found = Package(
            name=fields["Package"],
            version=fields["Version"],
            arch=fields["Architecture"],
            root=root,
            path=fields["Filename"].removeprefix("./"),
            size=int(fields["Size"]),
            sha256=fields["SHA256"],
            suite=suite,
            source=source,
            source_version=version.strip("() "),
        )
    except (KeyError, ValueError) as error:
        raise _wrong(paragraph, suite, f"{error!r}") from error
    odd = [
        text
        for text, form in (
            (found.name, NAME),
            (found.version, VERSION),
            (found.arch, ARCH),
            (found.source, NAME),
            (found.source_version, VERSION),
        )
        if text and not form.fullmatch(text)
    ]
    if odd or not found.name or not found.version:
        raise _wrong(paragraph, suite, f"its name, version or architecture is {odd[:1] or 'empty'}")
    parts = found.path.split("/")
    if not _SHA256.fullmatch(found.sha256) or found.size < 0 or {"", "..", "."} & {*parts}:
        raise _wrong(paragraph, suite, f"{found.path}, {found.size} bytes, SHA-256 {found.sha256}")
    return found


def depends(paragraph: str) -> tuple[tuple[str, ...], ...]:
    """Pre-Depends and Depends: each with its alternatives, names only.

    Source: Debian Policy 7.1, "Syntax of relationship fields".

    Raises: ArchiveError for a dependency that is none.
    """
    relations = _parsed(paragraph).relations
    found = tuple(
        tuple(dict.fromkeys(one["name"] for one in alternatives if one["name"]))
        for key in ("pre-depends", "depends")
        for alternatives in relations[key] or ()
    )
    for name in (name for names in found for name in names):
        if not NAME.fullmatch(name):
            raise _wrong(paragraph, "its dependencies", f"it depends on {name[:80]!r}")
    return tuple(names for names in found if names)


@functools.lru_cache(maxsize=4)
def _parsed(paragraph: str) -> "Packages":
    import logging

    from debian.deb822 import Packages

    # what it cannot parse it would write to the terminal as it stands, and `depends` refuses it
    logging.getLogger("debian.deb822").disabled = True
    return Packages(paragraph)


def _field(paragraph: str, name: str) -> str:
    match = re.search(rf"^{name}: *(.*)$", paragraph, re.MULTILINE)
    return match[1].strip() if match else "0"


def _wrong(paragraph: str, suite: str, reason: str) -> ArchiveError:
    return ArchiveError(
        f"the index says something impossible of {_field(paragraph, 'Package')}: {reason}",
        where=suite,
        fix="use another mirror (--mirror URL)",
    )
