"""State that every rule reads: package view, loader, kernel, waivers, rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from minbuild.facts.model import FileEntry, FileFacts
from minbuild.paths import RootPath
from minbuild.resolve.kernel import MODULES_DIRECTORY, InstalledKernel
from minbuild.resolve.ldso import DynamicLoader
from minbuild.resolve.model import OptionalFile
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.rule_index import RuleIndex
from minbuild.resolve.waivers import Waivers


@dataclass(slots=True)
class ResolveState:
    """The state of one resolve."""

    view: PackageView
    waivers: Waivers
    loader: DynamicLoader
    kernel: InstalledKernel
    rule_index: RuleIndex
    builtin_modules: dict[str, str] = field(default_factory=dict)
    """Modules, and `firmware NAME`, asked for that are built in → who asked first."""
    skipped_softdeps: dict[str, str] = field(default_factory=dict)
    """Names that may be absent and are (softdeps) → who asked first."""
    require_softdeps: bool = False
    """Softdeps must be met, unless they are known to be built in or absent."""
    known_builtin: Mapping[str, str] = field(default_factory=dict)
    known_skipped: Mapping[str, str] = field(default_factory=dict)
    strings: Mapping[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """Paths that a file names in its text, of files whose names are followed."""
    optional_files: set[OptionalFile] = field(default_factory=set)
    other_kernels: dict[str, InstalledKernel] = field(default_factory=dict)
    """Of a root with several, those that modules were looked up in, by release."""

    def find_kernel(self, path: str) -> InstalledKernel:
        """The kernel that loads the module at `path`: an installed root may have several.

        A module that is with another release's, and not with a kernel's own (extra/ for links in
        weak-updates/), is loaded by the kernel of the image.
        """
        if self.view.is_image or not path.startswith(f"{MODULES_DIRECTORY}/"):
            return self.kernel
        version = path.split("/")[4]
        if version == self.kernel.version:
            return self.kernel
        kernel = self.other_kernels.setdefault(version, InstalledKernel(self.view, version))
        own_directory = f"{kernel.directory}/kernel/"
        return (
            kernel
            if any(one.startswith(own_directory) for one in kernel.modules.values())
            else self.kernel
        )

    @property
    def triplet(self) -> str:
        return self.loader.architecture.triplet

    def note_builtin(self, name: str, needed_by: str) -> None:
        """Remember that `needed_by` asked for a module that the kernel has built in."""
        self.builtin_modules[name] = min(needed_by, self.builtin_modules.get(name, needed_by))

    def note_skipped(self, name: str, needed_by: str) -> None:
        """Remember that `needed_by` would use `name` if there were one."""
        self.skipped_softdeps[name] = min(needed_by, self.skipped_softdeps.get(name, needed_by))


@dataclass(frozen=True, slots=True)
class RuleInput:
    """One chosen path that the rules look at."""

    path: RootPath
    entry: FileEntry
    facts: FileFacts | None
