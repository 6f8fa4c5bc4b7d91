"""View of the files of all packages as one root, with path lookup as the kernel does it."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from minbuild.facts.model import FileEntry, FileFacts, PackageFiles, Symbols
from minbuild.formats.root_entry import FileType
from minbuild.paths import USRMERGED, RootPath, list_parents
from minbuild.resolve import path_glob
from minbuild.resolve.model import ResolvedPath

LINK_LIMIT = 40
"""Source: path_resolution(7), ELOOP; MAXSYMLINKS."""

LINK_LOOP = "the links turn in a circle"

MERGED_LINKS: Mapping[RootPath, FileEntry] = {
    RootPath(f"/{name}"): FileEntry(RootPath(f"/{name}"), FileType.LINK, 0o777, target=target)
    for name, target in USRMERGED.items()
}


class PackageView:
    """Paths of all files at hand; of several packages with one path the nearest wins.

    Nearest: rendered files, then packages by their distance from `root_packages` (those that roots
    name) along Depends, then by name. So the answer does not depend on the order of input.
    `merged`: /bin, /lib and the like are generated, whatever packages say of them, as in every
    image; else this is a root as it is.
    """

    def __init__(
        self,
        packages: Sequence[PackageFiles],
        root_packages: Sequence[str] = (),
        *,
        merged: bool = True,
    ) -> None:
        self._merged = MERGED_LINKS if merged else {}
        self.packages = tuple(sorted(packages, key=lambda package: package.owner))
        self.by_name = {package.owner: package for package in self.packages}
        self._providers: dict[str, list[str]] = {}
        for package in self.packages:
            for virtual in package.provides:
                self._providers.setdefault(virtual, []).append(package.owner)
        self._package_by_path: dict[RootPath, PackageFiles] = {}
        distances = self._measure_distances(root_packages)
        unreachable = len(self.packages) + 1
        for package in sorted(
            self.packages,
            key=lambda package: (distances.get(package.owner, unreachable), package.owner),
            reverse=True,
        ):
            self._package_by_path.update(dict.fromkeys(package.entries, package))
        self._walked_directories: dict[str, tuple[RootPath, tuple[RootPath, ...]] | None] = {}
        self._lookups: dict[str, ResolvedPath | None] = {}
        self._link_targets: dict[RootPath, RootPath | None] = {}
        self._facts: dict[RootPath, FileFacts | None] = {}
        self._implied_directories: set[RootPath] | None = None
        self._path_list: list[RootPath] | None = None

    @property
    def is_image(self) -> bool:
        """Tell whether this becomes an image, which is given what packages make at install."""
        return bool(self._merged)

    @property
    def has_split_lib(self) -> bool:
        """Tell whether /lib and /usr/lib are two directories."""
        entry = self.get_entry(RootPath("/lib"))
        return entry is not None and entry.kind is FileType.DIRECTORY

    def prefer(self, path: RootPath, package: PackageFiles, *, rendered: bool = False) -> None:
        """Take `path` from `package`, whichever others have it; before anything is looked up.

        `rendered`: also when it is the path of a rendered file.
        """
        current = self._package_by_path[path]
        if (current.owner or rendered) and current is not package:
            self._package_by_path[path] = package
            for cache in (self._walked_directories, self._lookups, self._link_targets, self._facts):
                cache.clear()

    def get_owner(self, path: RootPath) -> str:
        """The package that `path` comes from; "" for rendered and generated ones."""
        package = self._package_by_path.get(path)
        return package.owner if package is not None and path not in self._merged else ""

    def get_entry(self, path: RootPath) -> FileEntry | None:
        """The entry at `path`; merged-/usr links are always there, if generated at all."""
        merged = self._merged.get(path)
        if merged is not None:
            return merged
        package = self._package_by_path.get(path)
        if package is not None:
            return package.entries[path]
        return None

    def get_facts(self, path: RootPath) -> FileFacts | None:
        """What is known of the content at a real path."""
        if path not in self._facts:
            package = self._package_by_path.get(path)
            self._facts[path] = (
                package.facts(_find_facts_path(package.entries[path]))
                if package is not None
                else None
            )
        return self._facts[path]

    def get_symbols(self, path: RootPath) -> Symbols | None:
        """The dynamic symbols of the ELF object at a real path."""
        package = self._package_by_path.get(path)
        return (
            package.symbols(_find_facts_path(package.entries[path]))
            if package is not None
            else None
        )

    def is_directory(self, path: RootPath) -> bool:
        """Tell whether `path` is a directory, shipped or implied by what lies below it."""
        entry = self.get_entry(path)
        if entry is not None:
            return entry.kind is FileType.DIRECTORY
        if self._implied_directories is None:
            directories = {
                RootPath(known.rpartition("/")[0] or "/") for known in self._package_by_path
            }
            self._implied_directories = directories | {
                parent for each in directories for parent in list_parents(each)
            }
        return path in self._implied_directories

    def look_up(self, raw: str) -> ResolvedPath | None:
        """Walk absolute `raw` as the kernel does, but do not follow its last component."""
        if raw not in self._lookups:
            self._lookups[raw] = self._look_up(raw)
        return self._lookups[raw]

    def look_up_directory(self, raw: str) -> ResolvedPath | None:
        """Walk `raw` to a directory, also to one that no package ships."""
        walked = self._walk_directory(raw)
        if walked is None or not self.is_directory(walked[0]):
            return None
        directory, traversed = walked
        return ResolvedPath(
            directory, self.get_entry(directory) or make_directory_entry(directory), traversed
        )

    def resolve_links(self, path: RootPath) -> RootPath | None:
        """Follow `path` to what is no link; None when it dangles or turns in a circle."""
        if path not in self._link_targets:
            self._link_targets[path] = self._follow_links(path)
        return self._link_targets[path]

    def explain_failure(self, raw: str) -> str:
        """Say why a walk along `raw` failed."""
        resolved, hops = self.look_up(raw), 0
        while resolved is not None and resolved.entry.kind is FileType.LINK:
            hops += 1
            if hops > LINK_LIMIT:
                return LINK_LOOP
            resolved = self.look_up(join_link_target(resolved.path, resolved.entry.target))
        return "nothing is there"

    def find_paths(self, glob: str, package: PackageFiles | None = None) -> Iterator[RootPath]:
        """Files and links (no directories) that match `glob`, sorted; of one package or of all."""
        start = path_glob.get_literal_prefix(glob)
        matches_glob = path_glob.compile_glob(glob).fullmatch
        candidates = self._package_by_path if package is None else package.entries
        for path in sorted(
            path for path in candidates if path.startswith(start) and matches_glob(path)
        ):
            entry = package.entries[path] if package else self.get_entry(path)
            if entry is not None and entry.kind is not FileType.DIRECTORY:
                yield path

    def find_files_below(self, directory: RootPath) -> tuple[RootPath, ...]:
        """Files and links (no directories) in a real directory and those in it, sorted."""
        paths = self._sort_paths()
        start = bisect_left(paths, RootPath(f"{directory}/"))
        end = bisect_left(paths, RootPath(f"{directory}0"))  # "0" follows "/"
        return tuple(
            path
            for path in paths[start:end]
            if self._package_by_path[path].entries[path].kind is not FileType.DIRECTORY
        )

    def find_owners_below(self, directory: RootPath) -> frozenset[str]:
        """The packages that have something in a real directory; "" for rendered files."""
        return frozenset(
            self._package_by_path[path].owner for path in self.find_files_below(directory)
        )

    def _sort_paths(self) -> list[RootPath]:
        if self._path_list is None:
            self._path_list = sorted(self._package_by_path)
        return self._path_list

    def find_providers(self, name: str) -> tuple[str, ...]:
        """Packages at hand that are `name` or provide it."""
        if name in self.by_name:
            return (name,)
        return tuple(self._providers.get(name, ()))

    def _measure_distances(self, root_packages: Sequence[str]) -> dict[str, int]:
        distances = {"": -1} | {
            name: 0 for root_package in root_packages for name in self.find_providers(root_package)
        }
        queue = deque(sorted(distances))
        while queue:
            name = queue.popleft()
            if name not in self.by_name:
                continue
            for alternatives in self.by_name[name].depends:
                for provider in (
                    provider for each in alternatives for provider in self.find_providers(each)
                ):
                    if provider not in distances:
                        distances[provider] = distances[name] + 1
                        queue.append(provider)
        return distances

    def _look_up(self, raw: str) -> ResolvedPath | None:
        head, _, name = raw.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            head, name = f"{head}/{name}", ""
        walked = self._walk_directory(head)
        if walked is None:
            return None
        directory, traversed = walked
        path = (
            directory if not name else RootPath(f"{'' if directory == '/' else directory}/{name}")
        )
        entry = self.get_entry(path)
        return ResolvedPath(path, entry, traversed) if entry is not None else None

    def _walk_directory(self, raw: str) -> tuple[RootPath, tuple[RootPath, ...]] | None:
        if raw not in self._walked_directories:
            self._walked_directories[raw] = self._walk_components(raw)
        return self._walked_directories[raw]

    def _walk_components(self, raw: str) -> tuple[RootPath, tuple[RootPath, ...]] | None:
        remaining = raw.split("/")[::-1]
        directory = RootPath("")
        traversed: list[RootPath] = []
        hops = 0
        while remaining:
            part = remaining.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if directory and not self.is_directory(directory):
                    return None
                traversed += [directory] if directory else []
                directory = RootPath(directory.rpartition("/")[0])
                continue
            path = RootPath(f"{directory}/{part}")
            entry = self.get_entry(path)
            if entry is None or entry.kind is FileType.DIRECTORY:
                directory = path
                continue
            hops += 1
            if entry.kind is not FileType.LINK or hops > LINK_LIMIT:
                return None
            traversed.append(path)
            directory = RootPath("") if entry.target.startswith("/") else directory
            remaining.extend(entry.target.split("/")[::-1])
        return directory or RootPath("/"), tuple(traversed)

    def _follow_links(self, path: RootPath) -> RootPath | None:
        entry = self.get_entry(path)
        for _ in range(LINK_LIMIT):
            if entry is None:
                return path if self.is_directory(path) else None
            if entry.kind is not FileType.LINK:
                return path
            raw = join_link_target(path, entry.target)
            resolved = self.look_up(raw) or self.look_up_directory(raw)
            if resolved is None:
                return None
            path, entry = resolved.path, resolved.entry
        return None


def make_directory_entry(path: RootPath) -> FileEntry:
    """A directory that no package ships."""
    return FileEntry(path, FileType.DIRECTORY, 0o755)


def join_link_target(path: RootPath, target: str) -> str:
    """The raw absolute path that the link `path` with text `target` means."""
    return target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"


def _find_facts_path(entry: FileEntry) -> RootPath:
    """Where the facts of an entry stand: a hard link's are its first name's."""
    return RootPath(entry.target) if entry.kind is FileType.HARDLINK else entry.path
