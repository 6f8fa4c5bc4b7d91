"""What the oracles share: packages of the mirror, closures written down, samples by a seed."""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from minbuild.cache.store import Store
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Archive
from minbuild.paths import to_host_path
from minbuild.pipeline.package_selection import PackageSource
from minbuild.resolve.model import Closure
from tests.support.real_archive import open_real_archive

WHOLE = os.environ.get("MINBUILD_ORACLE") == "all"
T = TypeVar("T")


def open_archive_source(store: Path, arch: str, suites: Sequence[str] = ()) -> PackageSource:
    """The machine's mirror for one architecture; a Release past its date will do."""
    archive = Archive(check_valid_until=False)
    if suites:
        archive = Archive(suites=tuple(suites), check_valid_until=False)
    return open_real_archive(
        Store(Path(os.environ.get("MINBUILD_TEST_STORE") or store)), archive, arch
    )


def sample(everything: Sequence[T], count: int) -> Sequence[T]:
    """Some of all, by a seed that the end of the run prints; all of them when the oracle is asked whole."""
    if WHOLE or count >= len(everything):
        return everything
    seed = int(os.environ["MINBUILD_ORACLE_SEED"])  # the whole run's, set by tests/conftest.py
    chosen = random.Random(seed).sample(everything, count)
    print(f"MINBUILD_ORACLE_SEED={seed}: {' '.join(map(str, chosen))}")
    return chosen


def write_closure(closure: Closure, tree: Path, store: Store) -> None:
    """Write a closure down; absolute links are made relative so that they stay inside."""
    tree.mkdir()
    if "/usr/lib64" in closure.files:
        (tree / "lib64").symlink_to("usr/lib64")
    for path, selected in closure.files.items():
        directory = to_host_path(tree, path)
        if directory.is_symlink():
            continue
        directory.parent.mkdir(parents=True, exist_ok=True)
        match selected.entry.kind:
            case FileType.DIRECTORY:
                directory.mkdir(exist_ok=True)
            case FileType.LINK:
                target = selected.entry.target
                if target.startswith("/"):
                    target = os.path.relpath(target, Path(path).parent)
                directory.symlink_to(target)
            case _:
                data = store.read(selected.entry.sha256)
                assert data is not None
                directory.write_bytes(data)
                directory.chmod(0o755)
