"""A host installed onto a disk: what is on it then, and after a cut at each of its writes."""

import shlex
import stat
import struct
import subprocess
import uuid
from pathlib import Path

import pytest

from minbuild.manifest.loader import read_manifest
from tests.unit.components.conftest import run
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.usefixtures("shell"), pytest.mark.mirror]

MANIFEST = """\
minbuild: 1
name: one
extends: [host]
boot: {use: [install]}
budget: {files: 90, packed: 30 MB}
"""
SECTOR = 512
ESP_START, ESP_SIZE = 2048, 2048 * 4 + 30
DATA_START = 2048 * 6
DISK_SIZE = 90 << 20
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_TYPE = "21686148-6449-6e6f-744e-656564454649"
LINUX_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
NOTE = b"minbuild: an installation that is not finished"
WRITERS = ("dd", "mke2fs")
"""The programs that write to the disk."""


class Machine:
    """Its disks as files: `sda` is the medium, `sdb` an empty disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / "one.yaml"
        path.write_text(MANIFEST)
        for component in read_manifest(path, settings={}, components=()).components:
            for file in component.files:
                if file.path in {"/usr/lib/minbuild/init", "/usr/bin/install"}:
                    self.write(file.path, self._move(file.content.decode()))
            if (directory / "bin/busybox").exists():
                for applet in component.applets:
                    link = directory / "bin" / applet.text
                    if not link.is_symlink():
                        link.symlink_to("busybox")
        (directory / "run").mkdir()
        self.write("proc/mounts", "")
        for name in ("cgpt", "mke2fs"):
            self.put_first(name, f'exec {shlex.join(toolbox().build_argv(name))} "$@"')
        self.add_disk("sda", 16 << 20)
        self.add_disk("sdb", DISK_SIZE)
        self._fill_medium()

    def _move(self, text: str) -> str:
        text = text.replace("export PATH=/usr/bin:/usr/sbin:/bin:/sbin", "")
        text = text.replace(">/dev/kmsg", f">>{self.directory}/kmsg").replace(
            "/dev/null", "/DEV/null"
        )
        text = text.replace("/dev/zero", "/DEV/zero")
        for place in ("/usr/sbin/", "/dev/", "/sys/", "/proc/", "/run/", "/usr/lib/minbuild/"):
            text = text.replace(place, f"{self.directory}{place}")
        return text.replace("/DEV/", "/dev/")

    def write(self, path: str, content: str | bytes) -> None:
        place = self.directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    def put_first(self, name: str, script: str) -> None:
        """A program that is found before any other of its name."""
        program = self.directory / ("usr/sbin" if name == "mke2fs" else "bin") / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def add_disk(self, name: str, size: int) -> None:
        self.write(f"sys/block/{name}/device/type", "0")
        self.write(f"sys/block/{name}/queue/logical_block_size", "512\n")
        self.write(f"sys/block/{name}/size", f"{size // SECTOR}\n")
        self.write(f"dev/{name}", b"")
        with self.disk(name).open("r+b") as file:
            file.truncate(size)

    def _fill_medium(self) -> None:
        table = "label: gpt\nfirst-lba: 34\n"
        table += f"start=34, size=200, type={BIOS_TYPE}\nstart={ESP_START}, size={ESP_SIZE}, type={ESP_TYPE}\n"
        args: list[str | Path] = [
            "--quiet",
            "--no-reread",
            "--no-tell-kernel",
            "--wipe=never",
            self.disk("sda"),
        ]
        toolbox().run("sfdisk", args, purpose="making a medium", stdin=table.encode())
        with self.disk("sda").open("r+b") as file:
            file.write(b"\xeb\x63code" + bytes(range(200)))
            for start, size in ((34, 200), (ESP_START, ESP_SIZE)):
                file.seek(start * SECTOR)
                file.write(bytes(range(256)) * (size * 2))

    def disk(self, name: str) -> Path:
        return self.directory / "dev" / name

    def read(self, name: str, start: int, size: int) -> bytes:
        with self.disk(name).open("rb") as file:
            file.seek(start * SECTOR)
            return file.read(size * SECTOR)

    def install(self, *words: str) -> str:
        """What the command prints; it may fail."""
        line = shlex.join([f"{self.directory}/bin/sh", f"{self.directory}/usr/bin/install", *words])
        return run(self.directory, f"{line} 2>&1 || :").replace(str(self.directory), "")

    def list_partitions(self, name: str) -> list[tuple[str, int, int, str]]:
        """Type, first sector, count and label of each partition; the table is sound."""
        done = toolbox().run("sgdisk", ["-v", self.disk(name)], purpose="checking a table")
        assert b"No problems found" in done, done
        rows = []
        for number in range(4):
            entry = self.read(name, 2, 4)[number * 128 : number * 128 + 128]
            kind = str(uuid.UUID(bytes_le=entry[:16]))
            first, last = struct.unpack_from("<QQ", entry, 32)
            if kind != str(uuid.UUID(int=0)):
                label = entry[56:128].decode("utf-16-le").rstrip("\0")
                rows.append((kind, first, last - first + 1, label))
        return rows

    def assert_installed(self) -> None:
        bios, esp, data = self.list_partitions("sdb")
        assert bios[:3] == (BIOS_TYPE, 34, 200)
        assert esp[:3] == (ESP_TYPE, ESP_START, ESP_SIZE)
        assert data[0] == LINUX_TYPE
        assert data[1] == DATA_START
        assert data[3] == "minbuild-data"
        for start, size in ((34, 200), (ESP_START, ESP_SIZE)):
            assert self.read("sdb", start, size) == self.read("sda", start, size)
        first = self.read("sdb", 0, 1)
        assert first[:206] == self.read("sda", 0, 1)[:206]
        assert first[510:] == b"\x55\xaa"
        superblock = self.read("sdb", DATA_START + 2, 2)
        assert superblock[56:58] == b"\x53\xef"
        assert superblock[120:136].rstrip(b"\0") == b"minbuild-data"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_empty_disk_has_the_medium_s_bytes_and_a_data_partition(machine: Machine) -> None:
    said = machine.install(f"{machine.directory}/dev/sdb")
    assert "install: from /dev/sda to /dev/sdb" in said
    assert "/dev/sdb is installed: remove the medium and restart" in said
    machine.assert_installed()
    ours, theirs = (machine.read(name, 2, 4)[16:32] for name in ("sda", "sdb"))
    assert ours != theirs


@pytest.mark.parametrize("place", [0, 3, 128, DISK_SIZE // SECTOR - 1, DISK_SIZE // SECTOR - 2000])
def test_a_disk_that_holds_something_is_left_as_it_is_unless_told(
    machine: Machine, place: int
) -> None:
    disk = f"{machine.directory}/dev/sdb"
    with machine.disk("sdb").open("r+b") as file:
        file.seek(place * SECTOR)
        file.write(b"letters from home")
    before = machine.disk("sdb").read_bytes()
    assert "FAILED: /dev/sdb holds something" in machine.install(disk)
    assert machine.disk("sdb").read_bytes() == before
    assert "is installed" in machine.install("--over", disk)
    machine.assert_installed()


def test_a_cut_at_any_write_leaves_a_disk_that_starts_nowhere_or_whole(machine: Machine) -> None:
    """The N-th program that writes to the disk is killed, with all that runs, after a sector; one is whole or not."""
    if (machine.directory / "bin/busybox").exists():
        pytest.skip("this BusyBox runs its own dd, whatever comes first in PATH")
    disk = f"{machine.directory}/dev/sdb"
    real = {"mke2fs": shlex.join(toolbox().build_argv("mke2fs")), "dd": "/usr/bin/dd"}
    count, limit = machine.directory / "count", machine.directory / "limit"
    for name in WRITERS:
        machine.put_first(
            name,
            f"""
case " $* " in *" of={disk} "* | *" offset="*) ;; *" -E offset"*) ;; *) exec {real[name]} "$@" ;; esac
n=$(($(cat {count}) + 1))
echo $n >{count}
[ $n -lt $(cat {limit}) ] || {{
    seek=$(echo "$*" | tr " " "\\n" | grep ^seek=)
    [ -z "$seek" ] || [ "$seek" = seek=0 ] || head -c 512 | /usr/bin/dd of={disk} bs=512 "$seek" conv=notrunc 2>/dev/null
    kill -9 0
}}
exec {real[name]} "$@" """,
        )
    for cut in range(1, 60):
        machine.disk("sdb").write_bytes(b"")
        machine.add_disk("sdb", DISK_SIZE)
        count.write_text("0")
        limit.write_text(str(cut))
        words = [f"{machine.directory}/bin/sh", f"{machine.directory}/usr/bin/install", disk]
        path = f"{machine.directory}/bin:/usr/bin:/bin"
        ended = subprocess.run(
            words, env={"PATH": path}, capture_output=True, start_new_session=True
        )
        if ended.returncode == 0:
            break
        assert machine.read("sdb", 0, 1)[510:] != b"\x55\xaa"
        limit.write_text("1000")
        assert "is installed" in machine.install(disk), cut
        machine.assert_installed()
    assert cut > 10


def test_the_disk_in_use_and_a_name_that_is_none_are_refused(machine: Machine) -> None:
    disk = f"{machine.directory}/dev/sdb"
    machine.write("proc/mounts", f"{disk}1 /data ext4 rw 0 0\n")
    assert "FAILED: /dev/sdb1 is in use" in machine.install(disk)
    assert "is no disk (disks: sda sdb )" in machine.install(f"{machine.directory}/dev/sdc")
    assert "usage: install" in machine.install("sdb")


def test_with_several_media_one_is_named(machine: Machine) -> None:
    disk = f"{machine.directory}/dev/sdb"
    machine.add_disk("sdc", 16 << 20)
    machine.disk("sdc").write_bytes(machine.disk("sda").read_bytes())
    assert "several could be the medium: sda sdc" in machine.install(disk)
    assert "is installed" in machine.install(disk, f"{machine.directory}/dev/sda")


def test_a_disk_too_small_is_left_as_it_is(machine: Machine) -> None:
    machine.add_disk("sdd", 40 << 20)
    assert "is too small: 40 MiB" in machine.install(f"{machine.directory}/dev/sdd")
    assert not any(machine.disk("sdd").read_bytes())


def test_the_firmware_has_an_entry_for_the_disk_first(machine: Machine) -> None:
    efi = machine.directory / "sys/firmware/efi/efivars"
    machine.write(f"sys/firmware/efi/efivars/BootCurrent-{GLOBAL}", b"\6\0\0\0\1\0")
    machine.write(
        f"sys/firmware/efi/efivars/BootOrder-{GLOBAL}", b"\7\0\0\0" + struct.pack("<3H", 1, 0, 9)
    )
    for number in (0, 1):
        machine.write(f"sys/firmware/efi/efivars/Boot{number:04X}-{GLOBAL}", b"\7\0\0\0\1\0\0\0\4\0O\0S\0\0\0\x7f\xff\4\0")  # fmt: skip
    said = machine.install(f"{machine.directory}/dev/sdb")
    assert "boot entry 0002 is the first" in said
    assert (efi / f"BootOrder-{GLOBAL}").read_bytes() == b"\7\0\0\0" + struct.pack(
        "<4H", 2, 1, 0, 9
    )
    entry = (efi / f"Boot0002-{GLOBAL}").read_bytes()
    attributes, active, length = struct.unpack_from("<IIH", entry)
    assert (attributes, active) == (7, 1)
    text, path = entry[10:28], entry[28:]
    assert text.decode("utf-16-le") == "minbuild\0"
    assert len(path) == length
    partition = machine.read("sdb", 2, 4)[128 + 16 : 128 + 32]
    assert (
        path[:42]
        == b"\4\1\x2a\0" + struct.pack("<IQQ", 2, ESP_START, ESP_SIZE) + partition + b"\2\2"
    )
    assert (
        path[42:]
        == b"\4\4\x30\0" + "\\EFI\\BOOT\\BOOTX64.EFI\0".encode("utf-16-le") + b"\x7f\xff\4\0"
    )
    again = machine.install("--over", f"{machine.directory}/dev/sdb")
    assert "boot entry 0002 is the first" in again
    assert (efi / f"BootOrder-{GLOBAL}").read_bytes() == b"\7\0\0\0" + struct.pack(
        "<4H", 2, 1, 0, 9
    )


def test_a_host_that_was_started_from_the_disk_has_nothing_to_do(machine: Machine) -> None:
    disk = f"{machine.directory}/dev/sdb"
    machine.install(disk)
    own = str(uuid.UUID(bytes_le=machine.read("sdb", 2, 4)[128 + 16 : 128 + 32])).upper()
    machine.write(f"sys/firmware/efi/efivars/BootCurrent-{GLOBAL}", b"\6\0\0\0\1\0")
    machine.write(f"sys/firmware/efi/efivars/LoaderDevicePartUUID-{LOADER}", b"\6\0\0\0" + f"{own}\0".encode("utf-16-le"))  # fmt: skip
    before = machine.disk("sdb").read_bytes()
    assert "this host was started from /dev/sdb: nothing to do" in machine.install("--over", disk)
    assert machine.disk("sdb").read_bytes() == before


def test_unattended_a_disk_with_a_host_is_kept_whatever_is_told(machine: Machine) -> None:
    disk = f"{machine.directory}/dev/sdb"
    machine.install(disk)
    before = machine.disk("sdb").read_bytes()
    script = (machine.directory / "usr/bin/install").read_text()
    machine.write("usr/bin/asked", script.replace("unattended=''", "unattended=yes"))
    said = run(machine.directory, f"bin/sh {machine.directory}/usr/bin/asked --over {disk} || :")
    assert "has a host already: start from it, or install by hand" in said
    assert machine.disk("sdb").read_bytes() == before
