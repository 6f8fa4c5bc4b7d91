"""The readers of foreign bytes, each as one function: only MinbuildError may come out."""

import atexit
import contextlib
import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from mmap import mmap
from pathlib import Path
from typing import Any

from minbuild.archive import lockfile
from minbuild.errors import MinbuildError, ToolError
from minbuild.facts.config_files import parse_sysusers, parse_tmpfiles
from minbuild.facts.detect import read_facts, read_symbols
from minbuild.facts.model import FileEntry, PackageFiles, Symbols, TextLines
from minbuild.facts.package_analysis import analyse_package
from minbuild.footprint import document
from minbuild.footprint.open_ports import add_ports, read_ports
from minbuild.formats.btrfs import Btrfs
from minbuild.formats.erofs import Erofs
from minbuild.formats.ext4 import Ext4
from minbuild.formats.filesystem import Volume
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.partition_table import read_partition_table
from minbuild.formats.qemu_image import convert_to_raw
from minbuild.formats.region import Region
from minbuild.formats.root_entry import FileType, RootEntry
from minbuild.formats.uki import read_uki
from minbuild.formats.xfs import Xfs
from minbuild.manifest.budget_document import is_manifest_document, load_budget
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.rule_files import load_rules
from minbuild.paths import RootPath, to_root_path
from minbuild.pipeline.attestation import compare_sums, read_sums
from minbuild.process import RunProgram
from minbuild.report import history as past
from minbuild.report.history import read_history
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.policy import ResolvePolicy
from minbuild.roots import installed_packages
from minbuild.roots.boot_disk import read_disk_boot
from minbuild.roots.installed_packages import (
    DPKG_DIVERSIONS,
    DPKG_INFO,
    DPKG_STATUS,
    read_package_database,
)
from minbuild.roots.oci import ANY_IMAGE, Container, is_container_image
from minbuild.roots.oci_blobs import BlobDirectory
from minbuild.roots.open import detect_input, open_tar_root
from minbuild.roots.root_partition import find_candidates, match_root_options
from tests.fuzz.sparse import expanded
from tests.support import tars
from tests.support.footprints import tiny

MOST = 64 << 20
"""Bytes that an initramfs may unpack to here, so that bombs end soon."""
RULES = load_rules()
FOOTPRINT = tiny()
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_DIRECTORY = Path(tempfile.mkdtemp(prefix="minbuild-fuzz-", dir=_MEMORY))
atexit.register(shutil.rmtree, _DIRECTORY, ignore_errors=True)


def deb(data: bytes) -> None:
    with _file(data, ".deb") as path:
        analyse_package(path, "fuzz")


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
    for path in map(RootPath, ("/etc/nsswitch.conf", "/etc/pam.d/app")):
        facts = read_facts(path, data)
        if isinstance(facts, TextLines):
            files = PackageFiles(
                "",
                {path: FileEntry(path, FileType.FILE, 0o644)},
                facts={path: facts}.get,
                symbols=dict[RootPath, Symbols]().get,
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


def ext4(data: bytes) -> None:
    _volume(Ext4, data)


def erofs(data: bytes) -> None:
    _volume(Erofs, data)


def xfs(data: bytes) -> None:
    with expanded(data) as image:
        _volume(Xfs, image)


def btrfs(data: bytes) -> None:
    with expanded(data) as image:
        _volume(Btrfs, image)


def _volume(open_volume: Callable[..., Any], data: mmap | bytes) -> None:
    """A disk that is a file system, every file of it."""
    table = read_partition_table(data, "fuzz.raw")
    candidates = find_candidates(data, table)
    fs = open_volume(data, 0, len(data), "fuzz.raw")
    getattr(fs, "is_dirty", None)
    match_root_options(data, candidates, ("UUID=x", "LABEL=x"))
    root: Volume[Any] = Volume("fuzz.raw", fs)
    for one in list(root.walk()):
        if one.kind is FileType.FILE and one.size <= MOST:
            root.read(one.native_path)


_LAYER = tars.tar(tars.Row(b"usr/", "5"), tars.Row(b"usr/a", body=b"hello"), tars.Row(b".wh.b"))


def container(data: bytes) -> None:
    """A directory of a container image: its documents, put together with digests that are right."""
    config, manifest, index, saved = (*data.split(b"\x1e"), b"", b"", b"")[:4]
    layer_name = hashlib.sha256(_LAYER).hexdigest().encode()
    config = config.replace(b"@L", layer_name)
    config_name = hashlib.sha256(config).hexdigest().encode()
    manifest, saved = (
        one.replace(b"@L", layer_name).replace(b"@C", config_name) for one in (manifest, saved)
    )
    manifest_name = hashlib.sha256(manifest).hexdigest().encode()
    parts = {config_name: config, manifest_name: manifest, layer_name: _LAYER}
    blobs = {f"blobs/sha256/{name.decode()}": part for name, part in parts.items()}
    blobs |= {name.decode(): part for name, part in parts.items()}
    blobs |= {f"{config_name.decode()}.json": config, f"{layer_name.decode()}/layer.tar": _LAYER}
    for name, text in (("index.json", index), ("manifest.json", saved)):
        if text:
            blobs[name] = text.replace(b"@M", manifest_name)
    store = _Blobs(blobs)
    is_container_image(store)
    list(Container("fuzz", store, _DIRECTORY, ANY_IMAGE).walk())


class _Blobs:
    """Parts of a container image; a name that is none of them is looked up on the disk."""

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._parts = parts

    def open(self, name: str) -> Region | None:
        if name not in self._parts:
            return BlobDirectory(_DIRECTORY / "none").open(name)
        with _file(self._parts[name], ".blob") as path:
            return Region.from_path(path)


def packages(data: bytes) -> None:
    """A header of rpm's database, or dpkg's."""
    if data.startswith(b"\x8e"):
        with contextlib.suppress(struct.error, IndexError, ValueError):  # as its reader does
            installed_packages.parse_rpm_package(data[1:])
        return
    status, listing, diversions = (*data.split(b"\x1e"), b"", b"")[:3]
    texts = {
        DPKG_STATUS: status, f"{DPKG_INFO}a.list": listing, f"{DPKG_INFO}a:amd64.list": listing,
        DPKG_DIVERSIONS: diversions,
    }  # fmt: skip
    entries = {
        name: RootEntry(to_root_path(f"/{name}"), name, FileType.FILE, 0o644, 0, 0, len(text), "")
        for name, text in texts.items()
    }
    read_package_database(entries, texts.__getitem__)


def budget(data: bytes) -> None:
    with _file(data, ".yaml") as path:
        is_manifest_document(path)
        load_budget(path)


def ports(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    add_ports(FOOTPRINT, read_ports(text, "x", "ports.json") or ())


def kind(data: bytes) -> None:
    """What a file is, by its first bytes; qemu-img comes after."""
    with _file(data, "") as path, tempfile.TemporaryDirectory(dir=_DIRECTORY) as work:
        detect_input(path)
        convert_to_raw(path, Path(work), _no_program)


def _no_program(name: str) -> RunProgram:
    raise ToolError(f"{name} is not started", where="tests/fuzz", fix="none")


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
    points = read_history(data.decode("utf-8", "surrogateescape"), "fuzz.jsonl")
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
        ext4,
        erofs,
        xfs,
        btrfs,
        container,
        packages,
        budget,
        ports,
        kind,
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
