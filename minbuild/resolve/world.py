"""What every rule may look at: the catalog, the loader, the kernel."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from minbuild.facts.types import Entry, FileFacts
from minbuild.paths import RootPath
from minbuild.resolve.book import Book
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.kernel import Kernel
from minbuild.resolve.ldso import Loader
from minbuild.resolve.types import Missing, Need, Possible
from minbuild.resolve.waivers import Waivers

Outcome = Need | Missing


@dataclass(slots=True)
class World:
    """The state of one resolve."""

    catalog: Catalog
    waivers: Waivers
    loader: Loader
    kernel: Kernel
    builtin: dict[str, str] = field(default_factory=dict)
    """Modules asked for that are built in → who asked first."""
    absent: dict[str, str] = field(default_factory=dict)
    """Names that may be absent and are (softdeps) → who asked first."""
    strict: bool = False
    """Softdeps must be met, unless they are known to be built in or absent."""
    known_builtin: Mapping[str, str] = field(default_factory=dict)
    known_absent: Mapping[str, str] = field(default_factory=dict)
    book: Book = field(default_factory=Book)
    strings: Mapping[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """Paths that a file names in its text, of files whose names are followed."""
    possible: set[Possible] = field(default_factory=set)

    @property
    def triplet(self) -> str:
        return self.loader.machine.triplet

    def note_builtin(self, name: str, by: str) -> None:
        """Remember that `by` asked for a module that the kernel has built in."""
        self.builtin[name] = min(by, self.builtin.get(name, by))

    def note_absent(self, name: str, by: str) -> None:
        """Remember that `by` would use `name` if there were one."""
        self.absent[name] = min(by, self.absent.get(name, by))


@dataclass(frozen=True, slots=True)
class Subject:
    """One chosen path that the rules look at."""

    path: RootPath
    entry: Entry
    facts: FileFacts | None
