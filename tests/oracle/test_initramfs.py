"""The tree that the kernel makes of an initramfs, held against the one that is counted."""

import base64
import contextlib
import gzip
import random
import re
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.formats import cpio
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.uki import read_uki
from minbuild.image.ukify import UEFI_NAMES
from minbuild.lab.accel import ACCEL_ARGS, build_data_directory_args
from minbuild.lab.drives import OVMF_CODE, OVMF_VARS
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.pipeline.installed_root import make_external_readers
from minbuild.pipeline.session import Session
from minbuild.toolbox.toolbox import Toolbox
from tests.oracle import cpios
from tests.support.cache import cache_directory
from tests.support.real_archive import make_toolbox, open_real_archive
from tests.support.uki import extend_stub
from tests.unit.lab.conftest import busybox_of, kernel_of

SEED, RANDOM = 15, 90
SECONDS = 240
LINE = "console=ttyS0 loglevel=1 panic=-1"
INIT = b"""#!/busybox sh
/busybox mount -t devtmpfs dev /dev
/busybox mkdir -p /proc
/busybox mount -t proc proc /proc
exec >/dev/ttyS0 2>&1
/busybox stty -F /dev/ttyS0 raw 2>/dev/null
echo "(line)$(/busybox cat /proc/cmdline)(line)"
echo '(begin)'
/busybox find / -xdev ! -name initrd.image ! -name busybox -print0 | /busybox cpio -o -0 -H newc 2>/err | /busybox gzip | /busybox base64
echo '(end)'
/busybox poweroff -f
"""
OWN = (b"busybox", b"init", b"err", b"dev", b"root", b"proc", b".extra")

pytestmark = [pytest.mark.oracle, pytest.mark.xdist_group("initramfs")]
Row = tuple[int, int, int, bytes, tuple[int, int], str]


@pytest.fixture(scope="module")
def tools(archive_store: Store) -> Toolbox:
    names = ("qemu-system-x86_64", "lz4", "lzop", "ukify")
    named = [tool for tool in load_tools() if tool.name in names]
    return make_toolbox(named, open_real_archive(archive_store))


@pytest.fixture(scope="module")
def archive_store() -> Store:
    return Store(cache_directory("lab"))


@dataclass(frozen=True)
class Machine:
    """A kernel, the archive that shows what it made, and QEMU."""

    tools: Toolbox
    work: Path
    kernel: bytes
    own: bytes

    def direct(self, initramfs: bytes) -> str:
        """Start the kernel with an initramfs, and give what its console says."""
        (self.work / "vmlinuz").write_bytes(self.kernel)
        (self.work / "initrd").write_bytes(self.own + initramfs)
        argv = ["-kernel", str(self.work / "vmlinuz"), "-initrd", str(self.work / "initrd")]
        return self._run([*argv, "-append", LINE])

    def uefi(self, image: bytes) -> str:
        """The same of a UKI that UEFI starts."""
        boot = self.work / "esp/EFI/BOOT"
        boot.mkdir(parents=True, exist_ok=True)
        (boot / "BOOTX64.EFI").write_bytes(image)
        (self.work / "vars.fd").write_bytes(self.tools.find_path(OVMF_VARS).read_bytes())
        argv = [
            "-drive",
            f"if=pflash,format=raw,readonly=on,file={self.tools.find_path(OVMF_CODE)}",
        ]
        argv += ["-drive", f"if=pflash,format=raw,file={self.work / 'vars.fd'}"]
        stick = f"if=virtio,format=raw,file=fat:{self.work / 'esp'},readonly=on"
        return self._run([*argv, "-drive", stick])

    def _run(self, more: Sequence[str]) -> str:
        argv = [
            *self.tools.build_argv("qemu-system-x86_64"),
            "-M",
            "q35",
            *ACCEL_ARGS["tcg"],
            "-m",
            "1024",
        ]
        argv += [
            *build_data_directory_args(self.tools),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ]
        argv += ["-no-reboot", "-serial", "stdio", *more]
        result = subprocess.run(
            argv, capture_output=True, timeout=SECONDS, env=self.tools.build_environment()
        )
        return (result.stdout + result.stderr).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def machine(
    archive_store: Store, tools: Toolbox, tmp_path_factory: pytest.TempPathFactory
) -> Machine:
    package_source = open_real_archive(archive_store)
    kernel, _ = kernel_of(package_source, archive_store, ())
    busybox = busybox_of(package_source, archive_store)
    own = [cpios.file(b"busybox", busybox, 0o755), cpios.file(b"init", INIT, 0o755)]
    return Machine(tools, tmp_path_factory.mktemp("boot"), kernel, cpios.archive(own))


@pytest.fixture(scope="module")
def boot(machine: Machine) -> Callable[[bytes], str]:
    """Start the kernel with an initramfs, and give what its console says."""
    return machine.direct


def parse_console_tree(console: str) -> dict[bytes, Row]:
    """What the booted kernel's own tree holds."""
    match = re.search(r"\(begin\)(.*?)\(end\)", console, re.DOTALL)
    assert match, console[-3000:]
    data = gzip.decompress(base64.b64decode("".join(match[1].split())))
    rows: dict[bytes, Row] = {}
    bodies: dict[int, bytes] = {}
    numbers: dict[bytes, int] = {}
    at = 0
    while True:
        head = cpio.read_header(data, at, "console")
        name = data[at + cpio.HEADER_SIZE :][: head.name_size - 1]
        if name == cpio.TRAILER.encode():
            break
        body = data[at + cpio.HEADER_SIZE + head.body_offset :][: head.size]
        at += cpio.HEADER_SIZE + head.end_offset
        raw = name.lstrip(b"/")
        if raw and raw.partition(b"/")[0] not in OWN:
            bodies[head.inode] = body or bodies.get(head.inode, b"")
            numbers[raw] = head.inode
            device = head.device if stat.S_ISCHR(head.mode) or stat.S_ISBLK(head.mode) else (0, 0)
            rows[raw] = (head.mode, head.uid, head.gid, b"", device, "")
    return with_names(rows, numbers, bodies)


def with_names(rows: dict[bytes, Row], numbers: dict[bytes, int], bodies: dict[int, bytes]) -> dict[bytes, Row]:  # fmt: skip
    """Add what lies behind each inode: the bytes, and the first of its names."""
    first: dict[int, bytes] = {}
    for raw in sorted(rows):
        if not stat.S_ISDIR(rows[raw][0]):
            first.setdefault(numbers[raw], raw)
    return {
        raw: (*row[:3], bodies.get(numbers[raw], b""), row[4], repr(first.get(numbers[raw])))
        for raw, row in rows.items()
    }


def read_members(data: bytes, session: Session) -> dict[bytes, Row]:
    members = unpack_members(data, unpack_tool=make_external_readers(session).unpack)
    rows: dict[bytes, Row] = {}
    numbers, bodies = {}, {}
    for text, one in members.items():
        raw = text.encode("utf-8", "surrogateescape")
        rows[raw] = (one.mode, one.uid, one.gid, b"", one.device, "")
        numbers[raw], bodies[one.inode] = one.inode, one.content
    return with_names(rows, numbers, bodies)


def variants(tools: Toolbox) -> bytes:
    """All of them in a row: each packing in turn, early and late, with padding and without."""
    random_ = random.Random(SEED)
    pack = cpios.packings(
        lambda name, data: tools.run(
            name, ["-lc" if name == "lz4" else "-c"], purpose="packing", stdin=data
        )
    )
    known = [(title, parts) for title, parts in _known()]
    for number in range(RANDOM):
        top = b"r%03d" % number
        part = cpios.archive(cpios.random_entries(random_, top))
        with contextlib.suppress(ToolError):  # a file that would be written into a device
            unpack_members(part)
            known.append(("random", [part]))
    out = bytearray()
    for number, (title, parts) in enumerate(known):
        for part in parts:
            plain = title in PLAIN
            name = "none" if plain else list(pack)[number % len(pack)]
            out += pack[name](part)
            out += bytes(-len(out) % 4) + bytes(4 * (random_.randrange(3) or name == "lz4"))
    return bytes(out)


PLAIN = (
    "a trailer with a body that is no file", "a name above PATH_MAX", "links with odd texts",
    "a directory with a body",
)  # fmt: skip
"""The kernel may read them in two ways when they are packed: they are refused then."""


def _known() -> list[tuple[str, list[bytes]]]:
    titles = [title for title, _ in cpios.known_cases(b"v")]
    cases = []
    for number, title in enumerate(titles):
        cases.append((title, dict(cpios.known_cases(b"v%03d" % number))[title]))
    return cases


@pytest.mark.boot
def test_what_is_counted_is_what_the_kernel_makes(
    boot: Callable[[bytes], str], tools: Toolbox, archive_store: Store
) -> None:
    data = variants(tools)
    mine = read_members(data, Session(archive_store.directory))
    theirs = parse_console_tree(boot(data))
    assert len({raw.partition(b"/")[0] for raw in theirs}) > 100
    different = {
        raw: (theirs.get(raw), mine.get(raw))
        for raw in sorted(theirs.keys() | mine.keys())
        if theirs.get(raw) != mine.get(raw)
    }
    assert not different


@pytest.mark.boot
@pytest.mark.long
@pytest.mark.parametrize("title", list(cpios.stopping_archives()))
def test_what_the_kernel_stops_at_is_refused(boot: Callable[[bytes], str], title: str) -> None:
    data = cpios.stopping_archives()[title]
    with pytest.raises(ToolError):
        unpack_members(data)
    after = cpios.archive([cpios.file(b"after", b"x")])
    theirs = parse_console_tree(boot(data + bytes(-len(data) % 4) + after))
    assert b"after" not in theirs


def _archive(top: bytes) -> bytes:
    return cpios.archive([cpios.directory(top), cpios.file(top + b"/su", top, 0o4755)])


@pytest.mark.boot
@pytest.mark.long
def test_what_is_taken_of_a_uki_is_what_the_stub_takes(
    machine: Machine, archive_store: Store
) -> None:
    stub = machine.tools.find_path(UEFI_NAMES["amd64"].stub).read_bytes()
    image = extend_stub(
        stub,
        [
            (".osrel", b"ID=x\n"),
            (".cmdline", f"{LINE} base".encode()),
            (".cmdline", f"{LINE} second".encode()),
            (".linux", machine.kernel),
            (".initrd", machine.own + _archive(b"first")),
            (".initrd", machine.own + _archive(b"second")),
            (".ucode", _archive(b"early") + b"\0\0"),
            (".profile", b"ID=a\n"),
            (".cmdline", f"{LINE} profile0".encode()),
            (".profile", b"ID=b\n"),
            (".cmdline", f"{LINE} profile1".encode()),
        ],
    )
    result = read_uki(image, "x.efi")
    console = machine.uefi(image)
    theirs = parse_console_tree(console)
    assert theirs == {
        raw: row for raw, row in read_members(result.initrd, Session(archive_store.directory)).items()
        if raw.partition(b"/")[0] not in OWN
    }  # fmt: skip
    assert {b"early/su", b"first/su"} < theirs.keys()
    line = console.split("(line)")[1].split()
    assert line == result.cmdlines[0].split()
    assert "profile0" in line
    assert {one.split()[-1] for one in result.cmdlines} == {"profile0", "profile1"}
