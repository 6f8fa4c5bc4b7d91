"""Paths that chosen files name in their texts: read once of each content, followed or listed.

Source: gABI, "Special Sections" (.rodata); hier(7) for the directories that a path begins with.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import MalformedFile, ResolveError
from minbuild.facts.elf_facts import find_read_only_data
from minbuild.facts.model import PackageFiles
from minbuild.footprint.model import STRING_PRIORITY
from minbuild.formats import magic
from minbuild.formats.elf_file import ElfFile
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Manifest, PathAction, PathRule
from minbuild.paths import RootPath, to_root_path
from minbuild.pipeline.shell_check import ReadPackagePath
from minbuild.resolve import path_glob
from minbuild.resolve.file_rules import find_named_files
from minbuild.resolve.kernel import parse_image_version
from minbuild.resolve.model import Closure, NeedKind, OptionalFile, Root
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve
from minbuild.rootfs.model import RootfsNode, RootfsTree

MAX_TEXT_SIZE = 1 << 20
"""Bytes of the largest text that is looked through."""
MAX_PATH_LENGTH = 255
"""Characters of the longest path that counts."""
MAX_PATHS = 2000
"""Paths of one file; more are a list of files, not what a program opens."""
_PATH = re.compile(
    rb"(?<![A-Za-z0-9_.$%}\]/-])"
    rb"/(?:usr|etc|lib(?:32|64|x32)?|s?bin|var|opt|srv|boot)(?:/+[A-Za-z0-9_.+@,~-]+)+/*"
    rb"(?!\.?[A-Za-z0-9_+@~%$*?{\[/-])"
)
_COMMENT = re.compile(rb"(?m)^[ \t]*(?:#|//|;).*$")


def find_named_paths(data: bytes) -> tuple[str, ...]:
    """The absolute paths that a file names, sorted, without repeats; () for data of other kinds.

    What goes on as a format, a variable or a glob is no path of a file. In a text, lines that are
    comments do not count.
    """
    if data.startswith(magic.ELF):
        paths = _find_in_elf(data)
    elif _is_text(data):
        paths = _find_paths(_COMMENT.sub(b"", data))
    else:
        return ()
    return tuple(sorted(paths)) if len(paths) <= MAX_PATHS else ()


def _find_in_elf(data: bytes) -> set[str]:
    try:
        ranges = find_read_only_data(ElfFile(data))
    except MalformedFile:
        return set()
    return {
        path for start, end in ranges for path in _find_paths(data[start : min(end, len(data))])
    }


def _find_paths(data: bytes) -> set[str]:
    texts = (match[0].decode("ascii") for match in _PATH.finditer(data))
    shortened = (text.rstrip("/.,") for text in texts if len(text) <= MAX_PATH_LENGTH)
    return {text for text in shortened if "/../" not in text and text.count("/") > 1}


def _is_text(data: bytes) -> bool:
    if not data or len(data) > MAX_TEXT_SIZE or b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


EXCLUDED_DIRECTORIES = ("/usr/lib/modules/", "/usr/lib/firmware/", "/usr/share/doc/")
"""Where no file names what it opens."""


@dataclass(slots=True)
class PathFollower:
    """Finds, closure after closure, the files whose named paths are to come along."""

    rules: Sequence[PathRule]
    store: Store
    strings: dict[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """What was read so far; given to `resolve`."""

    def read_more(self, closure: Closure, read: ReadPackagePath) -> tuple[RootPath, ...]:
        """Read files that a closure has new and that are followed; returns them, sorted."""
        if not any(rule.action is PathAction.FOLLOW for rule in self.rules):
            return ()
        new = [
            path for path in _find_followed_files(closure, self.rules) if path not in self.strings
        ]
        for path in new:
            selected = closure.files[path]
            digest = selected.entry.sha256
            content = partial(read, selected.package, path, digest)
            self.strings[path] = read_named_paths(digest, content, self.store)
        return tuple(new)


def resolve_named_paths(
    roots: Sequence[Root],
    files: Sequence[PackageFiles],
    manifest: Manifest,
    policy: ResolvePolicy,
    read: ReadPackagePath,
    store: Store,
) -> Closure:
    """Resolve with these packages alone, and again while chosen files name more paths to follow.

    Needs that they do not meet stand in the closure. Raises: ResolveError, as `check_path_rules`.
    """
    follower = PathFollower(manifest.paths, store)
    while True:
        closure = resolve(roots, files, arch=manifest.arch, policy=policy, strings=follower.strings)
        if closure.unmet_needs or not follower.read_more(closure, read):
            check_path_rules(closure, manifest)
            return closure


def read_named_paths(digest: str, content: Callable[[], bytes], store: Store) -> tuple[str, ...]:
    """The paths that a content names, by its digest, or read and kept."""
    record = store.get(RecordKind.NAMED_PATHS, digest) if digest else None
    if record is not None:
        return tuple(json.loads(record))
    paths = find_named_paths(content())
    if digest:
        store.put(RecordKind.NAMED_PATHS, {digest: json.dumps(paths).encode()})
    return paths


def _find_followed_files(closure: Closure, rules: Sequence[PathRule]) -> tuple[RootPath, ...]:
    """Files that a rule names, and what they bring in of their own package or by such names."""
    matching = {path for path in closure.files if _find_path_word(path, rules) is PathAction.FOLLOW}
    start_files = {
        path for path in matching if closure.files[path].entry.kind is not FileType.DIRECTORY
    }
    paths_by_parent: dict[str, set[RootPath]] = {}
    for need in closure.needs:
        if need.kind in {NeedKind.STRING, NeedKind.NEEDED, NeedKind.LINK, NeedKind.DLOPEN}:
            paths_by_parent.setdefault(need.needed_by, set()).add(need.path)
    todo, reached = list(start_files), set(start_files)
    while todo:
        parent = todo.pop()
        for path in paths_by_parent.get(parent, ()):
            is_same_package = closure.files[path].package == closure.files[parent].package
            if path not in reached and is_same_package:
                reached.add(path)
                todo.append(path)
    files = {FileType.FILE, FileType.HARDLINK}
    return tuple(sorted(path for path in reached if closure.files[path].entry.kind in files))


def _find_path_word(path: RootPath, rules: Sequence[PathRule]) -> PathAction:
    matches = [rule.action for rule in rules if path_glob.matches(rule.path, path)]
    return matches[-1] if matches else PathAction.LIST


def check_path_rules(closure: Closure, manifest: Manifest) -> None:
    """Refuse rules of `paths:` that no chosen file matches. Raises: ResolveError."""
    if closure.unmet_needs:
        return  # a file that is missing may be the one that is meant
    for rule in manifest.paths:
        if not any(path_glob.matches(rule.path, path) for path in closure.files):
            raise ResolveError(
                f"no file of the image matches {rule.path}, whose named paths are to be followed",
                where=str(rule.where),
                fix="correct the path under paths:, or remove it",
            )


def with_named_paths(tree: RootfsTree, files: Sequence[PackageFiles], store: Store) -> RootfsTree:
    """A tree that lists the files of its packages which its files name and it has not."""
    view = PackageView(files)
    tree_paths = {node.path for node in tree.nodes}
    optional_files: set[OptionalFile] = set()
    for node in tree.nodes:
        if node.kind is FileType.FILE and _can_name_paths(node):
            texts = read_named_paths(node.sha256, partial(store.require, node.sha256), store)
            optional_files.update(_list_optional_files(node.path, texts, view, tree_paths))
    return replace(tree, optional_files=tuple(sorted({*tree.optional_files, *optional_files})))


def _can_name_paths(node: RootfsNode) -> bool:
    return not node.path.startswith(EXCLUDED_DIRECTORIES) and not parse_image_version(node.path)


def _list_optional_files(
    needed_by: RootPath, texts: Iterable[str], view: PackageView, tree_paths: set[RootPath]
) -> Iterable[OptionalFile]:
    for text in texts:
        paths = find_named_files(text, view)
        missing = [path for path in paths if path not in tree_paths]
        # a directory of which the image has a part was thought of
        if missing and len(missing) == len(paths):
            count_text = (
                f"{len(missing)} files"
                if to_root_path(text) not in missing and len(missing) > 1
                else ""
            )
            yield OptionalFile(
                needed_by, str(to_root_path(text)), STRING_PRIORITY, f'string "{text}"', count_text
            )
