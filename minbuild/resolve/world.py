"""What every rule may look at: the catalog, the loader, the kernel."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from minbuild.facts.types import Entry, FileFacts
from minbuild.paths import RootPath
from minbuild.resolve.book import Book
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.kernel import MODULES, Kernel
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
    """Modules, and `firmware NAME`, asked for that are built in → who asked first."""
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
    kernels: dict[str, Kernel] = field(default_factory=dict)
    """Of a root with several, those that modules were looked up in, by release."""

    def kernel_of(self, path: str) -> Kernel:
        """The kernel that loads the module at `path`: a root as it stands may hold several.

        A module that lies with another release's, and not with a kernel's own (extra/ for links in
        weak-updates/), is loaded by the kernel of the image.
        """
        if self.catalog.generated or not path.startswith(f"{MODULES}/"):
            return self.kernel
        version = path.split("/")[4]
        if version == self.kernel.version:
            return self.kernel
        found = self.kernels.setdefault(version, Kernel(self.catalog, version))
        own = f"{found.directory}/kernel/"
        return found if any(one.startswith(own) for one in found.modules.values()) else self.kernel

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
