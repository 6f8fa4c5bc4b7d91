"""The readers of foreign bytes, each as one function: only MinbuildError may come out."""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.errors import MinbuildError
from minbuild.facts.detect import read_facts, read_symbols
from minbuild.facts.model import FileEntry, PackageFiles, TextLines
from minbuild.facts.package_analysis import analyse_package
from minbuild.facts.sysusers import parse_sysusers, parse_tmpfiles
from minbuild.footprint import document
from minbuild.formats.erofs import Erofs
from minbuild.formats.ext4 import Ext4
from minbuild.formats.filesystem import Volume
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.partition_table import read_partition_table
from minbuild.formats.root_entry import FileType
from minbuild.formats.uki import read_uki
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.rule_files import load_rules
from minbuild.pipeline.attestation import compare_sums, read_sums
from minbuild.report import history as past
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.policy import ResolvePolicy
from minbuild.roots.boot_disk import read_disk_boot
from minbuild.roots.oci import ANY_IMAGE
from minbuild.roots.open import open_tar_root
from minbuild.roots.root_partition import find_candidates

MOST = 64 << 20
"""Bytes that an initramfs may unpack to here, so that bombs end soon."""
RULES = load_rules()
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_DIRECTORY = Path(tempfile.mkdtemp(prefix="minbuild-fuzz-", dir=_MEMORY))
atexit.register(shutil.rmtree, _DIRECTORY, ignore_errors=True)


def deb(data: bytes) -> None:
    with _file(data, ".deb") as path:
        analyse_package(path, "fuzz", 1)


def elf(data: bytes) -> None:
    read_facts("/usr/lib/x.so", data)
    read_symbols("/usr/lib/x.so", data)


def module(data: bytes) -> None:
    ending = {b"\xfd7zXZ\0": ".xz", b"(\xb5/\xfd": ".zst"}
    kind = next((name for start, name in ending.items() if data.startswith(start)), "")
    read_facts(f"/usr/lib/modules/6.1/kernel/a.ko{kind}", data)
    read_symbols(f"/usr/lib/modules/6.1/kernel/a.ko{kind}", data)
    read_symbols("/boot/vmlinuz-6.1", data)
    read_facts("/usr/lib/modules/6.1/modules.builtin.modinfo", data)
    read_facts("/boot/config-6.1", data)


def config(data: bytes) -> None:
    for path in ("/etc/nsswitch.conf", "/etc/pam.d/app"):
        facts = read_facts(path, data)
        if isinstance(facts, TextLines):
            files = PackageFiles(
                "", {path: FileEntry(path, FileType.FILE, 0o644)}, {path: facts}.get, {}.get
            )
            check_closed_world(files, arch="amd64", policy=ResolvePolicy(rules=RULES))


def declared(data: bytes) -> None:
    facts = read_facts("/usr/lib/sysusers.d/app.conf", data)
    if isinstance(facts, TextLines):
        (parse_tmpfiles if data.startswith(b"d") else parse_sysusers)(facts.lines)


def rules(data: bytes) -> None:
    with _file(data, ".yaml") as path:
        load_rules([path])


def cpio(data: bytes) -> None:
    unpack_members(data, limit=MOST)


def image(data: bytes) -> None:
    """A UKI, then its initramfs."""
    unpack_members(read_uki(data, "fuzz.efi").initrd, limit=MOST)


def disk(data: bytes) -> None:
    """A disk, the UKI that it starts, and the initramfs in that."""
    unpack_members(read_uki(read_disk_boot(data, "fuzz.raw").uki, "fuzz.raw").initrd, limit=MOST)


def filesystem(data: bytes) -> None:
    """A disk that is a file system, every file of it."""
    table = read_partition_table(data, "fuzz.raw")
    find_candidates(data, table)
    read = Erofs if data[1024:1028] == b"\xe2\xe1\xf5\xe0" else Ext4
    root = Volume("fuzz.raw", read(data, 0, len(data), "fuzz.raw"))
    for one in list(root.walk()):
        if one.kind is FileType.FILE and one.size <= MOST:
            root.read(one.native_path)


def archive(data: bytes) -> None:
    """A tar of a root or of a container image, every file of it."""
    with _file(data, ".tar") as path, tempfile.TemporaryDirectory(dir=_DIRECTORY) as work:
        root = open_tar_root(path, Path(work), ANY_IMAGE)
        for one in list(root.walk()):
            if one.kind is FileType.FILE and one.size <= MOST:
                root.read(one.native_path)


def sums(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_DIRECTORY) as place:
        (Path(place) / "SHA256SUMS").write_bytes(data)
        compare_sums(Path(place), read_sums(Path(place)))


def lock(data: bytes) -> None:
    lockfile.parse_lock(data.decode("utf-8", "surrogateescape"), Path("fuzz.lock"))


def manifest(data: bytes) -> None:
    with _file(data, ".yaml") as path:
        read_manifest(path, settings={}, components=())


def footprint(data: bytes) -> None:
    document.read_footprint(data.decode("utf-8", "surrogateescape"), "fuzz.json")


def history(data: bytes) -> None:
    """A history, and both forms in which it is shown."""
    points = past.read_history(data.decode("utf-8", "surrogateescape"), "fuzz.jsonl")
    past.render_history(points)
    past.render_history_html(points)


READERS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        deb,
        elf,
        module,
        config,
        declared,
        rules,
        cpio,
        image,
        disk,
        filesystem,
        archive,
        sums,
        lock,
        manifest,
        footprint,
        history,
    )
}


def survives(target: str, data: bytes) -> bool:
    """Feed one input; True when it was taken for sound, False when it was refused properly."""
    try:
        READERS[target](data)
    except MinbuildError:
        return False
    return True


@contextlib.contextmanager
def _file(data: bytes, ending: str):  # type: ignore[no-untyped-def]
    path = _DIRECTORY / f"minbuild-fuzz-{os.getpid()}{ending}"
    path.write_bytes(data)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
