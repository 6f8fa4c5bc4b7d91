"""A disk written by the build boots, and the kernel finds every file on it."""

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.image.initramfs_segments import pack_initramfs
from minbuild.image.publish import open_outputs
from minbuild.image.write import ImageSpec, write_images
from minbuild.manifest.image_settings import Compression, ImageFormat
from minbuild.manifest.kernel_cmdline import join_cmdline, parse_parameter
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from minbuild.rootfs.model import RootfsTree
from tests.support.cmdlines import random_parameters
from tests.support.patience import PATIENCE
from tests.support.sample import sampled_params
from tests.unit.image.trees import KERNEL, file, hard, link, program, tree
from tests.unit.toolbox.real import toolbox

INIT = b"""#!/usr/bin/sh
busybox="/usr/bin/busybox"
echo "SEEN console $($busybox stat -c %t:%T /dev/console)"
echo "SEEN links $($busybox stat -c %h /usr/again)"
echo "SEEN mode $($busybox stat -c %a /usr/again)"
echo "SEEN program $($busybox sha256sum </usr/program)"
echo "SEEN again $($busybox sha256sum </usr/again)"
$busybox mkdir /proc
$busybox mount -t proc proc /proc
for said in environ cmdline; do
    $busybox base64 -w 600 /proc/1/$said | while read -r line; do echo "SEEN $said $line"; done
done
echo "SEEN link $($busybox readlink /usr/bin/sh)"
$busybox reboot -f
"""


def host(store: Store) -> RootfsTree:
    box = toolbox(lab=True)
    kernel = next(box.root.glob("boot/vmlinuz-*")).read_bytes()
    busybox = box.find_path(RootPath("/usr/bin/busybox")).read_bytes()
    return tree(
        file(KERNEL, kernel, store=store),
        file("/init", INIT, 0o755, store),
        file("/usr/bin/busybox", busybox, 0o755, store),
        link("/usr/bin/sh", "busybox"),
        file("/usr/program", program(300_000, 1), 0o4711, store),
        hard("/usr/again", "/usr/program", 0o4711),
        file("/usr/packed.xz", b"\xfd7zXZ\0 stored as it is", store=store),
    )


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.parametrize("how", sampled_params([Compression.XZ, Compression.ZSTD]))
def test_a_disk_boots_by_uefi_and_holds_the_tree(how: Compression, tmp_path: Path) -> None:
    store, box = Store(tmp_path / "store"), toolbox(lab=True)
    valued, alone = random_parameters(len(how))
    cmdline = join_cmdline(("console=ttyS0", "panic=-1", "quiet", "rdinit=/init"), valued, alone)
    spec = ImageSpec(
        "host", "amd64", host(store), cmdline, b"ID=x\n", (ImageFormat.RAW,), how, "seed"
    )
    segments = pack_initramfs(
        spec.tree, store, box, spec.compression, arch=spec.arch, progress=SilentProgress()
    )
    with open_outputs(tmp_path) as outputs:
        write_images(spec, segments, outputs, store, box, SilentProgress())
        outputs.publish()
    said = console(tmp_path / "host.raw", tmp_path)
    digest = hashlib.sha256(program(300_000, 1)).hexdigest()
    lines = [line.partition("SEEN ")[2].split(" ")[:2] for line in said if "SEEN " in line]
    environment, arguments = (
        base64.b64decode("".join(text for name, text in lines if name == kind)).decode().split("\0")
        for kind in ("environ", "cmdline")
    )
    # what the kernel made of words that it does not know: variables and arguments of init
    read = {word: parse_parameter(word) for word in (*valued, *alone)}
    assert [f"{read[word].name}={read[word].value}" for word in valued] == [
        one for one in environment if one.startswith("zq")
    ]
    assert [read[word].name for word in alone] == [one for one in arguments if one.startswith("zq")]
    seen = sorted(line for line in lines if line[0] not in ("environ", "cmdline"))
    assert seen == [
        ["again", digest],
        ["console", "5:1"],
        ["link", "busybox"],
        ["links", "2"],
        ["mode", "4711"],
        ["program", digest],
    ]


def console(disk: Path, work: Path) -> list[str]:
    """What the machine says until it ends; a boot under emulation may need a second try."""
    box = toolbox(lab=True)
    firmware = RootPath("/usr/share/OVMF/OVMF_CODE_4M.fd")
    shutil.copyfile(box.find_path(RootPath("/usr/share/OVMF/OVMF_VARS_4M.fd")), work / "vars")
    words: list[object] = [*box.build_argv("qemu-system-x86_64"), "-M", "q35"]
    words += ["-accel", "tcg,thread=multi", "-cpu", "EPYC,-xsaves", "-smp", "2", "-m", "512"]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    words += ["-L", box.find_path(RootPath("/usr/share/qemu")), "-serial", "stdio"]
    words += ["-drive", f"if=pflash,format=raw,readonly=on,file={box.find_path(firmware)}"]
    words += ["-drive", f"if=pflash,format=raw,file={work / 'vars'}"]
    words += ["-drive", f"if=virtio,format=raw,file={disk}"]
    lines: list[str] = []
    for _ in range(2):
        ended = subprocess.run(
            [str(word) for word in words],
            env=box.build_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        lines = ended.stdout.decode("utf-8", "replace").splitlines()
        if any("SEEN link " in line for line in lines):
            break
    return [line.rstrip("\r") for line in lines]
