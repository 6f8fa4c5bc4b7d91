"""Paths that chosen files name in their texts: read once of each content, followed or listed."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from minbuild.build.commands import ReadOf
from minbuild.errors import ResolveError
from minbuild.facts.strings import named_paths
from minbuild.facts.types import Files, Kind
from minbuild.footprint.types import STRING_PRIORITY
from minbuild.manifest.types import Manifest, PathRule, PathWord
from minbuild.paths import RootPath, rootpath
from minbuild.resolve import pattern
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.kernel import image_version
from minbuild.resolve.rules import named_files
from minbuild.resolve.types import Closure, NeedKind, Possible
from minbuild.store import Store
from minbuild.tree.types import Node, Tree

KIND = "strings/1"
"""SHA-256 of a content → the paths that it names."""
NOT_TEXT = ("/usr/lib/modules/", "/usr/lib/firmware/", "/usr/share/doc/")
"""Where no file names what it opens."""

Strings = Mapping[RootPath, tuple[str, ...]]


@dataclass(slots=True)
class Follower:
    """Finds, closure after closure, the files whose named paths are to come along."""

    rules: Sequence[PathRule]
    store: Store
    strings: dict[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """What was read so far; given to `resolve`."""

    def read_more(self, closure: Closure, read: ReadOf) -> tuple[RootPath, ...]:
        """Read files that a closure has new and that are followed; returns them, sorted."""
        if not any(rule.word is PathWord.FOLLOW for rule in self.rules):
            return ()
        new = [path for path in _followed(closure, self.rules) if path not in self.strings]
        for path in new:
            chosen = closure.chosen[path]
            digest = chosen.entry.sha256
            content = partial(read, chosen.package, path, digest)
            self.strings[path] = paths_of(digest, content, self.store)
        return tuple(new)


def paths_of(digest: str, content: Callable[[], bytes], store: Store) -> tuple[str, ...]:
    """The paths that a content names, by its digest, or read and kept."""
    kept = store.get(KIND, digest) if digest else None
    if kept is not None:
        return tuple(json.loads(kept))
    found = named_paths(content())
    if digest:
        store.put(KIND, {digest: json.dumps(found).encode()})
    return found


def _followed(closure: Closure, rules: Sequence[PathRule]) -> tuple[RootPath, ...]:
    """Files that a rule names, and what they bring in of their own package or by such names."""
    named = {path for path in closure.chosen if _word(path, rules) is PathWord.FOLLOW}
    wanted = {path for path in named if closure.chosen[path].entry.kind is not Kind.DIRECTORY}
    below: dict[str, set[RootPath]] = {}
    for need in closure.needs:
        if need.kind in {NeedKind.STRING, NeedKind.NEEDED, NeedKind.LINK, NeedKind.DLOPEN}:
            below.setdefault(need.by, set()).add(need.path)
    todo, found = list(wanted), set(wanted)
    while todo:
        by = todo.pop()
        for path in below.get(by, ()):
            mine = closure.chosen[path].package == closure.chosen[by].package
            if path not in found and mine:
                found.add(path)
                todo.append(path)
    files = {Kind.FILE, Kind.HARDLINK}
    return tuple(sorted(path for path in found if closure.chosen[path].entry.kind in files))


def _word(path: RootPath, rules: Sequence[PathRule]) -> PathWord:
    words = [rule.word for rule in rules if pattern.matches(rule.path, path)]
    return words[-1] if words else PathWord.LIST


def follow_names(
    manifest: Manifest, store: Store, read: ReadOf, resolve: Callable[[Strings], Closure]
) -> Closure:
    """Resolve with what files name, until nothing new is named.

    Raises: ResolveError for a rule of `paths:` that no file matches.
    """
    follower = Follower(manifest.paths, store)
    closure = resolve(follower.strings)
    while manifest.paths and not closure.missing and follower.read_more(closure, read):
        closure = resolve(follower.strings)
    check_rules(closure, manifest)
    return closure


def check_rules(closure: Closure, manifest: Manifest) -> None:
    """Refuse rules of `paths:` that no chosen file matches. Raises: ResolveError."""
    if closure.missing:
        return  # a file that is missing may be the one that is meant
    for rule in manifest.paths:
        if not any(pattern.matches(rule.path, path) for path in closure.chosen):
            raise ResolveError(
                f"no file of the image matches {rule.path}, whose named paths are to be followed",
                where=str(rule.where),
                fix="correct the path under paths:, or remove it",
            )


def with_named_paths(tree: Tree, files: Sequence[Files], store: Store) -> Tree:
    """A tree that lists the files of its packages which its files name and it has not."""
    catalog = Catalog(files)
    inside = {node.path for node in tree.nodes}
    found: set[Possible] = set()
    for node in tree.nodes:
        if node.kind is Kind.FILE and _may_name(node):
            texts = paths_of(node.sha256, partial(store.need, node.sha256), store)
            found.update(_possible(node.path, texts, catalog, inside))
    return replace(tree, possible=tuple(sorted({*tree.possible, *found})))


def _may_name(node: Node) -> bool:
    return not node.path.startswith(NOT_TEXT) and not image_version(node.path)


def _possible(
    by: RootPath, texts: Iterable[str], catalog: Catalog, inside: set[RootPath]
) -> Iterable[Possible]:
    for text in texts:
        paths = named_files(text, catalog)
        left = [path for path in paths if path not in inside]
        # a directory of which the image has a part was thought of
        if left and len(left) == len(paths):
            many = f"{len(left)} files" if rootpath(text) not in left and len(left) > 1 else ""
            yield Possible(by, str(rootpath(text)), STRING_PRIORITY, f'string "{text}"', many)
