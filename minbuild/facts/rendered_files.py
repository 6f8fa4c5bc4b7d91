"""Files that a manifest renders, as a package without a name."""

from collections.abc import Iterable

from minbuild.cache.store import Store
from minbuild.errors import ManifestError
from minbuild.facts import detect
from minbuild.facts.model import FileEntry, FileFacts, PackageFiles, Symbols
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import RenderedFile
from minbuild.paths import RootPath


def collect_rendered_files(files: Iterable[RenderedFile], store: Store) -> PackageFiles:
    """Put the contents into the store and return the files, owned by "".

    Raises: ManifestError when two different files have one path.
    """
    files_by_path: dict[RootPath, RenderedFile] = {}
    for file in files:
        earlier = files_by_path.setdefault(file.path, file)
        if _comparison_key(earlier) != _comparison_key(file):
            raise ManifestError(
                f"two different files are to lie at {file.path}: see also {earlier.where}",
                where=str(file.where),
                fix="leave one of them out, or give one another path",
            )
    entries = {path: _make_entry(files_by_path[path], store) for path in sorted(files_by_path)}

    def read_file_facts(path: RootPath) -> FileFacts | None:
        return detect.read_facts(path, files_by_path[path].content) if _is_file(path) else None

    def read_file_symbols(path: RootPath) -> Symbols | None:
        return detect.read_symbols(path, files_by_path[path].content) if _is_file(path) else None

    def _is_file(path: RootPath) -> bool:
        return path in entries and entries[path].kind is FileType.FILE

    return PackageFiles(owner="", entries=entries, facts=read_file_facts, symbols=read_file_symbols)


def _make_entry(file: RenderedFile, store: Store) -> FileEntry:
    if file.directory:
        return FileEntry(file.path, FileType.DIRECTORY, file.mode, file.uid, file.gid)
    if file.link:
        return FileEntry(file.path, FileType.LINK, 0o777, file.uid, file.gid, target=file.link)
    sha256 = store.add(file.content)
    size = len(file.content)
    return FileEntry(file.path, FileType.FILE, file.mode, file.uid, file.gid, size, sha256)


def _comparison_key(file: RenderedFile) -> tuple[object, ...]:
    """All of a file but its location."""
    return (file.content, file.mode, file.uid, file.gid, file.link, file.directory)
