"""Place of a value in a YAML document, and text that remembers its own.

Errors, footprints and reports carry a `Location`, so that each can name the line to change.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a YAML document; prints as `host.yaml:12:3 (kernel.use[0])`."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    document: str = ""
    """Path in the document: network.use[2]."""

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}"
        return f"{position} ({self.document})" if self.document else position


@dataclass(frozen=True, slots=True)
class LocatedName:
    """A name in a document (a module, an applet, a kernel option) with its place."""

    text: str
    where: Location


@dataclass(frozen=True, slots=True)
class LocatedText:
    """The text of a file as a document has it, before it is rendered."""

    text: str
    where: Location
    block: bool
    """True: a `|` block, whose first line is the line after `where`."""
