"""Image formats, each read back by its usual tool."""

import functools
import stat
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.formats.cpio import read_members
from minbuild.formats.root_entry import FileType
from minbuild.formats.uki import read_uki_sections
from minbuild.image import qemu_formats
from minbuild.image.boot_media import DerivedIds
from minbuild.lab.drives import detect_drive_format
from minbuild.manifest.image_settings import ImageFormat
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox
from tests.support.measured_inputs import measure_input
from tests.unit.image.test_write import order, written
from tests.unit.image.trees import KERNEL
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror]

VIRTUAL = ("qcow2", "vhdx", "vmdk", "stream.vmdk", "vdi")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("formats")
    store = Store(place / "store")
    written(place / "out", store, order(store, formats=tuple(ImageFormat)))
    return place / "out"


def run(name: str, *args: str | Path, box: Toolbox | None = None) -> str:
    return (box or toolbox()).run(name, args, purpose="reading back").decode()


@pytest.mark.oracle
@pytest.mark.parametrize("kind", VIRTUAL)
def test_a_hypervisor_s_disk_is_the_raw_disk(kind: str, out: Path) -> None:
    driver = kind.rpartition(".")[2]
    words = ("compare", "-f", "raw", "-F", driver, out / "host.raw", out / f"host.{kind}")
    assert run("qemu-img", *words) == "Images are identical.\n"
    info = run("qemu-img", "info", out / f"host.{kind}")
    assert f"file format: {driver}" in info
    assert ("create type: streamOptimized" in info) == (kind == "stream.vmdk")
    if driver != "vmdk":  # qemu-img has no check for it
        assert "No errors were found" in run("qemu-img", "check", out / f"host.{kind}")


@pytest.mark.oracle
def test_an_iso_has_a_sound_table_and_the_uki_where_uefi_looks(out: Path, tmp_path: Path) -> None:
    iso = out / "host.iso"
    # the gaps between partitions begin at no multiple of 2048 sectors, as sgdisk would like it
    assert "No problems found" in run("sgdisk", "-v", iso)
    table = run("sfdisk", "--dump", iso)
    row = next(line for line in table.splitlines() if "C12A7328" in line)
    start, sectors = (int(part.split("=")[1]) for part in row.split(":")[1].split(",")[:2])
    esp = tmp_path / "esp"
    esp.write_bytes(iso.read_bytes()[start * 512 : (start + sectors) * 512])
    run("mcopy", "-i", esp, "::EFI/BOOT/BOOTX64.EFI", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (out / "host.efi").read_bytes()
    assert "No errors" not in run("fsck.fat", "-n", esp)
    report = run("xorriso", "-no_rc", "-indev", iso, "-report_el_torito", "plain")
    boot = next(line for line in report.splitlines() if "boot img :   1" in line)
    assert "UEFI" in boot
    assert boot.split()[-1] == str(start // 4)


@pytest.mark.oracle
def test_a_tar_is_the_whole_host(out: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    tree = order(store).tree
    with tarfile.open(out / "host.tar") as archive:
        found = {f"/{member.name}": member for member in archive}
        assert {member.mtime for member in found.values()} == {0}
        for node in tree.nodes:
            member = found.pop(str(node.path))
            assert member.mode == node.mode
            assert member.isdir() == (node.kind is FileType.DIRECTORY)
            if node.kind is FileType.FILE:
                file = archive.extractfile(member)
                assert file is not None
                assert file.read() == store.read(node.sha256)
    assert found == {}


@pytest.mark.oracle
def test_a_cpio_is_the_initramfs(out: Path) -> None:
    data = (out / "host.cpio").read_bytes()
    box = toolbox()
    listed = subprocess.run(
        [*box.build_argv("cpio"), "-t"],
        input=data,
        env=box.build_environment(),
        check=True,
        capture_output=True,
    )
    members = {member.path: member for member in read_members(data)}
    names = {f"/{name}" for name in listed.stdout.decode().split()}
    assert names == set(members)
    assert KERNEL not in members
    assert stat.S_IMODE(members[RootPath("/init")].mode) == 0o755


@pytest.mark.oracle
def test_a_pxe_folder_holds_what_its_settings_name(out: Path) -> None:
    folder = out / "host.pxe"
    found = read_uki_sections((out / "host.efi").read_bytes(), "host.efi")
    assert (folder / "vmlinuz").read_bytes() == found[".linux"]
    assert (folder / "initrd").read_bytes() == found[".initrd"]
    assert (folder / "host.efi").read_bytes() == (out / "host.efi").read_bytes()
    script = (folder / "boot.ipxe").read_text()
    assert script.startswith("#!ipxe\n")
    assert "chain host.efi console=ttyS0 quiet ||\n" in script
    assert "kernel vmlinuz console=ttyS0 quiet initrd=initrd\n" in script
    box = toolbox(lab=True)
    said = subprocess.run(
        [*box.build_argv("dnsmasq"), "--test", f"--conf-file={folder / 'dnsmasq.conf'}"],
        env=box.build_environment(),
        capture_output=True,
        check=True,
    )
    assert b"syntax check OK" in said.stderr
    sums = (out / "SHA256SUMS").read_text()
    assert "  host.pxe/vmlinuz\n" in sums


def test_the_lab_knows_each_format_by_its_content(out: Path) -> None:
    for kind in ("efi", "raw", "iso", *VIRTUAL):
        assert detect_drive_format(out / f"host.{kind}") == kind.rpartition(".")[2]


@pytest.mark.parametrize("kind", VIRTUAL)
def test_a_report_reads_each_disk_that_we_write(kind: str, out: Path) -> None:
    raw, found = (measure_input(str(out / f"host.{one}")) for one in ("raw", kind))
    assert [(row.path, row.sha256) for row in found.files] == [
        (row.path, row.sha256) for row in raw.files
    ]
    assert found.totals.packed == (out / f"host.{kind}").stat().st_size


@functools.cache
def head(kind: str, out: Path) -> bytes:
    with (out / f"host.{kind}").open("rb") as file:
        return file.read(qemu_formats.HEAD_SIZE)


@pytest.mark.parametrize("kind", ["vdi", "vmdk", "vhdx"])
def test_other_locks_have_other_identifiers(kind: str, out: Path) -> None:
    patch = getattr(qemu_formats, f"patch_{kind}")
    made = []
    for seed in ("one", "two"):
        data = bytearray(head(kind, out))
        patch(data, DerivedIds(seed))
        made.append(bytes(data))
    assert made[0] != made[1]
    assert len(made[0]) == len(head(kind, out))


@pytest.mark.parametrize("kind", ["vmdk", "vhdx"])
def test_a_header_that_is_not_as_expected_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(1 << 20))
    with pytest.raises(ToolError, match="unexpected header"):
        qemu_formats.replace_random_ids(
            path, getattr(qemu_formats, f"patch_{kind}"), DerivedIds("x")
        )


@pytest.mark.parametrize("cid", [b"1", b"0badcafe"])
def test_a_short_content_id_is_replaced_too(cid: bytes) -> None:
    head = bytearray(4096)
    struct.pack_into("<4s24xQQ", head, 0, b"KDMV", 1, 2)
    text = b"version=1\nCID=" + cid + b"\nparentCID=ffffffff\n"
    head[512 : 512 + len(text)] = text
    qemu_formats.patch_vmdk(head, DerivedIds("x"))
    wanted = (
        f"version=1\nCID={DerivedIds('x').make_volume_id('vmdk')}\nparentCID=ffffffff\n".encode()
    )
    assert head[512:1536].rstrip(b"\0") == wanted
    assert len(head) == 4096


def test_the_checksum_is_castagnoli_s() -> None:
    assert qemu_formats.compute_crc32c(b"123456789") == 0xE3069283
