"""Commands that the shell scripts of an image run: read once of each content."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, replace

from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.facts.model import FileFacts, PackageFiles, Script
from minbuild.facts.shell.script import (
    CommandUse,
    ShellScript,
    find_shape,
    names_value,
    read_shell_script,
)
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Manifest, Waiver
from minbuild.parallel import map_in_threads
from minbuild.paths import RootPath
from minbuild.pipeline.load import check_scripts
from minbuild.pipeline.maintainer_scripts import ExtractToCache
from minbuild.resolve import shell_commands
from minbuild.resolve.model import Closure, ScriptWarning
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers
from minbuild.resolve.shell_commands import ParsedScript
from minbuild.rootfs.content_view import files_from_content
from minbuild.rootfs.model import RootfsTree

ReadPath = Callable[[RootPath], bytes]
"""The content of a path."""
ReadPackagePath = Callable[[str, RootPath, str], bytes]
"""The content of a package's path with a digest."""


def find_script_warnings(
    files: PackageFiles, read: ReadPath, waivers: Waivers, store: Store
) -> tuple[ScriptWarning, ...]:
    """Commands of a tree's scripts that the tree has not; sorted.

    Raises: ToolError when the shell parser is not installed.
    """
    view = PackageView([files], merged=False)
    return shell_commands.find_missing_commands(
        _parse_scripts(files, view, read, store), view, waivers
    )


def _parse_scripts(
    files: PackageFiles, view: PackageView, read: ReadPath, store: Store
) -> dict[RootPath, ParsedScript]:
    """All shell scripts of a tree and what they read, each read once."""
    scripts = [path for path in files.entries if _is_shell_script(files, path)]
    cache = _ScriptCache(files, read, store)
    cache.read_all(scripts)
    scripts_by_path: dict[RootPath, ParsedScript] = {}
    for path in scripts:
        bash = _is_bash(files.facts(path), view)
        todo = [path]
        while todo:
            script = todo.pop()
            if script not in scripts_by_path and script in files.entries:
                scripts_by_path[script] = ParsedScript(cache.parse(script), bash)
                todo += shell_commands.find_sourced_files(scripts_by_path[script].shell, view)
    return scripts_by_path


def list_started_commands(tree: RootfsTree, store: Store) -> dict[str, tuple[str, ...]]:
    """What a tree's scripts run: name or path → the places that run it, PATH:LINE; sorted.

    Scripts that were read for `warned`; what no parsed script names may be started all the same.
    """
    lines_by_command: dict[str, list[str]] = {}
    for node in tree.nodes:
        record = (
            store.get(RecordKind.SHELL, node.sha256)
            if node.kind is FileType.FILE and node.mode & 0o111
            else None
        )
        for use in _decode_shell(record).uses if record is not None else ():
            lines_by_command.setdefault(use.name, []).append(f"{node.path}:{use.line}")
    return {name: tuple(sorted(places)) for name, places in lines_by_command.items()}


class _ScriptCache:
    """What scripts run: from the store, or read side by side and kept there."""

    def __init__(self, files: PackageFiles, read: ReadPath, store: Store) -> None:
        self._files, self._read, self._store = files, read, store
        self._by_digest: dict[str, ShellScript] = {}
        """By the content's digest."""
        self._digest_by_path: dict[RootPath, str] = {}

    def read_all(self, paths: Sequence[RootPath]) -> None:
        """Read scripts, each content once, and of several that differ in values alone one."""
        unread: dict[str, bytes] = {}
        for path in paths:
            digest = self._compute_digest(path)
            if digest in self._by_digest or digest in unread:
                continue
            known = self._get(digest)
            if known is None:
                unread[digest] = self._read(path)
            else:
                self._by_digest[digest] = known
        if not unread:
            return
        shapes = {digest: find_shape(data) for digest, data in unread.items()}
        by_shape = self._read_contents(set(shapes.values()))
        results = {digest: by_shape[shape] for digest, shape in shapes.items()}
        own = {unread[digest] for digest, script in results.items() if names_value(script)}
        by_content = self._read_contents(own)
        results |= {digest: by_content[data] for digest, data in unread.items() if data in own}
        self._store.put(
            RecordKind.SHELL,
            {key: json.dumps(astuple(one)).encode() for key, one in results.items()},
        )
        self._by_digest |= results

    def _read_contents(self, contents: Collection[bytes]) -> dict[bytes, ShellScript]:
        """Scripts by their bytes; those that the store does not know are kept there."""
        digests = {data: hashlib.sha256(data).hexdigest() for data in sorted(contents)}
        known = {data: self._get(digest) for data, digest in digests.items()}
        todo = [data for data, script in known.items() if script is None]
        new = dict(zip(todo, map_in_threads(read_shell_script, todo), strict=True))
        records = {digests[data]: json.dumps(astuple(one)).encode() for data, one in new.items()}
        self._store.put(RecordKind.SHELL, records)
        return new | {data: script for data, script in known.items() if script is not None}

    def _get(self, digest: str) -> ShellScript | None:
        record = self._store.get(RecordKind.SHELL, digest)
        return None if record is None else _decode_shell(record)

    def parse(self, path: RootPath) -> ShellScript:
        """What one file of shell commands says."""
        self.read_all([path])
        return self._by_digest[self._compute_digest(path)]

    def _compute_digest(self, path: RootPath) -> str:
        if path not in self._digest_by_path:
            digest = self._files.entries[path].sha256
            self._digest_by_path[path] = digest or hashlib.sha256(self._read(path)).hexdigest()
        return self._digest_by_path[path]


def with_script_warnings(tree: RootfsTree, manifest: Manifest, store: Store) -> RootfsTree:
    """A tree with the warnings about its scripts.

    Raises: ManifestError for a rendered file that scripts read and that is no sound script.
    """
    nodes = {node.path: node for node in tree.nodes}
    files = files_from_content(tree, store)
    view = PackageView([files], merged=False)
    scripts_by_path = _parse_scripts(
        files, view, lambda path: store.require(nodes[path].sha256), store
    )
    check_scripts(manifest, store, scripts_by_path)
    waivers = Waivers((), manifest.allow_missing)
    return replace(
        tree, script_warnings=shell_commands.find_missing_commands(scripts_by_path, view, waivers)
    )


def drop_used_waivers(
    closure: Closure,
    files: Sequence[PackageFiles],
    allow_missing: Collection[Waiver],
    read: ReadPackagePath,
    store: Store,
) -> Closure:
    """A closure whose unused waivers are not those that a script's command needs."""
    open_waivers = [waiver for waiver in closure.unused_waivers if waiver in allow_missing]
    if closure.unmet_needs or not open_waivers:
        return closure
    waivers = Waivers((), open_waivers)
    find_closure_warnings(closure, files, waivers, read, store)
    unused_waivers = set(waivers.unused_waivers)
    remaining = tuple(
        one for one in closure.unused_waivers if one not in open_waivers or one in unused_waivers
    )
    return replace(closure, unused_waivers=remaining)


def find_closure_warnings(
    closure: Closure,
    files: Sequence[PackageFiles],
    waivers: Waivers,
    read: ReadPackagePath,
    store: Store,
) -> tuple[ScriptWarning, ...]:
    """Commands of the scripts of a closure that it has not; sorted."""
    by_name = {one.owner: one for one in files}

    def read_facts(path: RootPath) -> FileFacts | None:
        selected = closure.files.get(path)
        return None if selected is None else by_name[selected.package].facts(path)

    def read_content(path: RootPath) -> bytes:
        selected = closure.files[path]
        return read(selected.package, path, selected.entry.sha256)

    entries = {path: one.entry for path, one in closure.files.items()}
    return find_script_warnings(
        PackageFiles("", entries, read_facts, lambda _: None), read_content, waivers, store
    )


def make_content_reader(
    packages: Sequence[Package], store: Store, bring: ExtractToCache
) -> ReadPackagePath:
    """What `heeded` reads with: contents of the store, which a package may have to fill first."""
    by_name = {package.name: package for package in packages}

    def read_content(package: str, path: RootPath, digest: str) -> bytes:
        if package and store.path(digest) is None:
            bring(by_name[package], [digest])
        return store.require(digest)

    return read_content


def _is_shell_script(files: PackageFiles, path: RootPath) -> bool:
    entry = files.entries[path]
    return (
        entry.kind is FileType.FILE
        and bool(entry.mode & 0o111)
        and shell_commands.is_shell(files.facts(path))
    )


def _is_bash(facts: FileFacts | None, view: PackageView) -> bool:
    if not isinstance(facts, Script):
        return False
    reached = view.look_up(facts.interpreter) if facts.interpreter.startswith("/") else None
    real = view.resolve_links(reached.path) if reached is not None else None
    return f"{real or ''} {facts.interpreter} {facts.argument}".find("bash") >= 0


def _decode_shell(record: bytes) -> ShellScript:
    uses, functions, guarded, sources, directories, *flags = json.loads(record)
    return ShellScript(
        tuple(CommandUse(*use) for use in uses),
        tuple(functions),
        tuple(guarded),
        tuple(sources),
        tuple(directories),
        *flags,
    )
