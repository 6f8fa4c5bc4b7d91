"""Where a thing stands in a YAML document."""

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
    """A bare name in a list (a module, an applet, a kernel option) and where it stands."""

    text: str
    where: Location


@dataclass(frozen=True, slots=True)
class LocatedText:
    """A file's text as it stands in a document, not yet rendered."""

    text: str
    where: Location
    block: bool
    """True: a `|` block, whose first line is the line after `where`."""
