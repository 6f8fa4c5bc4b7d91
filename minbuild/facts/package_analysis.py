"""Analysis of a package in one pass: its identity, compared with the row that names it, its entries
and the facts of each file.

Bills, provenance and the search for security issues go by a row's name, version and source. A row
that says otherwise than the package itself would be repeated there.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.cache.unpacked_contents import ContentSpool, SpooledFile, is_worth_keeping
from minbuild.errors import ArchiveError, MalformedFile
from minbuild.facts import detect, serialize
from minbuild.facts.kernel_modules import read_aliases
from minbuild.facts.model import FileEntry, FileFacts, Malformed
from minbuild.facts.module_aliases import encode_aliases
from minbuild.facts.process_pool import find_verified_deb, label_package
from minbuild.file_io import hash_pieces
from minbuild.formats.deb import open_deb, parse_alternatives, resolve_image_path
from minbuild.formats.root_entry import FileType
from minbuild.formats.tar import Tar
from minbuild.formats.tar_header import TarHeader, TarType
from minbuild.paths import RootPath, to_root_path


@dataclass(frozen=True, slots=True)
class PackageIdentity:
    """What a control file says of name, version, architecture and source."""

    name: str
    version: str
    arch: str
    source: str
    """"" where it is the package's own name."""
    source_version: str
    """"" where it is the package's own version."""


def parse_identity(fields: Mapping[str, str]) -> PackageIdentity:
    """Take it from a control file's fields, names in lower case. Source: Debian Policy 5.6.1."""
    source, _, version = fields.get("source", "").partition(" ")
    return PackageIdentity(
        fields.get("package", ""),
        fields.get("version", ""),
        fields.get("architecture", ""),
        source,
        version.strip("() "),
    )


def store_identity(sha256: str, identity: PackageIdentity, store: Store) -> None:
    """Keep what a package's control file says."""
    values = [
        identity.name,
        identity.version,
        identity.arch,
        identity.source,
        identity.source_version,
    ]
    store.put(RecordKind.CONTROL, {sha256: json.dumps(values).encode()})


def has_identity(package: Package, store: Store) -> bool:
    """Whether the store knows what the control file says."""
    return store.get(RecordKind.CONTROL, package.sha256) is not None


def check_identity(package: Package, store: Store) -> None:
    """Refuse a package that is another one than the row that names it says.

    Raises: ArchiveError, also when the package is not in the store and was never read.
    """
    record = store.get(RecordKind.CONTROL, package.sha256)
    if record is not None:
        identity = PackageIdentity(*json.loads(record))
    else:
        with open_deb(find_verified_deb(package, store), label_package(package)) as deb:
            identity = parse_identity(deb.read_control())
        store_identity(package.sha256, identity, store)
    mismatches = [
        f"{field.replace('_', ' ')} {actual or 'its own'}, not {expected or 'its own'}"
        for field, actual, expected in _pair_fields(identity, package)
        if actual != expected
    ]
    if mismatches:
        raise ArchiveError(
            f"the package is another one than its row says: its control file has {'; '.join(mismatches)}",
            where=label_package(package),
            fix="make the lock anew (minbuild lock MANIFEST --update), or use another mirror; "
            "whoever wrote this row was wrong",
        )


def _pair_fields(identity: PackageIdentity, package: Package) -> tuple[tuple[str, str, str], ...]:
    """Each field as the control file and as the row has it; what is said twice counts once."""
    source = identity.source if identity.source != identity.name else ""
    row_source = package.source if package.source != package.name else ""
    version = identity.source_version if identity.source_version != identity.version else ""
    row_version = package.source_version if package.source_version != package.version else ""
    return (
        ("name", identity.name, package.name),
        ("version", identity.version, package.version),
        ("architecture", identity.arch, package.arch),
        ("source", source, row_source),
        ("source_version", version, row_version),
    )


MAX_FILE_SIZE = 384 << 20
"""Bytes of the largest file that is read whole; a larger ELF object is Damaged."""


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """What is known of one file's content."""

    facts: FileFacts | None = None
    aliases: tuple[str, ...] | None = None
    """Of a kernel module; None for all else."""


@dataclass(frozen=True, slots=True)
class PackageRecords:
    """The records of one package, as the store keeps them."""

    files: bytes
    facts: tuple[tuple[int, bytes], ...]
    aliases: Mapping[str, bytes]
    """Of kernel modules, by bus. Their other facts are read from the content of those asked for."""
    control: PackageIdentity
    spooled: tuple[SpooledFile, ...]
    """Contents that the spool of the package has."""


def analyse_package(path: Path, label: str, spool_path: Path | None = None) -> PackageRecords:
    """Read the .deb at `path`; `label` names it in errors. Contents go to a spool at `spool_path`.

    Raises: ArchiveError when it cannot be read or must not be.
    """
    with open_deb(path, label) as deb:
        control = deb.read_control()
        spool = ContentSpool(spool_path)
        try:
            files = _read_files(deb.open_data(), spool)
        finally:
            spooled = spool.close()
    info = serialize.ControlInfo(
        version=control.get("version", ""),
        depends=parse_alternatives(control.get("pre-depends", ""))
        + parse_alternatives(control.get("depends", "")),
        provides=tuple(group[0] for group in parse_alternatives(control.get("provides", ""))),
    )
    return _encode_records(info, files, parse_identity(control), spooled)


def _encode_records(
    info: serialize.ControlInfo,
    rows: list[tuple[FileEntry, ContentFacts]],
    control: PackageIdentity,
    spooled: tuple[SpooledFile, ...],
) -> PackageRecords:
    rows.sort(key=lambda pair: pair[0].path)
    facts: list[tuple[int, bytes]] = []
    aliases: list[tuple[int, tuple[str, ...]]] = []
    flags: list[int] = []
    for index, (_, content) in enumerate(rows):
        flags.append(0)
        if content.facts is not None:
            flags[-1] |= serialize.HAS_FACTS
            facts.append((index, serialize.encode_facts(content.facts)))
        if content.aliases is not None:
            flags[-1] |= serialize.HAS_FACTS
            aliases.append((index, content.aliases))
    return PackageRecords(
        serialize.encode_files(info, [entry for entry, _ in rows], flags),
        tuple(facts),
        encode_aliases(aliases) if any(detect.is_module(entry.path) for entry, _ in rows) else {},
        control,
        spooled,
    )


def _read_files(tar: Tar, spool: ContentSpool) -> list[tuple[FileEntry, ContentFacts]]:
    entries: dict[RootPath, FileEntry] = {}
    contents: dict[RootPath, ContentFacts] = {}
    for header in tar:
        path = resolve_image_path(header)
        if path == "/" or _is_repeated_directory(header, entries.get(path)):
            continue
        if header.type is TarType.FILE:
            sha256, contents[path] = _read_content(tar, path, header.size, spool)
            entries[path] = _make_file_entry(header, path, sha256)
        else:
            entries[path] = _make_other_entry(header, path, entries)
    _check_links(entries)
    nothing = ContentFacts()
    return [(entry, contents.get(path, nothing)) for path, entry in entries.items()]


def _read_content(
    tar: Tar, path: RootPath, size: int, spool: ContentSpool
) -> tuple[str, ContentFacts]:
    head = tar.read_start(detect.HEAD_SIZE)
    if not detect.needs_whole_file(path, head):
        kept = spool if is_worth_keeping(path) else None
        return _hash_rest(tar, head, kept), ContentFacts(detect.read_facts(path, head))
    if size > MAX_FILE_SIZE:
        reason = f"it is larger than what is read of one file ({MAX_FILE_SIZE} bytes)"
        return _hash_rest(tar, head, spool), ContentFacts(Malformed(reason))
    data = head + tar.read_content()
    sha256 = hashlib.sha256(data).hexdigest()
    spool.write(data)
    spool.finish_file(sha256)
    if detect.is_module(path):
        return sha256, ContentFacts(aliases=read_aliases(path, data))
    return sha256, ContentFacts(detect.read_facts(path, data))


def encode_content_facts(path: RootPath, data: bytes) -> bytes | None:
    """Make the record of one file's facts; None where it has none."""
    facts = detect.read_facts(path, data)
    return serialize.encode_facts(facts) if facts is not None else None


def _hash_rest(tar: Tar, head: bytes, spool: ContentSpool | None) -> str:
    """Read the current file to its end; returns the digest of its content."""
    pieces: Iterator[bytes | memoryview] = chain([head], tar.iterate_content())
    if spool is None:
        return hash_pieces(pieces)
    sha256 = hash_pieces(spool.write_through(pieces))
    spool.finish_file(sha256)
    return sha256


def _is_repeated_directory(header: TarHeader, earlier: FileEntry | None) -> bool:
    """True for a directory that came before. Raises: Damage for anything else that did."""
    if earlier is None:
        return False
    if earlier.kind is FileType.DIRECTORY and header.type is TarType.DIRECTORY:
        return True
    raise MalformedFile(f"it has two members of one name: {earlier.path}")


def _make_file_entry(header: TarHeader, path: RootPath, sha256: str) -> FileEntry:
    return FileEntry(path, FileType.FILE, header.mode, header.uid, header.gid, header.size, sha256)


def _make_other_entry(
    header: TarHeader, path: RootPath, entries: dict[RootPath, FileEntry]
) -> FileEntry:
    """An entry without content of its own."""
    if header.type is TarType.DIRECTORY:
        return FileEntry(path, FileType.DIRECTORY, header.mode, header.uid, header.gid)
    if header.type is TarType.LINK:
        return FileEntry(path, FileType.LINK, 0o777, header.uid, header.gid, target=header.target)
    first = entries.get(to_root_path(header.target))
    if first is not None and first.kind is FileType.LINK:  # a second name of the link itself
        return FileEntry(path, FileType.LINK, 0o777, first.uid, first.gid, target=first.target)
    if first is None or first.kind not in (FileType.FILE, FileType.HARDLINK):
        raise MalformedFile(
            f"it has a hard link to what is no file of it: {path} to {header.target}"
        )
    return FileEntry(
        path,
        FileType.HARDLINK,
        first.mode,
        first.uid,
        first.gid,
        first.size,
        first.sha256,
        first.target or first.path,
    )


def _check_links(entries: dict[RootPath, FileEntry]) -> None:
    """Refuse members that would be laid down through a link or below a file of the package."""
    for path, after in pairwise(sorted(f"{path}/" for path in entries)):
        if after.startswith(path) and entries[RootPath(path[:-1])].kind is not FileType.DIRECTORY:
            raise MalformedFile(
                f"it has {after[:-1]} below {path[:-1]}, which is no directory of it"
            )
