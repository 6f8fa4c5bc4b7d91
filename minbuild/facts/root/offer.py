"""What a root offers, package by package, each file read and hashed when it is first asked for."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from minbuild.errors import ToolError
from minbuild.facts import sniff
from minbuild.facts.elftable import Bytes
from minbuild.facts.root.owners import Owner, owners
from minbuild.facts.root.places import Places, merged_places, places
from minbuild.facts.root.types import UNOWNED, Found, Program, Source
from minbuild.facts.types import Entry, FileFacts, Files, Kind, Symbols
from minbuild.paths import RootPath
from minbuild.store import Store


class Offer:
    """A root seen as packages."""

    def __init__(
        self,
        source: Source,
        *,
        owned: bool = True,
        rpm: Program | None = None,
        merged: bool = True,
    ) -> None:
        """Walk the root once; with `owned`, its own database says whose its files are.

        `rpm` reads what of databases only rpm can; None where there is none. `merged`: /bin and
        /usr/bin become one, as in what we make, and devices are left out; else the root is seen
        as it is.
        """
        self.source = source
        self._merged = merged
        self._owned = owned
        self._rpm = rpm
        self._entries: dict[RootPath, Entry] = {}

    @cached_property
    def by_raw(self) -> Mapping[str, Found]:
        """Every path as the root has it."""
        return {
            found.raw: found
            for found in self.source.walk()
            if not (self._merged and found.kind is Kind.OTHER)
        }

    @cached_property
    def places(self) -> Places:
        """Where the paths of a root that is seen as it is stand."""
        return places(self.by_raw)

    @cached_property
    def found(self) -> Mapping[RootPath, Found]:
        """By path, sorted; of two files that merging brings together the real one."""
        if not self._merged:
            told = [self.places.told(one) for one in self.by_raw.values()]
            kept = {one.path: one for one in told if one.raw not in self.places.gone}
            return dict(sorted(kept.items()))
        merged: dict[RootPath, Found] = {}
        for found in map(merged_places(self.by_raw).told, self.by_raw.values()):
            before = merged.get(found.path)
            if before is None or before.kind is Kind.LINK or before.kind is Kind.DIRECTORY:
                merged[found.path] = found
        return dict(sorted(_with_first_names(merged).items()))

    @cached_property
    def hidden(self) -> Sequence[tuple[Found, Found]]:
        """Files that merging hides behind others, each with the one that is taken."""
        contents = (Kind.FILE, Kind.HARDLINK)
        pairs = ((one, self.found.get(one.path, one)) for one in self.by_raw.values())
        return tuple(
            (one, taken)
            for one, taken in pairs
            if one.raw != taken.raw and one.kind in contents and taken.kind in contents
        )

    @cached_property
    def owners(self) -> Mapping[str, Owner]:
        """The root's packages by name; none when it says nothing of them."""
        if not self._owned:
            return {}
        return {owner.name: owner for owner in owners(self.by_raw, self.source.read, self._rpm)}

    @cached_property
    def release(self) -> Mapping[str, str]:
        """What the root says of its distribution. Source: os-release(5)."""
        for raw in ("usr/lib/os-release", "etc/os-release"):
            found = self.by_raw.get(raw)
            if found is not None and found.kind is Kind.FILE:
                lines = self.source.read(raw).decode("utf-8", "replace").splitlines()
                pairs = (line.split("=", 1) for line in lines if "=" in line)
                return {name.strip(): value.strip().strip("\"'") for name, value in pairs}
        return {}

    @cached_property
    def files(self) -> tuple[Files, ...]:
        """The files of each package, sorted by owner, and then of none. A path has one owner.

        A directory is everybody's who has a file in it: dpkg's lists say so, rpm's do not.
        """
        left = dict(self.found)
        made = []
        for owner in sorted(self.owners.values(), key=lambda owner: owner.name):
            paths = [path for path in set(owner.paths) if path in self.found]
            mine = [path for path in paths if left.pop(path, None) or self._is_shared(path)]
            made.append(self._files(owner.name, self._with_directories(mine), owner))
        return (*made, self._files(UNOWNED, self._with_directories(list(left)), None))

    def _with_directories(self, paths: list[RootPath]) -> list[RootPath]:
        found = set(paths)
        for path in paths:
            parent = RootPath(path.rpartition("/")[0])
            while parent and parent not in found and self._is_shared(parent):
                found.add(parent)
                parent = RootPath(parent.rpartition("/")[0])
        return sorted(found)

    def entry(self, path: RootPath) -> Entry:
        """One path, with the digest of its content."""
        if path not in self._entries:
            self._entries[path] = self._entry(self.found[path])
        return self._entries[path]

    def content(self, path: RootPath) -> bytes:
        """The bytes of a file, by any of its names."""
        return self.source.read(self._raw(path))

    def heads(self, paths: Sequence[RootPath], size: int) -> Mapping[RootPath, bytes]:
        """The first bytes of many files, by any of their names."""
        names: dict[str, list[RootPath]] = {}
        for path in paths:
            names.setdefault(self._raw(path), []).append(path)
        found = self.source.heads(list(names), size)
        return {path: head for raw, head in found for path in names[raw]}

    def view(self, path: RootPath) -> Bytes:
        """The bytes of a file, by any of its names; only those that are looked at are read."""
        return self.source.view(self._raw(path))

    def _raw(self, path: RootPath) -> str:
        found = self.found[path]
        return found.target if found.kind is Kind.HARDLINK else found.raw

    def keep(self, path: RootPath, store: Store) -> None:
        """Put a file's content into the store.

        Raises: ToolError when the root has changed since it was read.
        """
        entry = self.entry(path)
        if store.file(entry.sha256) is None and store.add(self.content(path)) != entry.sha256:
            raise ToolError(
                "the root changes while it is read",
                where=f"{self.source.name}: {path}",
                fix="try again when nothing writes to it",
            )

    def _entry(self, found: Found) -> Entry:
        digest, target = "", found.target
        if found.kind in (Kind.FILE, Kind.HARDLINK):
            digest = hashlib.sha256(self.content(found.path)).hexdigest()
        if found.kind is Kind.HARDLINK:
            target = self.path(found.target)
        return Entry(
            found.path, found.kind, found.mode, found.uid, found.gid, found.size, digest, target,
            found.capability.hex() if found.kind is Kind.FILE else "",
        )  # fmt: skip

    def path(self, raw: str) -> RootPath:
        """The path of what stands at `raw`."""
        return self.by_raw[raw].path if self._merged else self.places.path(raw)

    def _files(self, name: str, paths: list[RootPath], owner: Owner | None) -> Files:
        return Files(
            owner=name,
            entries=_Entries(self, paths),
            facts=self._facts,
            symbols=self._symbols,
            depends=owner.depends if owner else (),
            provides=owner.provides if owner else (),
            version=owner.version if owner else "",
        )

    def _facts(self, path: RootPath) -> FileFacts | None:
        return sniff.sniff(path, self.content(path)) if self._is_file(path) else None

    def _symbols(self, path: RootPath) -> Symbols | None:
        return sniff.symbols(path, self.content(path)) if self._is_file(path) else None

    def _is_shared(self, path: RootPath) -> bool:
        return path in self.found and self.found[path].kind is Kind.DIRECTORY

    def _is_file(self, path: RootPath) -> bool:
        return self.found[path].kind in (Kind.FILE, Kind.HARDLINK)


def _with_first_names(merged: Mapping[RootPath, Found]) -> dict[RootPath, Found]:
    """Hard links whose first name is hidden behind another file have another of theirs for it."""
    there = {one.raw for one in merged.values()}
    firsts: dict[str, str] = {}
    told = {}
    for path, one in merged.items():
        if one.kind is Kind.HARDLINK and one.target not in there:
            first = firsts.setdefault(one.target, one.raw)
            kind, target = (Kind.FILE, "") if first == one.raw else (Kind.HARDLINK, first)
            told[path] = replace(one, kind=kind, target=target)
        else:
            told[path] = one
    return told


class _Entries(Mapping[RootPath, Entry]):
    """The entries of one owner by path, sorted; each is made when asked for."""

    def __init__(self, offer: Offer, paths: list[RootPath]) -> None:
        self._offer = offer
        self._paths = dict.fromkeys(paths)

    def __getitem__(self, path: RootPath) -> Entry:
        if path not in self._paths:
            raise KeyError(path)
        return self._offer.entry(path)

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __iter__(self) -> Iterator[RootPath]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
