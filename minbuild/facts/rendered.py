"""The files that a manifest makes itself, seen like those of a package."""

from collections.abc import Iterable

from minbuild.errors import ManifestError
from minbuild.facts import sniff
from minbuild.facts.types import Entry, FileFacts, Files, Kind, Symbols
from minbuild.manifest.types import RenderedFile
from minbuild.paths import RootPath
from minbuild.store import Store


def rendered(files: Iterable[RenderedFile], store: Store) -> Files:
    """Put the contents into the store and return the files, owned by "".

    Raises: ManifestError when two different files have one path.
    """
    found: dict[RootPath, RenderedFile] = {}
    for file in files:
        before = found.setdefault(file.path, file)
        if _meaning(before) != _meaning(file):
            raise ManifestError(
                f"two different files are to lie at {file.path}: see also {before.where}",
                where=str(file.where),
                fix="leave one of them out, or give one another path",
            )
    entries = {path: _entry(found[path], store) for path in sorted(found)}

    def facts(path: RootPath) -> FileFacts | None:
        return sniff.sniff(path, found[path].content) if _is_file(path) else None

    def symbols(path: RootPath) -> Symbols | None:
        return sniff.symbols(path, found[path].content) if _is_file(path) else None

    def _is_file(path: RootPath) -> bool:
        return path in entries and entries[path].kind is Kind.FILE

    return Files(owner="", entries=entries, facts=facts, symbols=symbols)


def _entry(file: RenderedFile, store: Store) -> Entry:
    if file.directory:
        return Entry(file.path, Kind.DIRECTORY, file.mode, file.uid, file.gid)
    if file.link:
        return Entry(file.path, Kind.LINK, 0o777, file.uid, file.gid, target=file.link)
    sha256 = store.add(file.content)
    size = len(file.content)
    return Entry(file.path, Kind.FILE, file.mode, file.uid, file.gid, size, sha256)


def _meaning(file: RenderedFile) -> tuple[object, ...]:
    """All of a file but where it stands."""
    return (file.content, file.mode, file.uid, file.gid, file.link, file.directory)
