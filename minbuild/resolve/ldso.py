"""Which file the loader maps for every name that a process asks for.

Source: ld.so(8); glibc elf/dl-load.c (_dl_map_object), elf/rtld.c (dl_main), elf/dl-deps.c (breadth first).
"""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from minbuild.facts.types import Dlopen, Elf, Filter
from minbuild.manifest.types import DlopenRule, Priority
from minbuild.paths import RootPath
from minbuild.resolve import pattern
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.configured import PRELOAD, Configured
from minbuild.resolve.knowledge import UNWINDER
from minbuild.resolve.machine import Machine
from minbuild.resolve.musl import Musl, musl_of
from minbuild.resolve.process import Loaded, Process, calls
from minbuild.resolve.search import Hit, Search, Searcher
from minbuild.resolve.types import Missing, Need, NeedKind
from minbuild.resolve.waivers import Waivers

PRIORITIES = tuple(Priority)
"""Of `.note.dlopen`, weightiest first."""


class Loader:
    """The loader of one architecture over one catalog."""

    def __init__(
        self,
        catalog: Catalog,
        machine: Machine,
        waivers: Waivers,
        *,
        dlopen: Sequence[DlopenRule] = (),
    ) -> None:
        self._catalog = catalog
        self.machine = machine
        self._rules = tuple(reversed(dlopen))
        self._searcher = Searcher(catalog, machine, waivers)
        self._unwinds: dict[RootPath, str] = {}
        self.loaded: set[RootPath] = set()
        """Real paths of all objects of all processes so far."""
        self.processes: list[Process] = []
        self._said: set[tuple[RootPath, str, str]] = set()

    def configure(self, configured: Configured) -> None:
        """Take what the root's own files tell its loader; before anything is loaded."""
        self._searcher.configured = configured

    def process(self, path: RootPath, elf: Elf) -> Process:
        """Load the executable, or the library on its own, at real path `path`."""
        main = Loaded(path, path, elf, posixpath.dirname(path), None)
        main.lineage = self._lineage(main)
        process = Process(main, [])
        self._enter(process, main, "")
        if elf.interpreter:
            self._interpreter(process)
        if not self.machine.accepts(elf):
            process.whole = False  # nothing here could start it
            return self._done(process)
        process.musl = musl_of(process, self._catalog, self._searcher, self.machine)
        if process.musl is not None:
            process.names.clear()  # sonames are no names to it
            self._read_by_musl(process, process.musl)
        else:
            self._open_first(process)
        started = opened = 0
        while True:
            started = self._start(process, started)
            if opened < len(process.objects):
                self._notes(process, process.objects[opened])
                opened += 1
            elif not self._unwinder(process):
                break
        return self._done(process)

    def _open_first(self, process: Process) -> None:
        """Load auditors and what the root's own file says is loaded into every program."""
        main = process.main
        for name in main.elf.audit:
            self._audit(process, name)
        for name in self._searcher.configured.preload if main.elf.interpreter else ():
            self._load(process, main, main, name, NeedKind.NEEDED, f"{PRELOAD} {name}")

    def _read_by_musl(self, process: Process, musl: Musl) -> None:
        """The file that tells musl's loader where to look belongs to it."""
        reached = self._catalog.reach(musl.file)
        by = musl.itself
        if by is not None and reached is not None and self._news(by, "path", musl.file):
            evidence = "lists where it looks"
            process.outcomes += self._catalog.edges(
                reached, musl.file, by.path, NeedKind.DATA, evidence
            )

    def _done(self, process: Process) -> Process:
        self.loaded.update(process.paths)
        self.processes.append(process)
        return process

    def _start(self, process: Process, done: int) -> int:
        """Load what is needed, breadth first: the list grows while it is walked."""
        while done < len(process.objects):
            by = process.objects[done]
            done += 1
            if by.elf.filters and process.musl is None:
                done = self._filtered(process, by, done)
                continue
            for raw in by.elf.needed:
                self._needed(process, by, raw)
        return done

    def _needed(self, process: Process, by: Loaded, raw: str) -> None:
        name = raw if process.musl is not None else self._searcher.expand(raw, by.origin) or raw
        self._load(process, by, by, name, NeedKind.NEEDED, f"DT_NEEDED {raw}")

    def _filtered(self, process: Process, by: Loaded, done: int) -> int:
        """Load what a filter needs; its filtees stand before it, and their needs are next.

        Source: glibc elf/dl-deps.c (_dl_map_object_deps). Filters that filter each other keep
        that loader turning for ever; here each is looked at once.
        """
        if by in process.filters:
            return done
        process.filters.add(by)
        start = place = done if by is process.main else done - 1
        for number in range(len(by.elf.needed) + 1):
            for one in by.elf.filters:
                if one.after == number:
                    place += self._filtee(process, by, one, place)
            for raw in by.elf.needed[number : number + 1]:
                self._needed(process, by, raw)
        return start

    def _filtee(self, process: Process, by: Loaded, one: Filter, place: int) -> int:
        """Load one, and move it to `place` unless it is before that; tell how many were moved."""
        name = self._searcher.expand(one.name, by.origin) or one.name
        if one.auxiliary and name not in process.names and self.search(by, name).hit is None:
            return 0  # the loader does without
        kind = NeedKind.DLOPEN if one.auxiliary else NeedKind.NEEDED
        tag = "DT_AUXILIARY" if one.auxiliary else "DT_FILTER"
        self._load(process, by, by, name, kind, f"{tag} {one.name}")
        found = process.names.get(name)
        at = process.objects.index(found) if found is not None else -1
        if found is None or found is by or at < place:
            return 0
        process.objects.insert(place, process.objects.pop(at))
        return 1

    def _interpreter(self, process: Process) -> None:
        main, raw = process.main, process.main.elf.interpreter
        hit = self._searcher.interpreter(raw) if raw.startswith("/") else None
        if not isinstance(hit, Hit):
            why = hit or self._catalog.why_not(raw)
            if not self.machine.accepts(main.elf):
                why = f"{main.elf.machine} program in a host for {self.machine.name}"
            process.outcomes.append(
                self._lack(NeedKind.INTERP, raw, main, f"PT_INTERP {raw}: {why}", (raw,))
            )
            return
        evidence = f"PT_INTERP {raw}"
        process.outcomes += self._catalog.edges(
            hit.reach, raw, main.path, NeedKind.INTERP, evidence
        )
        if not hit.dropped:
            loader = Loaded(hit.real, hit.real, hit.elf, posixpath.dirname(raw), main)
            loader.lineage = self._lineage(loader)
            self._enter(process, loader, raw)

    def _audit(self, process: Process, name: str) -> None:
        """Load an auditor: in a name space of its own, and by ld.so, which has no RUNPATH.

        Source: rtld-audit(7); glibc elf/rtld.c (load_audit_module), elf/dl-open.c.
        """
        main = process.main
        opener = replace(main, elf=replace(main.elf, runpath=(), nodeflib=False))
        apart = Process(opener, [])
        for shared in process.objects[1:2]:  # ld.so is in all of them
            self._enter(apart, shared, shared.named)
        self._load(apart, opener, main, name, NeedKind.NEEDED, f"DT_AUDIT {name}")
        self._start(apart, 0)
        process.outcomes += apart.outcomes
        self._done(apart)

    def _load(
        self, process: Process, via: Loaded, by: Loaded, name: str, kind: NeedKind, evidence: str
    ) -> bool:
        """Load `name` for `via`; the need is `by`'s. A name loads once for each process."""
        known = self._known(process, name)
        if known is not None:
            # what a process began with is there for another reason
            if known is not process.main and self._news(by, evidence, known.named):
                process.outcomes.append(Need(known.named, by.path, kind, evidence))
            return True
        search = self._search_in(process, via, name)
        hit = search.hit
        if hit is None:
            process.outcomes.append(self._lack(kind, name, by, evidence, search.looked))
            process.whole = False
            return False
        self._map(process, via, name, hit)
        if self._news(by, evidence, hit.raw):
            process.outcomes += self._catalog.edges(hit.reach, hit.raw, by.path, kind, evidence)
        return True

    def _known(self, process: Process, name: str) -> Loaded | None:
        """What the process has by this name already."""
        if process.musl is not None and process.musl.is_itself(name):
            return process.musl.itself
        return process.names.get(name)

    def _search_in(self, process: Process, via: Loaded, name: str) -> Search:
        if process.musl is None:
            return self.search(via, name)
        if process.musl.is_itself(name):
            return Search(None, (process.musl.interpreter,))
        return process.musl.search(via, name)

    def _news(self, by: Loaded, evidence: str, end: str) -> bool:
        """Tell whether this edge is new: most processes share most of theirs."""
        key = (by.path, evidence, end)
        if key in self._said:
            return False
        self._said.add(key)
        return True

    def _map(self, process: Process, via: Loaded, name: str, hit: Hit) -> None:
        if hit.dropped:
            process.whole = False
            return
        same = process.paths.get(hit.real)
        if same is not None:
            if process.musl is None or "/" not in name:
                process.names[name] = same
            return
        # $ORIGIN is the directory as opened, links and all: only the program's own is resolved
        found = Loaded(hit.real, hit.reach.path, hit.elf, posixpath.dirname(hit.raw), via)
        found.lineage = self._lineage(found)
        if process.musl is not None:
            process.objects.append(found)
            process.paths[found.path] = found
            process.names |= {name: found} if "/" not in name else {}
            return
        process.names.setdefault(hit.raw, found)
        self._enter(process, found, name)

    def _enter(self, process: Process, loaded: Loaded, name: str) -> None:
        process.objects.append(loaded)
        process.paths[loaded.path] = loaded
        for known in (name, loaded.elf.soname):
            if known:
                process.names.setdefault(known, loaded)

    def _notes(self, process: Process, by: Loaded) -> None:
        for note in by.elf.dlopen:
            if note.sonames and note.priority in self._followed(by.path):
                name = self._first(process, by, note)
                feature = f", feature {note.feature}" if note.feature else ""
                evidence = f".note.dlopen {note.priority} {name}{feature}"
                self._load(process, by, by, name, NeedKind.DLOPEN, evidence)

    def _followed(self, path: RootPath) -> tuple[str, ...]:
        """The priorities whose libraries come along with the file at `path`."""
        least = next(
            (rule.priority for rule in self._rules if pattern.matches(rule.path, path)),
            Priority.REQUIRED,
        )
        return PRIORITIES[: PRIORITIES.index(least) + 1]

    def _first(self, process: Process, by: Loaded, note: Dlopen) -> str:
        """The first alternative that is there; the first of all when none is."""
        for name in note.sonames:
            if self._known(process, name) or self._search_in(process, by, name).hit is not None:
                return name
        return note.sonames[0]

    def _unwinder(self, process: Process) -> bool:
        """Load what glibc would load to end a thread; tell whether the process grew."""
        libc = process.names.get("libc.so.6")
        if libc is None or UNWINDER in process.names:
            return False
        before = len(process.objects)
        for by in tuple(process.objects):
            function = self._unwinding(by) if by is not libc else ""
            if function:
                evidence = f"{function} opens {UNWINDER}"
                self._load(process, libc, by, UNWINDER, NeedKind.DLOPEN, evidence)
        return len(process.objects) > before

    def _unwinding(self, loaded: Loaded) -> str:
        if loaded.path not in self._unwinds:
            self._unwinds[loaded.path] = ""
            if loaded.elf.dynamic and "libc.so.6" in loaded.elf.needed:
                symbols = self._catalog.symbols(loaded.path)
                self._unwinds[loaded.path] = calls(symbols) if symbols else ""
        return self._unwinds[loaded.path]

    def search(self, via: Loaded, name: str) -> Search:
        """Find the file for `name` as asked for by `via`."""
        if "/" in name:
            raw = self._searcher.expand(name, via.origin)
            return self._searcher.at(raw) if raw is not None else Search(None, (name,))
        looked: tuple[str, ...] = ()
        for directories in self._lists(via):
            found = self._searcher.first_of(directories, name)
            if found.hit is not None or found.final:
                return found
            looked += found.looked
        usual = self._searcher.usual(name, nodeflib=via.elf.nodeflib)
        return replace(usual, looked=looked + usual.looked) if looked else usual

    def _lists(self, via: Loaded) -> tuple[tuple[str, ...], ...]:
        """RPATHs up the chain of loaders, or the object's own RUNPATH."""
        if via.elf.runpath:
            return (tuple(self._searcher.expanded(via.elf.runpath, via.origin)),)
        return via.lineage

    def _lineage(self, loaded: Loaded) -> tuple[tuple[str, ...], ...]:
        # of an object that has both, RPATH is void. Source: glibc elf/get-dynamic-info.h
        above = loaded.loader.lineage if loaded.loader else ()
        if not loaded.elf.rpath or loaded.elf.runpath:
            return above
        return (tuple(self._searcher.expanded(loaded.elf.rpath, loaded.origin)), *above)

    def _lack(
        self, kind: NeedKind, wanted: str, by: Loaded, evidence: str, looked: tuple[str, ...]
    ) -> Missing:
        package = self._catalog.owner(by.path)
        return Missing(kind, wanted, by.path, package, evidence, looked=looked)
