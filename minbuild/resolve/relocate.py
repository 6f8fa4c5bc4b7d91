"""Roots that name a package, led to the files of an installed root, whoever owns them there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from minbuild.facts.types import Files, Kind
from minbuild.facts.versions import version_key
from minbuild.paths import RootPath, rootpath
from minbuild.resolve import pattern
from minbuild.resolve.kernel import IMAGE, IMAGES, image_version
from minbuild.resolve.types import Root


def relocate(roots: Iterable[Root], files: Sequence[Files]) -> tuple[Root, ...]:
    """Give each root the package that has its path here; one that nothing meets stays as it is.

    A root's own package goes first, then those it depends on, then any. Of several kernels the
    newest is taken, out of /boot or else beside its modules.
    """
    by_name = {one.owner: one for one in files if one.owner}
    found: list[Root] = []
    for root in roots:
        hits = list(_hits(root, by_name)) if root.package else []
        if root.text == IMAGE:
            hits = hits or list(_hits(replace(root, text=IMAGES[1]), by_name))
            hits = sorted(hits, key=lambda hit: version_key(image_version(hit[1])))[-1:]
        if not hits:
            found.append(root)
        found += [replace(root, text=path, package=owner) for owner, path in hits]
    return tuple(dict.fromkeys(found))


def _hits(root: Root, by_name: Mapping[str, Files]) -> Iterator[tuple[str, RootPath]]:
    own = by_name.get(root.package)
    near = [each for group in own.depends for each in group if each in by_name] if own else []
    for group in ([own] if own else [], [by_name[name] for name in near], by_name.values()):
        hits = [(one.owner, path) for one in group for path in _matches(root.text, one)]
        if hits:
            yield from dict.fromkeys(hits)
            return


def _matches(text: str, files: Files) -> list[RootPath]:
    path = rootpath(text)
    if not pattern.is_pattern(text):
        return [path] if path in files.entries else []
    start, match = pattern.prefix(text), pattern.compiled(text).fullmatch
    return [
        each
        for each in files.entries
        if each.startswith(start) and match(each)
        and files.entries[each].kind is not Kind.DIRECTORY
    ]  # fmt: skip
