"""Every file that the packages at hand offer, reached the way the kernel walks a path."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbuild.facts.types import Entry, FileFacts, Files, Kind, Symbols
from minbuild.paths import MERGED, RootPath, parents
from minbuild.resolve import pattern
from minbuild.resolve.types import Need, NeedKind

LINK_LIMIT = 40
"""Source: path_resolution(7), ELOOP; MAXSYMLINKS."""

LOOP = "the links turn in a circle"

MERGED_LINKS: Mapping[RootPath, Entry] = {
    RootPath(f"/{name}"): Entry(RootPath(f"/{name}"), Kind.LINK, 0o777, target=target)
    for name, target in MERGED.items()
}


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a raw path ends: its directory part resolved, its last component as it stands."""

    path: RootPath
    entry: Entry
    passed: tuple[RootPath, ...]
    """Links walked through, and directories left again by `..`, in order."""


class Catalog:
    """Paths of all files at hand; of several packages with one path the nearest wins.

    Nearest: rendered files, then packages by their distance from `wanted` (packages that roots
    name) along Depends, then by name. So the answer hangs on no order of input.
    `merged`: /bin, /lib and the like are generated, whatever packages say of them, as in every
    image; else this is a root as it stands.
    """

    def __init__(
        self, files: Sequence[Files], wanted: Sequence[str] = (), *, merged: bool = True
    ) -> None:
        self._merged = MERGED_LINKS if merged else {}
        self.files = tuple(sorted(files, key=lambda one: one.owner))
        self.by_name = {one.owner: one for one in self.files}
        self._providers: dict[str, list[str]] = {}
        for one in self.files:
            for virtual in one.provides:
                self._providers.setdefault(virtual, []).append(one.owner)
        self._index: dict[RootPath, Files] = {}
        distance = self._distances(wanted)
        far = len(self.files) + 1
        for one in sorted(
            self.files, key=lambda one: (distance.get(one.owner, far), one.owner), reverse=True
        ):
            self._index.update(dict.fromkeys(one.entries, one))
        self._directories: dict[str, tuple[RootPath, tuple[RootPath, ...]] | None] = {}
        self._reached: dict[str, Reach | None] = {}
        self._real: dict[RootPath, RootPath | None] = {}
        self._facts: dict[RootPath, FileFacts | None] = {}
        self._implied: set[RootPath] | None = None
        self._paths: list[RootPath] | None = None

    @property
    def generated(self) -> bool:
        """Tell whether this becomes an image, which is given what packages make at install."""
        return bool(self._merged)

    @property
    def split(self) -> bool:
        """Tell whether /lib and /usr/lib are two directories."""
        entry = self.entry(RootPath("/lib"))
        return entry is not None and entry.kind is Kind.DIRECTORY

    def pin(self, path: RootPath, files: Files, *, rendered: bool = False) -> None:
        """Take `path` from `files`, whoever else has it; before anything is looked up.

        `rendered`: also when it is the path of a rendered file.
        """
        before = self._index[path]
        if (before.owner or rendered) and before is not files:
            self._index[path] = files
            for cache in (self._directories, self._reached, self._real, self._facts):
                cache.clear()

    def owner(self, path: RootPath) -> str:
        """The package that `path` comes from; "" for rendered and generated ones."""
        one = self._index.get(path)
        return one.owner if one is not None and path not in self._merged else ""

    def entry(self, path: RootPath) -> Entry | None:
        """What stands at `path`; merged-/usr links are always there, if generated at all."""
        merged = self._merged.get(path)
        if merged is not None:
            return merged
        one = self._index.get(path)
        if one is not None:
            return one.entries[path]
        return None

    def facts(self, path: RootPath) -> FileFacts | None:
        """What is known of the content at a real path."""
        if path not in self._facts:
            one = self._index.get(path)
            self._facts[path] = one.facts(_content(one.entries[path])) if one is not None else None
        return self._facts[path]

    def symbols(self, path: RootPath) -> Symbols | None:
        """The dynamic symbols of the ELF object at a real path."""
        one = self._index.get(path)
        return one.symbols(_content(one.entries[path])) if one is not None else None

    def is_directory(self, path: RootPath) -> bool:
        """Tell whether `path` is a directory, shipped or implied by what lies below it."""
        entry = self.entry(path)
        if entry is not None:
            return entry.kind is Kind.DIRECTORY
        if self._implied is None:
            above = {RootPath(known.rpartition("/")[0] or "/") for known in self._index}
            self._implied = above | {parent for each in above for parent in parents(each)}
        return path in self._implied

    def reach(self, raw: str) -> Reach | None:
        """Walk absolute `raw` as the kernel does, but do not follow its last component."""
        if raw not in self._reached:
            self._reached[raw] = self._reach(raw)
        return self._reached[raw]

    def reach_directory(self, raw: str) -> Reach | None:
        """Walk `raw` to a directory, also to one that no package ships."""
        walked = self._walk(raw)
        if walked is None or not self.is_directory(walked[0]):
            return None
        at, passed = walked
        return Reach(at, self.entry(at) or generated_directory(at), passed)

    def real(self, path: RootPath) -> RootPath | None:
        """Follow `path` to what is no link; None when it dangles or turns in a circle."""
        if path not in self._real:
            self._real[path] = self._follow(path)
        return self._real[path]

    def why_not(self, raw: str) -> str:
        """Say why a walk along `raw` failed."""
        at, hops = self.reach(raw), 0
        while at is not None and at.entry.kind is Kind.LINK:
            hops += 1
            if hops > LINK_LIMIT:
                return LOOP
            at = self.reach(beside(at.path, at.entry.target))
        return "nothing is there"

    def edges(self, reach: Reach, raw: str, by: str, kind: NeedKind, evidence: str) -> list[Need]:
        """The needs of one walk: what was passed, then the end itself."""
        needs = [self._step(path, raw, by) for path in reach.passed]
        needs.append(Need(reach.path, by, kind, evidence))
        return needs

    def matching(self, glob: str, files: Files | None = None) -> Iterator[RootPath]:
        """Files and links (no directories) that match `glob`, sorted; of one package or of all."""
        start = pattern.prefix(glob)
        match = pattern.compiled(glob).fullmatch
        where = self._index if files is None else files.entries
        for path in sorted(path for path in where if path.startswith(start) and match(path)):
            entry = files.entries[path] if files else self.entry(path)
            if entry is not None and entry.kind is not Kind.DIRECTORY:
                yield path

    def below(self, directory: RootPath) -> tuple[RootPath, ...]:
        """Files and links (no directories) in a real directory and those in it, sorted."""
        paths = self._sorted_paths()
        start = bisect_left(paths, RootPath(f"{directory}/"))
        end = bisect_left(paths, RootPath(f"{directory}0"))  # "0" follows "/"
        return tuple(
            path
            for path in paths[start:end]
            if self._index[path].entries[path].kind is not Kind.DIRECTORY
        )

    def owners_below(self, directory: RootPath) -> frozenset[str]:
        """The packages that have something in a real directory; "" for rendered files."""
        return frozenset(self._index[path].owner for path in self.below(directory))

    def _sorted_paths(self) -> list[RootPath]:
        if self._paths is None:
            self._paths = sorted(self._index)
        return self._paths

    def named(self, name: str) -> tuple[str, ...]:
        """Packages at hand that are `name` or provide it."""
        if name in self.by_name:
            return (name,)
        return tuple(self._providers.get(name, ()))

    def _distances(self, wanted: Sequence[str]) -> dict[str, int]:
        distance = {"": -1} | {name: 0 for want in wanted for name in self.named(want)}
        todo = deque(sorted(distance))
        while todo:
            name = todo.popleft()
            if name not in self.by_name:
                continue
            for alternatives in self.by_name[name].depends:
                for found in (found for each in alternatives for found in self.named(each)):
                    if found not in distance:
                        distance[found] = distance[name] + 1
                        todo.append(found)
        return distance

    def _reach(self, raw: str) -> Reach | None:
        head, _, name = raw.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            head, name = f"{head}/{name}", ""
        walked = self._walk(head)
        if walked is None:
            return None
        at, passed = walked
        path = at if not name else RootPath(f"{'' if at == '/' else at}/{name}")
        entry = self.entry(path)
        return Reach(path, entry, passed) if entry is not None else None

    def _walk(self, raw: str) -> tuple[RootPath, tuple[RootPath, ...]] | None:
        if raw not in self._directories:
            self._directories[raw] = self._walk_components(raw)
        return self._directories[raw]

    def _walk_components(self, raw: str) -> tuple[RootPath, tuple[RootPath, ...]] | None:
        todo = raw.split("/")[::-1]
        at = RootPath("")
        passed: list[RootPath] = []
        hops = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if at and not self.is_directory(at):
                    return None
                passed += [at] if at else []
                at = RootPath(at.rpartition("/")[0])
                continue
            path = RootPath(f"{at}/{part}")
            entry = self.entry(path)
            if entry is None or entry.kind is Kind.DIRECTORY:
                at = path
                continue
            hops += 1
            if entry.kind is not Kind.LINK or hops > LINK_LIMIT:
                return None
            passed.append(path)
            at = RootPath("") if entry.target.startswith("/") else at
            todo.extend(entry.target.split("/")[::-1])
        return at or RootPath("/"), tuple(passed)

    def _follow(self, path: RootPath) -> RootPath | None:
        entry = self.entry(path)
        for _ in range(LINK_LIMIT):
            if entry is None:
                return path if self.is_directory(path) else None
            if entry.kind is not Kind.LINK:
                return path
            raw = beside(path, entry.target)
            reached = self.reach(raw) or self.reach_directory(raw)
            if reached is None:
                return None
            path, entry = reached.path, reached.entry
        return None

    def _step(self, path: RootPath, raw: str, by: str) -> Need:
        entry = self.entry(path)
        link = entry is not None and entry.kind is Kind.LINK
        return Need(path, by, NeedKind.LINK if link else NeedKind.PARENT, raw)


def generated_directory(path: RootPath) -> Entry:
    """A directory that no package ships."""
    return Entry(path, Kind.DIRECTORY, 0o755)


def beside(path: RootPath, target: str) -> str:
    """The raw absolute path that link `path` with text `target` stands for."""
    return target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"


def _content(entry: Entry) -> RootPath:
    """Where the facts of an entry stand: a hard link's are its first name's."""
    return RootPath(entry.target) if entry.kind is Kind.HARDLINK else entry.path
