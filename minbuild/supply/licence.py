"""A package's licences by their SPDX names, where its copyright file is machine-readable.

Source: Debian, "Machine-readable debian/copyright file" 1.0; SPDX License List 3.
"""

import re

UNKNOWN = "unknown"
FORMAT = re.compile(r"\AFormat: *\S*copyright-format/1\.0/?", re.IGNORECASE)
NAME = re.compile(r"^License: *([^\n]*)$", re.MULTILINE)
GNU = re.compile(r"((?:A|L)?GPL|GFDL)-?v?([0-9](?:\.[0-9])?)(\+?)", re.IGNORECASE)
NAMES = {
    "apache-2.0": "Apache-2.0", "apache-2": "Apache-2.0", "artistic": "Artistic-1.0-Perl",
    "artistic-2.0": "Artistic-2.0", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause", "bsd-2": "BSD-2-Clause", "bsd-3": "BSD-3-Clause",
    "bsl-1.0": "BSL-1.0", "cc0-1.0": "CC0-1.0", "cc0": "CC0-1.0", "cc-by-4.0": "CC-BY-4.0",
    "expat": "MIT", "isc": "ISC", "mit": "MIT", "mpl-1.1": "MPL-1.1", "mpl-2.0": "MPL-2.0",
    "openssl": "OpenSSL", "psf-2": "PSF-2.0", "unlicense": "Unlicense", "x11": "X11",
    "zlib": "Zlib", "bzip2-1.0.6": "bzip2-1.0.6", "curl": "curl", "0bsd": "0BSD",
}  # fmt: skip
"""Debian's short names, lower case → SPDX; the GNU family follows a rule."""


def licences(copyright_file: str) -> tuple[str, ...]:
    """The licences that a copyright file names, as SPDX expressions; sorted, no repeats.

    ("unknown",) where the file is not machine-readable: nothing is guessed.
    """
    if not FORMAT.search(copyright_file):
        return (UNKNOWN,)
    found = {expression(text.strip()) for text in NAME.findall(copyright_file) if text.strip()}
    return tuple(sorted(found)) or (UNKNOWN,)


def expression(text: str) -> str:
    """One License field as an SPDX expression: `GPL-2+ or Artistic` and its like."""
    words = re.split(r",?\s+(and|or)\s+|,\s*", text.strip())
    parts: list[str] = []
    for word in words:
        if not word:
            continue
        joiner = word.upper() in {"AND", "OR"}
        if not joiner and parts and parts[-1] not in {"AND", "OR"}:
            parts.append("AND")
        parts.append(word.upper() if joiner else _one(word))
    mixed = {"AND", "OR"} <= set(parts)
    return _reference(text) if mixed or parts[-1:] in (["AND"], ["OR"]) else " ".join(parts)


def _one(name: str) -> str:
    gnu = GNU.fullmatch(name)
    if gnu is not None:
        version = gnu[2] if "." in gnu[2] else f"{gnu[2]}.0"
        return f"{gnu[1].upper()}-{version}-{'or-later' if gnu[3] else 'only'}"
    return NAMES.get(name.lower()) or _reference(name)


def _reference(name: str) -> str:
    """A licence that SPDX does not list, named as the copyright file names it."""
    return "LicenseRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-")
