"""glibc's dynamic loader: the processes of a root, and the file that each library name maps.

Source: ld.so(8); glibc elf/dl-load.c (_dl_map_object), elf/rtld.c (dl_main), elf/dl-deps.c (breadth first).
"""

import posixpath
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from minbuild.facts.model import Dlopen, Elf, Filter
from minbuild.manifest.model import DlopenPolicy, Priority
from minbuild.paths import RootPath
from minbuild.resolve import path_glob
from minbuild.resolve.builtin_tables import LIBGCC, Architecture
from minbuild.resolve.elf_process import (
    LibraryRequest,
    MuslLoader,
    Process,
    find_musl,
)
from minbuild.resolve.library_search import (
    LibraryFound,
    LibrarySearch,
    SearchResult,
)
from minbuild.resolve.loader_config import LD_SO_PRELOAD, LoaderConfig
from minbuild.resolve.model import FoundPath, LoadedObject, NeedKind, UnmetNeed
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers

DLOPEN_PRIORITIES = tuple(Priority)
"""Of `.note.dlopen`, weightiest first."""


class DynamicLoader:
    """The loader of one architecture over the files of one `PackageView`."""

    def __init__(
        self,
        view: PackageView,
        architecture: Architecture,
        waivers: Waivers,
        *,
        dlopen: Sequence[DlopenPolicy] = (),
    ) -> None:
        self._view = view
        self.architecture = architecture
        self._dlopen_rules = tuple(reversed(dlopen))
        self._library_search = LibrarySearch(view, architecture, waivers)
        self.loaded: set[RootPath] = set()
        """Real paths of all objects of all processes so far."""
        self.processes: list[Process] = []
        self._known_edges: set[tuple[RootPath, str, str]] = set()

    def configure(self, config: LoaderConfig) -> None:
        """Set the configuration of the root's loader; before anything is loaded."""
        self._library_search.config = config

    def load_process(self, path: RootPath, elf: Elf) -> Process:
        """Load the executable, or the library on its own, at real path `path`."""
        main = LoadedObject(path, path, elf, posixpath.dirname(path), None)
        main.inherited_rpaths = self._library_search.inherit_rpaths(main)
        process = Process(main, [])
        process.add(main, "")
        if elf.interpreter:
            self._load_interpreter(process)
        if self.architecture.accepts(elf):
            process.musl = find_musl(
                main, process.paths, self._view, self._library_search, self.architecture
            )
            for request in self._list_requests(process):
                self._load_library(request)
        else:
            process.is_complete = False  # nothing here could start it
        self._finish(process)
        return process

    def _finish(self, process: Process) -> None:
        self.loaded.update(process.paths)
        self.processes.append(process)

    def _list_requests(self, process: Process) -> Iterator[LibraryRequest]:
        """Every name that a process asks for, in its loader's order.

        Each request is loaded before the next is asked for: what it loads asks for more.
        """
        if process.musl is not None:
            process.names.clear()  # sonames are no names to it
            self._add_musl_path_file(process, process.musl)
        else:
            yield from self._list_preloads(process)
        needed_done = notes_done = 0
        while True:
            needed_done = yield from self._list_needed(process, needed_done)
            count = len(process.objects)
            if notes_done < count:
                yield from self._list_noted(process, process.objects[notes_done])
                notes_done += 1
                continue
            yield from self._list_libgcc(process)
            if len(process.objects) == count:
                return

    def _list_preloads(self, process: Process) -> Iterator[LibraryRequest]:
        """Auditors, and what the root's own file adds to every program."""
        main = process.main
        for name in main.elf.audit:
            yield from self._list_auditor(process, name)
        for name in self._library_search.config.preload if main.elf.interpreter else ():
            evidence = f"{LD_SO_PRELOAD} {name}"
            yield LibraryRequest(process, main, main, name, NeedKind.NEEDED, evidence)

    def _list_auditor(self, process: Process, name: str) -> Iterator[LibraryRequest]:
        """An auditor and its needs: in a name space of its own, and by ld.so, which has no RUNPATH.

        Source: rtld-audit(7); glibc elf/rtld.c (load_audit_module), elf/dl-open.c.
        """
        main = process.main
        opener = replace(main, elf=replace(main.elf, runpath=(), nodeflib=False))
        audit_process = Process(opener, [])
        for shared in process.objects[1:2]:  # ld.so is in all of them
            audit_process.add(shared, shared.opened_path)
        evidence = f"DT_AUDIT {name}"
        yield LibraryRequest(audit_process, main, opener, name, NeedKind.NEEDED, evidence)
        yield from self._list_needed(audit_process, 0)
        process.results += audit_process.results
        self._finish(audit_process)

    def _list_needed(self, process: Process, done: int) -> Generator[LibraryRequest, None, int]:
        """What the objects of a process from number `done` on need, breadth first.

        Returns: the number of objects whose needs were asked for.
        """
        while done < len(process.objects):
            loaded = process.objects[done]
            done += 1
            if loaded.elf.filters and process.musl is None:
                done = yield from self._list_filter(process, loaded, done)
                continue
            for raw in loaded.elf.needed:
                known = process.names.get(raw) if process.musl is None else None
                if known is not None:
                    edge = (loaded.path, f"DT_NEEDED {raw}", known.opened_path)
                    if edge in self._known_edges:  # most processes share most of theirs
                        continue
                yield self._request_needed(process, loaded, raw)
        return done

    def _request_needed(
        self, process: Process, requester: LoadedObject, raw: str
    ) -> LibraryRequest:
        name = raw
        if "$" in raw and process.musl is None:
            name = self._library_search.expand_tokens(raw, requester.origin) or raw
        evidence = f"DT_NEEDED {raw}"
        return LibraryRequest(process, requester, requester, name, NeedKind.NEEDED, evidence)

    def _list_filter(
        self, process: Process, loaded: LoadedObject, done: int
    ) -> Generator[LibraryRequest, None, int]:
        """What a filter needs; its filtees stand before it, and their needs are next.

        Source: glibc elf/dl-deps.c (_dl_map_object_deps). Filters that filter each other keep
        that loader turning for ever; here each is looked at once.
        """
        if loaded in process.followed_filters:
            return done
        process.followed_filters.add(loaded)
        start = position = done if loaded is process.main else done - 1
        for number in range(len(loaded.elf.needed) + 1):
            for filtee in loaded.elf.filters:
                if filtee.after != number:
                    continue
                request = self._request_filtee(process, loaded, filtee)
                if request is not None:
                    yield request
                    position += process.move_filtee(loaded, request.name, position)
            for raw in loaded.elf.needed[number : number + 1]:
                yield self._request_needed(process, loaded, raw)
        return start

    def _request_filtee(
        self, process: Process, requester: LoadedObject, filtee: Filter
    ) -> LibraryRequest | None:
        """Ask for a filtee; None for an auxiliary one that is not there: the loader does without."""
        name = self._library_search.expand_tokens(filtee.name, requester.origin) or filtee.name
        if not filtee.auxiliary:
            evidence = f"DT_FILTER {filtee.name}"
            return LibraryRequest(process, requester, requester, name, NeedKind.NEEDED, evidence)
        if name not in process.names and self._library_search.search(requester, name).hit is None:
            return None
        evidence = f"DT_AUXILIARY {filtee.name}"
        return LibraryRequest(process, requester, requester, name, NeedKind.DLOPEN, evidence)

    def _list_noted(self, process: Process, requester: LoadedObject) -> Iterator[LibraryRequest]:
        """What the `.note.dlopen` of an object names with a priority that is followed."""
        for note in requester.elf.dlopen:
            if note.sonames and note.priority in self._list_priorities(requester.path):
                name = self._choose_alternative(process, requester, note)
                feature = f", feature {note.feature}" if note.feature else ""
                evidence = f".note.dlopen {note.priority} {name}{feature}"
                yield LibraryRequest(process, requester, requester, name, NeedKind.DLOPEN, evidence)

    def _list_libgcc(self, process: Process) -> Iterator[LibraryRequest]:
        """What glibc opens to end a thread, for each object that calls a function which does."""
        libc = process.names.get("libc.so.6")
        if libc is None or LIBGCC in process.names:
            return
        for requester in tuple(process.objects):
            function = requester.elf.cancel_function
            if function and requester is not libc and "libc.so.6" in requester.elf.needed:
                evidence = f"{function} opens {LIBGCC}"
                yield LibraryRequest(process, requester, libc, LIBGCC, NeedKind.DLOPEN, evidence)

    def _add_musl_path_file(self, process: Process, musl: MuslLoader) -> None:
        """The file that tells musl's loader where to look belongs to it."""
        resolved = self._view.look_up(musl.path_file)
        loaded = musl.loaded_object
        if (
            loaded is not None
            and resolved is not None
            and self._is_new_edge(loaded, "path", musl.path_file)
        ):
            evidence = "lists where it looks"
            process.results.append(
                resolved.make_found_path(loaded.path, NeedKind.DATA, evidence, musl.path_file)
            )

    def _load_interpreter(self, process: Process) -> None:
        main, raw = process.main, process.main.elf.interpreter
        hit = self._library_search.open_interpreter(raw) if raw.startswith("/") else None
        if not isinstance(hit, LibraryFound):
            reason = hit or self._view.explain_failure(raw)
            if not self.architecture.accepts(main.elf):
                reason = f"{main.elf.machine} program in a host for {self.architecture.name}"
            process.results.append(
                self._make_unmet(NeedKind.INTERP, raw, main, f"PT_INTERP {raw}: {reason}", (raw,))
            )
            return
        evidence = f"PT_INTERP {raw}"
        process.results.append(
            hit.resolved.make_found_path(main.path, NeedKind.INTERP, evidence, raw)
        )
        if not hit.is_dropped:
            loader = LoadedObject(
                hit.real_path, hit.real_path, hit.elf, posixpath.dirname(raw), main
            )
            loader.inherited_rpaths = self._library_search.inherit_rpaths(loader)
            process.add(loader, raw)

    def _load_library(self, request: LibraryRequest) -> None:
        """Load what a request names, once for each process, and note whose need it is."""
        process, requester, opener, name, kind, evidence = request
        loaded = self._find_loaded(process, name)
        if loaded is not None:
            # what a process began with is there for another reason
            if loaded is not process.main and self._is_new_edge(
                requester, evidence, loaded.opened_path
            ):
                process.results.append(
                    FoundPath(loaded.opened_path, requester.path, kind, evidence)
                )
            return
        result = self._search_for(process, opener, name)
        hit = result.hit
        if hit is None:
            process.results.append(
                self._make_unmet(kind, name, requester, evidence, result.searched)
            )
            process.is_complete = False
            return
        self._map_object(process, opener, name, hit)
        if self._is_new_edge(requester, evidence, hit.raw):
            process.results.append(
                hit.resolved.make_found_path(requester.path, kind, evidence, hit.raw)
            )

    def _find_loaded(self, process: Process, name: str) -> LoadedObject | None:
        """The object that the process has by this name already."""
        if process.musl is not None and process.musl.is_loader(name):
            return process.musl.loaded_object
        return process.names.get(name)

    def _search_for(self, process: Process, opener: LoadedObject, name: str) -> SearchResult:
        if process.musl is None:
            return self._library_search.search(opener, name)
        if process.musl.is_loader(name):
            return SearchResult(None, (process.musl.interpreter,))
        return process.musl.search(opener, name)

    def _is_new_edge(self, requester: LoadedObject, evidence: str, path: str) -> bool:
        """Tell whether this edge is new: most processes share most of theirs."""
        key = (requester.path, evidence, path)
        if key in self._known_edges:
            return False
        self._known_edges.add(key)
        return True

    def _map_object(
        self, process: Process, opener: LoadedObject, name: str, hit: LibraryFound
    ) -> None:
        if hit.is_dropped:
            process.is_complete = False
            return
        existing = process.paths.get(hit.real_path)
        if existing is not None:
            if process.musl is None or "/" not in name:
                process.names[name] = existing
            return
        # $ORIGIN is the directory as opened, links and all: only the program's own is resolved
        loaded = LoadedObject(
            hit.real_path, hit.resolved.path, hit.elf, posixpath.dirname(hit.raw), opener
        )
        loaded.inherited_rpaths = self._library_search.inherit_rpaths(loaded)
        if process.musl is not None:
            process.objects.append(loaded)
            process.paths[loaded.path] = loaded
            process.names |= {name: loaded} if "/" not in name else {}
            return
        process.names.setdefault(hit.raw, loaded)
        process.add(loaded, name)

    def _list_priorities(self, path: RootPath) -> tuple[str, ...]:
        """The priorities whose libraries come along with the file at `path`."""
        lowest = next(
            (rule.priority for rule in self._dlopen_rules if path_glob.matches(rule.path, path)),
            Priority.REQUIRED,
        )
        return DLOPEN_PRIORITIES[: DLOPEN_PRIORITIES.index(lowest) + 1]

    def _choose_alternative(self, process: Process, requester: LoadedObject, note: Dlopen) -> str:
        """The first alternative that is there; the first of all when none is."""
        for name in note.sonames:
            if (
                self._find_loaded(process, name)
                or self._search_for(process, requester, name).hit is not None
            ):
                return name
        return note.sonames[0]

    def _make_unmet(
        self,
        kind: NeedKind,
        name: str,
        requester: LoadedObject,
        evidence: str,
        searched: tuple[str, ...],
    ) -> UnmetNeed:
        package = self._view.get_owner(requester.path)
        return UnmetNeed(kind, name, requester.path, package, evidence, looked=searched)
