"""Where a thing stands in a YAML document."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a YAML document; prints as `host.yaml:12:3 (kernel.use[0])`."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    document: str = ""
    """Path in the document: network.use[2]."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place} ({self.document})" if self.document else place


@dataclass(frozen=True, slots=True)
class Name:
    """A bare name in a list (a module, an applet, a kernel option) and where it stands."""

    text: str
    where: Where
