"""Source packages: where the archive keeps them, with the digests that its Release vouches for."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbuild.archive.download import Wanted, download
from minbuild.archive.mirror import Mirror
from minbuild.archive.part import addresses
from minbuild.archive.suite import Suite, open_suite, settled
from minbuild.archive.unpack import ENDINGS, unpack
from minbuild.errors import ArchiveError
from minbuild.manifest.types import Archive
from minbuild.progress import Progress
from minbuild.store import Store

_FILE = re.compile(r"^ ([0-9a-f]{64}) +([0-9]+) +(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source package."""

    path: str
    """On the mirror: debian/pool/main/b/busybox/busybox_1.37.0-6.dsc."""
    size: int
    sha256: str


def sources(
    wanted: Collection[tuple[str, str]],
    archive: Archive,
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
) -> Mapping[tuple[str, str], tuple[SourceFile, ...]]:
    """Find source packages by name and version; one that no suite has is not in the answer.

    Raises: ArchiveError.
    """

    def opened(name: str, fresh: bool) -> Suite:
        return open_suite(
            archive, name, mirror, store, offline=offline, progress=progress, fresh=fresh
        )

    def filled(suites: Sequence[Suite]) -> list[tuple[Suite, str]]:
        parts = [(suite, path) for suite in suites for path in _paths(suite, archive)]
        files = [_wanted(suite, path, mirror, offline=offline) for suite, path in parts]
        download([one for one in files if one.mirrors], store, progress, "source indices")
        return parts

    _, parts = settled(archive.suites, opened, filled)
    found: dict[tuple[str, str], tuple[SourceFile, ...]] = {}
    for suite, path in parts:
        text = _text(store, suite, path)
        for name, version in wanted:
            if (name, version) not in found and (files_of := _find(text, name, version, suite)):
                found[name, version] = files_of
    return found


def _paths(suite: Suite, archive: Archive) -> list[str]:
    """The source index of each component, in the best compression that there is."""
    known = suite.release.indices
    found = []
    for component in archive.components:
        folder = f"{component}/source/Sources"
        found += [path for path in (f"{folder}{one}" for one in ENDINGS) if path in known][:1]
    return found


def _wanted(suite: Suite, path: str, mirror: Mirror, *, offline: bool) -> Wanted:
    sha256, size = suite.release.indices[path]
    folder = path.rpartition("/")[0]
    paths = [f"{folder}/by-hash/SHA256/{sha256}"] if suite.release.by_hash else []
    root, name = suite.state.root, suite.state.name
    return Wanted(
        what=f"the source index of {name}",
        mirrors=addresses(mirror, root, name, [*paths, path], offline=offline),
        sha256=sha256,
        size=size,
        fix="wait until the mirror is whole again, or use another mirror (--mirror URL)",
    )


def _text(store: Store, suite: Suite, path: str) -> str:
    data = store.read(suite.release.indices[path][0])
    fix = "run it once without --offline"
    if data is None:
        raise ArchiveError("the store lacks the source index", where=suite.where, fix=fix)
    _, size = suite.release.indices.get(path.rpartition(".")[0], ("", -1))
    text = unpack(data, path, f"the source index of {suite.state.name}", size=size)
    return "\n" + text.decode("utf-8", "replace")


def _find(text: str, name: str, version: str, suite: Suite) -> tuple[SourceFile, ...]:
    at = -1
    while (at := text.find(f"\nPackage: {name}\n", at + 1)) >= 0:
        end = text.find("\n\n", at + 1)
        paragraph = text[at : end if end > 0 else len(text)]
        if f"\nVersion: {version}\n" in paragraph:
            directory = re.search(r"^Directory: *(\S+)$", paragraph, re.MULTILINE)
            part = paragraph.partition("\nChecksums-Sha256:")[2]
            listed = re.match(r" *\n((?: .*(?:\n|\Z))*)", part)
            if directory and listed:
                top = f"{suite.state.root}/{directory[1]}"
                return tuple(
                    SourceFile(f"{top}/{file}", int(size), sha256)
                    for sha256, size, file in sorted(_FILE.findall(listed[1]), key=lambda f: f[2])
                )
    return ()
