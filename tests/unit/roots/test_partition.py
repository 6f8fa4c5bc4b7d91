"""Which partition of a disk is examined: the one that boots, never the largest."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import MinbuildError, UsageError
from minbuild.pipeline.installed_root import check_root, make_external_readers
from minbuild.pipeline.session import Session
from minbuild.progress import SilentProgress
from minbuild.roots.footprint import load_footprint
from tests.support.disks import ESP, LINUX, ROOT, Part, dos, ext4, gpt
from tests.support.measured_inputs import STORE
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.mirror
NO_AUTO = 1 << 63
UUIDS = ("11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa")


class Told(SilentProgress):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def system(tmp_path: Path) -> "System":
    return System(tmp_path)


class System:
    """Small file systems, and what is read of a disk of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0
        self.notes: list[str] = []

    def ext4(
        self, *files: str, uuid: str = "", label: str = "", size: str = "1M", **texts: str
    ) -> bytes:
        """A file system with these files; `texts`: by a path with _ for /."""
        self._count += 1
        top = self.directory / f"tree{self._count}"
        contents = {name: name for name in files} | {
            name.replace("__", "/"): text for name, text in texts.items()
        }
        for name, text in contents.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(text)
        more = [*(("-U", uuid) if uuid else ()), *(("-L", label) if label else ())]
        return ext4(top, top.with_suffix(".ext4"), size, "-O", "^has_journal", *more).read_bytes()

    def fat(self, name: str, text: str) -> bytes:
        """An ESP with one file."""
        place, file = self.directory / "esp", self.directory / "file"
        place.write_bytes(bytes(1 << 20))
        file.write_text(text)
        toolbox().run("mkfs.fat", [place], purpose="making an ESP")
        parts = name.split("/")[:-1]
        made = [f"::{'/'.join(parts[: n + 1])}" for n in range(len(parts))]
        toolbox().run("mmd", ["-i", place, *made], purpose="making an ESP")
        toolbox().run("mcopy", ["-i", place, file, f"::{name}"], purpose="making an ESP")
        return place.read_bytes()

    def read(self, disk: bytes, partition: int | None = None) -> set[str]:
        """The files that a report of a disk counts."""
        place = self.directory / "disk.raw"
        place.write_bytes(disk)
        told = Told()
        doors = replace(Session(STORE, told), partition=partition)
        try:
            found = load_footprint(str(place), lambda: make_external_readers(doors))
        finally:
            self.notes = told.notes
        return {row.path for row in found.files if row.type == "file"}


def test_the_type_of_a_root_comes_before_size_and_content(system: System) -> None:
    root, data = system.ext4("etc/own"), system.ext4("usr/sbin/init", size="4M")
    assert system.read(gpt([Part(data), Part(root, ROOT)])) == {"/etc/own"}
    assert any("partition 2: ext4" in note and "not read: 1: ext4" in note for note in system.notes)


def test_the_one_that_holds_an_init_is_the_root(system: System) -> None:
    root, data = system.ext4("usr/lib/systemd/systemd"), system.ext4("guests/disk", size="4M")
    for disk in (gpt([Part(data), Part(root)]), dos([Part(data), Part(root)])):
        assert system.read(disk) == {"/usr/lib/systemd/systemd"}


@pytest.mark.parametrize("word", ["PARTUUID", "UUID", "LABEL", "PARTLABEL", "device", "by-uuid"])
def test_the_root_that_a_boot_loader_names_is_read(system: System, word: str) -> None:
    roots = [
        system.ext4("usr/sbin/init", f"etc/{n}", uuid=UUIDS[n], label=f"root{n}") for n in (0, 1)
    ]
    esp = bytes(1 << 20)
    parts = [Part(esp, ESP), Part(roots[0], name="first"), Part(roots[1], name="second")]
    unique = "PARTUUID="
    if word == "PARTUUID":
        at = gpt(parts).find("second".encode("utf-16-le")) - 40
        raw = gpt(parts)[at : at + 16]
        first, second, third = struct.unpack_from("<IHH", raw)
        unique += f"{first:08X}-{second:04x}-{third:04x}-{raw[8:10].hex()}-{raw[10:].hex()}"
    value = {"PARTUUID": unique, "UUID": f"UUID={UUIDS[1]}", "LABEL": "LABEL=root1",
             "PARTLABEL": "PARTLABEL=second", "device": "/dev/nvme0n1p3",
             "by-uuid": f"/dev/disk/by-uuid/{UUIDS[1]}"}[word]  # fmt: skip
    entry = f"title x\nlinux /vmlinuz\noptions quiet root={value} ro\n"
    parts[0] = Part(system.fat("loader/entries/debian-6.1.conf", entry), ESP)
    assert system.read(gpt(parts)) == {"/etc/1", "/usr/sbin/init"}


def test_grub_on_a_boot_partition_names_the_root(system: System) -> None:
    config = f"menuentry x {{\n linux /vmlinuz root=UUID={UUIDS[1]} ro\n}}\n"
    boot = system.ext4(**{"grub__grub.cfg": config})
    roots = [system.ext4("usr/sbin/init", f"etc/{n}", uuid=UUIDS[n]) for n in (0, 1)]
    disk = dos([Part(boot), *map(Part, roots)])
    assert system.read(disk) == {"/etc/1", "/usr/sbin/init"}


def test_several_roots_are_an_error_that_lists_them_and_one_is_chosen(system: System) -> None:
    roots = [system.ext4("usr/sbin/init", f"etc/{n}") for n in (0, 1)]
    for disk in (
        gpt([Part(one, ROOT, "root") for one in roots]),
        gpt([Part(one, LINUX, "root") for one in roots]),
        dos([Part(one) for one in roots]),
    ):
        with pytest.raises(UsageError, match="several partitions") as caught:
            system.read(disk)
        assert "1: ext4" in caught.value.what
        assert "2: ext4" in caught.value.what
        assert "--partition 1" in caught.value.fix
        assert system.read(disk, partition=2) == {"/etc/1", "/usr/sbin/init"}
        with pytest.raises(UsageError, match="partition 7") as caught:
            system.read(disk, partition=7)
        assert "2: ext4" in caught.value.fix


def test_a_root_that_nobody_mounts_by_itself_is_no_candidate(system: System) -> None:
    roots = [system.ext4("usr/sbin/init", f"etc/{n}") for n in (0, 1)]
    disk = gpt([Part(roots[0], ROOT, attributes=NO_AUTO), Part(roots[1], ROOT)])
    assert system.read(disk) == {"/etc/1", "/usr/sbin/init"}


def test_data_alone_is_no_root_among_several(system: System) -> None:
    disk = gpt([Part(system.ext4("a")), Part(system.ext4("b"))])
    with pytest.raises(UsageError, match="several partitions"):
        system.read(disk)
    assert system.read(disk, partition=1) == {"/a"}


@pytest.mark.parametrize("sector", [512, 1024, 2048, 4096])
def test_a_damaged_first_table_and_any_sector(system: System, sector: int) -> None:
    disk = bytearray(gpt([Part(system.ext4("usr/sbin/init"))], sector))
    assert system.read(bytes(disk)) == {"/usr/sbin/init"}
    assert not system.notes
    disk[sector + 40] ^= 1
    assert system.read(bytes(disk)) == {"/usr/sbin/init"}
    assert "first copy of its GPT is damaged" in system.notes[0]
    disk[len(disk) - sector + 40] ^= 1
    with pytest.raises(UsageError, match="both copies"):
        system.read(bytes(disk))


def test_nothing_examined_is_no_proof(system: System) -> None:
    place = system.directory / "empty.raw"
    (system.directory / "top").mkdir()
    ext4(system.directory / "top", place, "1M")
    with pytest.raises(UsageError, match="holds no file"):
        check_root(place, Session(STORE))


def test_a_disk_of_what_nobody_reads_says_what_it_holds(system: System) -> None:
    luks = b"LUKS\xba\xbe" + bytes(1 << 20)
    with pytest.raises(MinbuildError, match="no file system that holds a root") as caught:
        system.read(gpt([Part(luks, name="secret")]))
    assert "1: LUKS, 'secret'" in caught.value.fix
