"""Rules: what chosen files need that no header of theirs shows, and what packages make of it."""

from dataclasses import dataclass

from minbuild.manifest.types import Priority, Where


@dataclass(frozen=True, slots=True)
class Rule:
    """When a file, a program or a wish is there, other files are needed."""

    where: Where
    needs: tuple[str, ...]
    """Paths or globs with `{names}`; the first that is there is taken, of a glob every match."""
    file: str = ""
    """Glob of the path that sets the rule off."""
    linked: str = ""
    """Soname or glob: every ELF file that names it in DT_NEEDED sets the rule off."""
    value: str = ""
    """Regular expression of what a manifest asks for: `data: {TOPIC: [...]}`; its named groups are
    names."""
    line: str = ""
    """Regular expression that a line of the file must hold; its named groups are names."""
    each: str = ""
    """Regular expression: each match in the line's group `rest` (or the line) is a need."""
    own: bool = False
    """Only files of the package that the file came from."""
    package: str = ""
    """Who has what is needed, with `{names}`; "" for the file's own package."""
    priority: Priority = Priority.REQUIRED
    """Only what is required is taken; the rest is listed."""
    because: str = ""
    topic: str = ""
    """The name of the rule's document."""


@dataclass(frozen=True, slots=True)
class Install:
    """A path that a package's maintainer script makes when the package is installed."""

    where: Where
    package: str
    path: str
    alternative: str = ""
    """A link to this name in /etc/alternatives, which is a link to `to`."""
    to: str = ""
    copies: str = ""
    """The package's file that it is a copy of."""
    joins: str = ""
    """Glob of the package's files, which it holds one after the other."""


@dataclass(frozen=True, slots=True)
class RuleDocument:
    """A file of rules as it is written."""

    where: Where
    summary: str
    source: str = ""
    rules: tuple[Rule, ...] = ()
    installs: tuple[Install, ...] = ()


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Every rule, by the order of its document's name."""

    rules: tuple[Rule, ...] = ()
    installs: tuple[Install, ...] = ()
    topics: tuple[str, ...] = ()
    """Names of all documents, sorted."""


NO_RULES = Rulebook()
