"""The readers of foreign bytes, each as one function: only MinbuildError may come out."""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.build.sums import read_sums, wrong
from minbuild.errors import MinbuildError
from minbuild.facts.compute import compute
from minbuild.facts.root.container import ANY
from minbuild.facts.root.erofs import Erofs
from minbuild.facts.root.ext4 import Ext4
from minbuild.facts.root.filesystems import candidates
from minbuild.facts.root.partitions import read_table
from minbuild.facts.root.volume import Volume
from minbuild.facts.sniff import sniff, symbols
from minbuild.facts.sysusers import accounts, places
from minbuild.facts.types import Entry, Files, Kind, Text
from minbuild.footprint import document
from minbuild.image.unpack import members
from minbuild.lab.uki import read_uki
from minbuild.manifest.load import load
from minbuild.manifest.rulebook import rulebook
from minbuild.report import history as past
from minbuild.resolve.check import check
from minbuild.subject.disk import read_boot
from minbuild.subject.source import open_tar

MOST = 64 << 20
"""Bytes that an initramfs may unpack to here, so that bombs end soon."""
RULES = rulebook()
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_DIRECTORY = Path(tempfile.mkdtemp(prefix="minbuild-fuzz-", dir=_MEMORY))
atexit.register(shutil.rmtree, _DIRECTORY, ignore_errors=True)


def deb(data: bytes) -> None:
    with _file(data, ".deb") as path:
        compute(path, "fuzz", 1)


def elf(data: bytes) -> None:
    sniff("/usr/lib/x.so", data)
    symbols("/usr/lib/x.so", data)


def module(data: bytes) -> None:
    ending = {b"\xfd7zXZ\0": ".xz", b"(\xb5/\xfd": ".zst"}
    kind = next((name for start, name in ending.items() if data.startswith(start)), "")
    sniff(f"/usr/lib/modules/6.1/kernel/a.ko{kind}", data)
    symbols(f"/usr/lib/modules/6.1/kernel/a.ko{kind}", data)
    symbols("/boot/vmlinuz-6.1", data)
    sniff("/usr/lib/modules/6.1/modules.builtin.modinfo", data)
    sniff("/boot/config-6.1", data)


def config(data: bytes) -> None:
    for path in ("/etc/nsswitch.conf", "/etc/pam.d/app"):
        facts = sniff(path, data)
        if isinstance(facts, Text):
            files = Files("", {path: Entry(path, Kind.FILE, 0o644)}, {path: facts}.get, {}.get)
            check(files, arch="amd64", rulebook=RULES)


def declared(data: bytes) -> None:
    facts = sniff("/usr/lib/sysusers.d/app.conf", data)
    if isinstance(facts, Text):
        (places if data.startswith(b"d") else accounts)(facts.lines)


def rules(data: bytes) -> None:
    with _file(data, ".yaml") as path:
        rulebook([path])


def cpio(data: bytes) -> None:
    members(data, most=MOST)


def image(data: bytes) -> None:
    """A UKI, then its initramfs."""
    members(read_uki(data, "fuzz.efi").initrd, most=MOST)


def disk(data: bytes) -> None:
    """A disk, the UKI that it starts, and the initramfs in that."""
    members(read_uki(read_boot(data, "fuzz.raw").uki, "fuzz.raw").initrd, most=MOST)


def filesystem(data: bytes) -> None:
    """A disk that is a file system, every file of it."""
    table = read_table(data, "fuzz.raw")
    candidates(data, table)
    read = Erofs if data[1024:1028] == b"\xe2\xe1\xf5\xe0" else Ext4
    root = Volume("fuzz.raw", read(data, 0, len(data), "fuzz.raw"))
    for one in list(root.walk()):
        if one.kind is Kind.FILE and one.size <= MOST:
            root.read(one.raw)


def archive(data: bytes) -> None:
    """A tar of a root or of a container image, every file of it."""
    with _file(data, ".tar") as path, tempfile.TemporaryDirectory(dir=_DIRECTORY) as work:
        root = open_tar(path, Path(work), ANY)
        for one in list(root.walk()):
            if one.kind is Kind.FILE and one.size <= MOST:
                root.read(one.raw)


def sums(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_DIRECTORY) as place:
        (Path(place) / "SHA256SUMS").write_bytes(data)
        wrong(Path(place), read_sums(Path(place)))


def lock(data: bytes) -> None:
    lockfile.parse(data.decode("utf-8", "surrogateescape"), Path("fuzz.lock"))


def manifest(data: bytes) -> None:
    with _file(data, ".yaml") as path:
        load(path, settings={}, components=())


def footprint(data: bytes) -> None:
    document.read(data.decode("utf-8", "surrogateescape"), "fuzz.json")


def history(data: bytes) -> None:
    """A history, and both forms in which it is shown."""
    points = past.read(data.decode("utf-8", "surrogateescape"), "fuzz.jsonl")
    past.as_text(points)
    past.as_html(points)


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
