"""Which file the loader maps for every name that a process asks for.

Source: ld.so(8); glibc elf/dl-load.c (_dl_map_object), elf/rtld.c (dl_main), elf/dl-deps.c (breadth first).
"""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from minbuild.facts.model import Dlopen, Elf, Filter
from minbuild.manifest.model import DlopenPolicy, Priority
from minbuild.paths import RootPath
from minbuild.resolve import path_glob
from minbuild.resolve.arch import Architecture
from minbuild.resolve.builtin_knowledge import LIBGCC
from minbuild.resolve.elf_process import LoadedObject, Process, find_cancel_function
from minbuild.resolve.library_search import (
    LD_SO_PRELOAD,
    LibraryFound,
    LibrarySearch,
    LoaderConfig,
    SearchResult,
)
from minbuild.resolve.model import Need, NeedKind, UnmetNeed
from minbuild.resolve.musl import MuslLoader, find_musl
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.waivers import Waivers

DLOPEN_PRIORITIES = tuple(Priority)
"""Of `.note.dlopen`, weightiest first."""


class DynamicLoader:
    """The loader of one architecture over one catalog."""

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
        self._cancel_functions: dict[RootPath, str] = {}
        self.loaded: set[RootPath] = set()
        """Real paths of all objects of all processes so far."""
        self.processes: list[Process] = []
        self._known_edges: set[tuple[RootPath, str, str]] = set()

    def configure(self, config: LoaderConfig) -> None:
        """Take what the root's own files tell its loader; before anything is loaded."""
        self._library_search.config = config

    def load_process(self, path: RootPath, elf: Elf) -> Process:
        """Load the executable, or the library on its own, at real path `path`."""
        main = LoadedObject(path, path, elf, posixpath.dirname(path), None)
        main.inherited_rpaths = self._inherit_rpaths(main)
        process = Process(main, [])
        self._add_object(process, main, "")
        if elf.interpreter:
            self._load_interpreter(process)
        if not self.architecture.accepts(elf):
            process.is_complete = False  # nothing here could start it
            return self._finish(process)
        process.musl = find_musl(process, self._view, self._library_search, self.architecture)
        if process.musl is not None:
            process.names.clear()  # sonames are no names to it
            self._add_musl_path_file(process, process.musl)
        else:
            self._load_preloads(process)
        needed_done = notes_done = 0
        while True:
            needed_done = self._load_all_needed(process, needed_done)
            if notes_done < len(process.objects):
                self._follow_dlopen_notes(process, process.objects[notes_done])
                notes_done += 1
            elif not self._load_libgcc_for_cancel(process):
                break
        return self._finish(process)

    def _load_preloads(self, process: Process) -> None:
        """Load auditors and what the root's own file says is loaded into every program."""
        main = process.main
        for name in main.elf.audit:
            self._load_auditor(process, name)
        for name in self._library_search.config.preload if main.elf.interpreter else ():
            self._load_library(
                process, main, main, name, NeedKind.NEEDED, f"{LD_SO_PRELOAD} {name}"
            )

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
            process.results += self._view.list_needs(
                resolved, musl.path_file, loaded.path, NeedKind.DATA, evidence
            )

    def _finish(self, process: Process) -> Process:
        self.loaded.update(process.paths)
        self.processes.append(process)
        return process

    def _load_all_needed(self, process: Process, done: int) -> int:
        """Load what is needed, breadth first: the list grows while it is walked."""
        while done < len(process.objects):
            loaded = process.objects[done]
            done += 1
            if loaded.elf.filters and process.musl is None:
                done = self._load_filter(process, loaded, done)
                continue
            for raw in loaded.elf.needed:
                self._load_needed(process, loaded, raw)
        return done

    def _load_needed(self, process: Process, requester: LoadedObject, raw: str) -> None:
        name = (
            raw
            if process.musl is not None
            else self._library_search.expand_tokens(raw, requester.origin) or raw
        )
        self._load_library(process, requester, requester, name, NeedKind.NEEDED, f"DT_NEEDED {raw}")

    def _load_filter(self, process: Process, loaded: LoadedObject, done: int) -> int:
        """Load what a filter needs; its filtees stand before it, and their needs are next.

        Source: glibc elf/dl-deps.c (_dl_map_object_deps). Filters that filter each other keep
        that loader turning for ever; here each is looked at once.
        """
        if loaded in process.followed_filters:
            return done
        process.followed_filters.add(loaded)
        start = position = done if loaded is process.main else done - 1
        for number in range(len(loaded.elf.needed) + 1):
            for filtee in loaded.elf.filters:
                if filtee.after == number:
                    position += self._load_filtee(process, loaded, filtee, position)
            for raw in loaded.elf.needed[number : number + 1]:
                self._load_needed(process, loaded, raw)
        return start

    def _load_filtee(
        self, process: Process, requester: LoadedObject, filtee: Filter, position: int
    ) -> int:
        """Load one, and move it to `place` unless it is before that; tell how many were moved."""
        name = self._library_search.expand_tokens(filtee.name, requester.origin) or filtee.name
        if (
            filtee.auxiliary
            and name not in process.names
            and self.search(requester, name).hit is None
        ):
            return 0  # the loader does without
        kind = NeedKind.DLOPEN if filtee.auxiliary else NeedKind.NEEDED
        tag = "DT_AUXILIARY" if filtee.auxiliary else "DT_FILTER"
        self._load_library(process, requester, requester, name, kind, f"{tag} {filtee.name}")
        loaded = process.names.get(name)
        current = process.objects.index(loaded) if loaded is not None else -1
        if loaded is None or loaded is requester or current < position:
            return 0
        process.objects.insert(position, process.objects.pop(current))
        return 1

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
        process.results += self._view.list_needs(
            hit.resolved, raw, main.path, NeedKind.INTERP, evidence
        )
        if not hit.is_dropped:
            loader = LoadedObject(
                hit.real_path, hit.real_path, hit.elf, posixpath.dirname(raw), main
            )
            loader.inherited_rpaths = self._inherit_rpaths(loader)
            self._add_object(process, loader, raw)

    def _load_auditor(self, process: Process, name: str) -> None:
        """Load an auditor: in a name space of its own, and by ld.so, which has no RUNPATH.

        Source: rtld-audit(7); glibc elf/rtld.c (load_audit_module), elf/dl-open.c.
        """
        main = process.main
        opener = replace(main, elf=replace(main.elf, runpath=(), nodeflib=False))
        audit_process = Process(opener, [])
        for shared in process.objects[1:2]:  # ld.so is in all of them
            self._add_object(audit_process, shared, shared.opened_path)
        self._load_library(audit_process, opener, main, name, NeedKind.NEEDED, f"DT_AUDIT {name}")
        self._load_all_needed(audit_process, 0)
        process.results += audit_process.results
        self._finish(audit_process)

    def _load_library(
        self,
        process: Process,
        opener: LoadedObject,
        requester: LoadedObject,
        name: str,
        kind: NeedKind,
        evidence: str,
    ) -> bool:
        """Load `name` for `via`; the need is `by`'s. A name loads once for each process."""
        loaded = self._find_loaded(process, name)
        if loaded is not None:
            # what a process began with is there for another reason
            if loaded is not process.main and self._is_new_edge(
                requester, evidence, loaded.opened_path
            ):
                process.results.append(Need(loaded.opened_path, requester.path, kind, evidence))
            return True
        result = self._search_for(process, opener, name)
        hit = result.hit
        if hit is None:
            process.results.append(
                self._make_unmet(kind, name, requester, evidence, result.searched)
            )
            process.is_complete = False
            return False
        self._map_object(process, opener, name, hit)
        if self._is_new_edge(requester, evidence, hit.raw):
            process.results += self._view.list_needs(
                hit.resolved, hit.raw, requester.path, kind, evidence
            )
        return True

    def _find_loaded(self, process: Process, name: str) -> LoadedObject | None:
        """What the process has by this name already."""
        if process.musl is not None and process.musl.is_loader(name):
            return process.musl.loaded_object
        return process.names.get(name)

    def _search_for(self, process: Process, opener: LoadedObject, name: str) -> SearchResult:
        if process.musl is None:
            return self.search(opener, name)
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
        loaded.inherited_rpaths = self._inherit_rpaths(loaded)
        if process.musl is not None:
            process.objects.append(loaded)
            process.paths[loaded.path] = loaded
            process.names |= {name: loaded} if "/" not in name else {}
            return
        process.names.setdefault(hit.raw, loaded)
        self._add_object(process, loaded, name)

    def _add_object(self, process: Process, loaded: LoadedObject, name: str) -> None:
        process.objects.append(loaded)
        process.paths[loaded.path] = loaded
        for known_name in (name, loaded.elf.soname):
            if known_name:
                process.names.setdefault(known_name, loaded)

    def _follow_dlopen_notes(self, process: Process, requester: LoadedObject) -> None:
        for note in requester.elf.dlopen:
            if note.sonames and note.priority in self._list_priorities(requester.path):
                name = self._choose_alternative(process, requester, note)
                feature = f", feature {note.feature}" if note.feature else ""
                evidence = f".note.dlopen {note.priority} {name}{feature}"
                self._load_library(process, requester, requester, name, NeedKind.DLOPEN, evidence)

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

    def _load_libgcc_for_cancel(self, process: Process) -> bool:
        """Load what glibc would load to end a thread; tell whether the process grew."""
        libc = process.names.get("libc.so.6")
        if libc is None or LIBGCC in process.names:
            return False
        count = len(process.objects)
        for requester in tuple(process.objects):
            function = self._find_cancel_function(requester) if requester is not libc else ""
            if function:
                evidence = f"{function} opens {LIBGCC}"
                self._load_library(process, libc, requester, LIBGCC, NeedKind.DLOPEN, evidence)
        return len(process.objects) > count

    def _find_cancel_function(self, loaded: LoadedObject) -> str:
        if loaded.path not in self._cancel_functions:
            self._cancel_functions[loaded.path] = ""
            if loaded.elf.dynamic and "libc.so.6" in loaded.elf.needed:
                symbols = self._view.get_symbols(loaded.path)
                self._cancel_functions[loaded.path] = (
                    find_cancel_function(symbols) if symbols else ""
                )
        return self._cancel_functions[loaded.path]

    def search(self, opener: LoadedObject, name: str) -> SearchResult:
        """Find the file for `name` as asked for by `via`."""
        if "/" in name:
            raw = self._library_search.expand_tokens(name, opener.origin)
            return (
                self._library_search.search_path(raw)
                if raw is not None
                else SearchResult(None, (name,))
            )
        searched: tuple[str, ...] = ()
        for directories in self._list_rpaths(opener):
            result = self._library_search.search_directories(directories, name)
            if result.hit is not None or result.is_final:
                return result
            searched += result.searched
        default_result = self._library_search.search_defaults(name, nodeflib=opener.elf.nodeflib)
        return (
            replace(default_result, searched=searched + default_result.searched)
            if searched
            else default_result
        )

    def _list_rpaths(self, opener: LoadedObject) -> tuple[tuple[str, ...], ...]:
        """RPATHs up the chain of loaders, or the object's own RUNPATH."""
        if opener.elf.runpath:
            return (tuple(self._library_search.expand_paths(opener.elf.runpath, opener.origin)),)
        return opener.inherited_rpaths

    def _inherit_rpaths(self, loaded: LoadedObject) -> tuple[tuple[str, ...], ...]:
        # of an object that has both, RPATH is void. Source: glibc elf/get-dynamic-info.h
        inherited = loaded.loaded_by.inherited_rpaths if loaded.loaded_by else ()
        if not loaded.elf.rpath or loaded.elf.runpath:
            return inherited
        return (
            tuple(self._library_search.expand_paths(loaded.elf.rpath, loaded.origin)),
            *inherited,
        )

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
