"""Packages of a root; each file is read and hashed when it is first needed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property

from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.facts import detect
from minbuild.facts.elf_facts import read_elf, read_elf_symbols
from minbuild.facts.model import FileEntry, FileFacts, PackageFiles, Symbols
from minbuild.formats.elf_file import Bytes
from minbuild.formats.root_entry import (
    FileType,
    RootEntry,
    UsrMergeLayout,
    detect_layout,
    plan_full_merge,
)
from minbuild.paths import RootPath
from minbuild.process import RunProgram
from minbuild.roots.installed_packages import read_package_database
from minbuild.roots.model import UNOWNED, InstalledPackage, RootSource


class RootPackages:
    """A root seen as packages."""

    def __init__(
        self,
        source: RootSource,
        *,
        use_database: bool = True,
        rpm: RunProgram | None = None,
        usrmerge: bool = True,
    ) -> None:
        """Walk the root once; with `owned`, its own database says whose its files are.

        `rpm` reads what of databases only rpm can; None where there is none. `merged`: /bin and
        /usr/bin become one, as in what we make, and devices are left out; else the root is seen
        as it is.
        """
        self.source = source
        self._usrmerge = usrmerge
        self._use_database = use_database
        self._rpm = rpm
        self._entries: dict[RootPath, FileEntry] = {}

    @cached_property
    def by_native_path(self) -> Mapping[str, RootEntry]:
        """Every path as the root has it."""
        return {
            entry.native_path: entry
            for entry in self.source.walk()
            if not (self._usrmerge and entry.kind is FileType.OTHER)
        }

    @cached_property
    def layout(self) -> UsrMergeLayout:
        """Where the paths of a root that is seen as it is stand."""
        return detect_layout(self.by_native_path)

    @cached_property
    def by_image_path(self) -> Mapping[RootPath, RootEntry]:
        """By path, sorted; of two files that merging brings together the real one."""
        if not self._usrmerge:
            entries = [self.layout.relocate_entry(one) for one in self.by_native_path.values()]
            by_path = {
                one.path: one
                for one in entries
                if one.native_path not in self.layout.replaced_links
            }
            return dict(sorted(by_path.items()))
        merged: dict[RootPath, RootEntry] = {}
        for entry in map(
            plan_full_merge(self.by_native_path).relocate_entry, self.by_native_path.values()
        ):
            previous = merged.get(entry.path)
            if (
                previous is None
                or previous.kind is FileType.LINK
                or previous.kind is FileType.DIRECTORY
            ):
                merged[entry.path] = entry
        return dict(sorted(_promote_hard_links(merged).items()))

    @cached_property
    def hidden_files(self) -> Sequence[tuple[RootEntry, RootEntry]]:
        """Files that merging hides behind others, each with the one that is taken."""
        contents = (FileType.FILE, FileType.HARDLINK)
        pairs = (
            (one, self.by_image_path.get(one.path, one)) for one in self.by_native_path.values()
        )
        return tuple(
            (one, taken)
            for one, taken in pairs
            if one.native_path != taken.native_path
            and one.kind in contents
            and taken.kind in contents
        )

    @cached_property
    def installed_packages(self) -> Mapping[str, InstalledPackage]:
        """The root's packages by name; none when it says nothing of them."""
        if not self._use_database:
            return {}
        return {
            owner.name: owner
            for owner in read_package_database(self.by_native_path, self.source.read, self._rpm)
        }

    @cached_property
    def os_release(self) -> Mapping[str, str]:
        """What the root says of its distribution. Source: os-release(5)."""
        for native_path in ("usr/lib/os-release", "etc/os-release"):
            entry = self.by_native_path.get(native_path)
            if entry is not None and entry.kind is FileType.FILE:
                lines = self.source.read(native_path).decode("utf-8", "replace").splitlines()
                pairs = (line.split("=", 1) for line in lines if "=" in line)
                return {name.strip(): value.strip().strip("\"'") for name, value in pairs}
        return {}

    @cached_property
    def files(self) -> tuple[PackageFiles, ...]:
        """The files of each package, sorted by owner, and then of none. A path has one owner.

        A directory is everybody's who has a file in it: dpkg's lists say so, rpm's do not.
        """
        unowned = dict(self.by_image_path)
        packages = []
        for owner in sorted(self.installed_packages.values(), key=lambda owner: owner.name):
            paths = [path for path in set(owner.paths) if path in self.by_image_path]
            owned_paths = [
                path for path in paths if unowned.pop(path, None) or self._is_directory(path)
            ]
            packages.append(
                self._make_package_files(
                    owner.name, self._with_parent_directories(owned_paths), owner
                )
            )
        return (
            *packages,
            self._make_package_files(UNOWNED, self._with_parent_directories(list(unowned)), None),
        )

    def _with_parent_directories(self, paths: list[RootPath]) -> list[RootPath]:
        all_paths = set(paths)
        for path in paths:
            parent = RootPath(path.rpartition("/")[0])
            while parent and parent not in all_paths and self._is_directory(parent):
                all_paths.add(parent)
                parent = RootPath(parent.rpartition("/")[0])
        return sorted(all_paths)

    def read_entry(self, path: RootPath) -> FileEntry:
        """One path, with the digest of its content."""
        if path not in self._entries:
            self._entries[path] = self._hash_entry(self.by_image_path[path])
        return self._entries[path]

    def read_content(self, path: RootPath) -> bytes:
        """The bytes of a file, by any of its names."""
        return self.source.read(self._native_path(path))

    def read_heads(self, paths: Sequence[RootPath], size: int) -> Mapping[RootPath, bytes]:
        """The first bytes of many files, by any of their names."""
        names: dict[str, list[RootPath]] = {}
        for path in paths:
            names.setdefault(self._native_path(path), []).append(path)
        heads = self.source.read_heads(list(names), size)
        return {path: head for native_path, head in heads for path in names[native_path]}

    def view(self, path: RootPath) -> Bytes:
        """The bytes of a file, by any of its names; only those that are looked at are read."""
        return self.source.view(self._native_path(path))

    def _native_path(self, path: RootPath) -> str:
        entry = self.by_image_path[path]
        return entry.target if entry.kind is FileType.HARDLINK else entry.native_path

    def add_to_cache(self, path: RootPath, store: Store) -> None:
        """Put a file's content into the store.

        Raises: ToolError when the root has changed since it was read.
        """
        entry = self.read_entry(path)
        if store.path(entry.sha256) is None and store.add(self.read_content(path)) != entry.sha256:
            raise ToolError(
                "the root changes while it is read",
                where=f"{self.source.name}: {path}",
                fix="try again when nothing writes to it",
            )

    def _hash_entry(self, entry: RootEntry) -> FileEntry:
        digest, target = "", entry.target
        if entry.kind in (FileType.FILE, FileType.HARDLINK):
            digest = hashlib.sha256(self.read_content(entry.path)).hexdigest()
        if entry.kind is FileType.HARDLINK:
            target = self.image_path(entry.target)
        return FileEntry(
            entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, digest, target,
            entry.capability.hex() if entry.kind is FileType.FILE else "",
        )  # fmt: skip

    def image_path(self, native_path: str) -> RootPath:
        """The path of what stands at `raw`."""
        return (
            self.by_native_path[native_path].path
            if self._usrmerge
            else self.layout.image_path(native_path)
        )

    def _make_package_files(
        self, name: str, paths: list[RootPath], owner: InstalledPackage | None
    ) -> PackageFiles:
        return PackageFiles(
            owner=name,
            entries=_LazyEntries(self, paths),
            facts=self._read_facts,
            symbols=self._read_symbols,
            depends=owner.depends if owner else (),
            provides=owner.provides if owner else (),
            version=owner.version if owner else "",
        )

    def _read_facts(self, path: RootPath) -> FileFacts | None:
        return detect.read_facts(path, self.read_content(path)) if self._has_content(path) else None

    def _read_symbols(self, path: RootPath) -> Symbols | None:
        return (
            detect.read_symbols(path, self.read_content(path)) if self._has_content(path) else None
        )

    def _is_directory(self, path: RootPath) -> bool:
        return path in self.by_image_path and self.by_image_path[path].kind is FileType.DIRECTORY

    def _has_content(self, path: RootPath) -> bool:
        return self.by_image_path[path].kind in (FileType.FILE, FileType.HARDLINK)


def _promote_hard_links(merged: Mapping[RootPath, RootEntry]) -> dict[RootPath, RootEntry]:
    """Hard links whose first name is hidden behind another file have another of theirs for it."""
    visible = {entry.native_path for entry in merged.values()}
    firsts: dict[str, str] = {}
    entries = {}
    for path, entry in merged.items():
        if entry.kind is FileType.HARDLINK and entry.target not in visible:
            first = firsts.setdefault(entry.target, entry.native_path)
            kind, target = (
                (FileType.FILE, "") if first == entry.native_path else (FileType.HARDLINK, first)
            )
            entries[path] = replace(entry, kind=kind, target=target)
        else:
            entries[path] = entry
    return entries


class _LazyEntries(Mapping[RootPath, FileEntry]):
    """The entries of one owner by path, sorted; each is made when asked for."""

    def __init__(self, root_packages: RootPackages, paths: list[RootPath]) -> None:
        self._root_packages = root_packages
        self._paths = dict.fromkeys(paths)

    def __getitem__(self, path: RootPath) -> FileEntry:
        if path not in self._paths:
            raise KeyError(path)
        return self._root_packages.read_entry(path)

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __iter__(self) -> Iterator[RootPath]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


_CONTENT_TYPES = (FileType.FILE, FileType.HARDLINK)


def make_lazy_files(root_packages: RootPackages) -> PackageFiles:
    """Make one `Files`, owned by "", of a root; nothing is hashed.

    Of an ELF object only the tables of its loader are read; a file that starts like nothing that
    is known is never read further.
    """
    entries = {path: _make_entry(root_packages, path) for path in root_packages.by_image_path}
    heads = root_packages.read_heads(
        [p for p, one in entries.items() if one.kind in _CONTENT_TYPES], detect.HEAD_SIZE
    )
    known_heads = {
        path: head
        for path, head in heads.items()
        if detect.may_have_facts(path, head) or detect.may_have_symbols(path, head)
    }

    @cache
    def facts(path: RootPath) -> FileFacts | None:
        head = known_heads.get(path)
        if head is None:
            return None
        if detect.is_elf(head) and not detect.is_module(path):
            return read_elf(root_packages.view(path), strings=False)
        return detect.read_facts(
            path, root_packages.read_content(path) if detect.needs_whole_file(path, head) else head
        )

    @cache
    def symbols(path: RootPath) -> Symbols | None:
        head = known_heads.get(path)
        if head is None or not detect.may_have_symbols(path, head):
            return None
        if not detect.is_module(path) and detect.is_elf(head):
            return read_elf_symbols(root_packages.view(path))
        return detect.read_symbols(path, root_packages.read_content(path))

    return PackageFiles(
        owner="", entries=dict(sorted(entries.items())), facts=facts, symbols=symbols
    )


def _make_entry(root_packages: RootPackages, path: RootPath) -> FileEntry:
    root_entry = root_packages.by_image_path[path]
    target = root_entry.target
    if root_entry.kind is FileType.HARDLINK:
        target = root_packages.image_path(target)
    return FileEntry(
        path,
        root_entry.kind,
        root_entry.mode,
        root_entry.uid,
        root_entry.gid,
        root_entry.size,
        target=target,
    )
