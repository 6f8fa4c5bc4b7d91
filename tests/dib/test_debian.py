"""A real Debian by dib, cut down to a host: the same paths as from packages, and it boots."""

import hashlib
import json
import re
import tarfile
from pathlib import Path

import pytest

from minbuild.archive.mirror import find_mirror
from minbuild.data import data_directory
from minbuild.dib.build_export import node_from_row
from minbuild.footprint import document
from minbuild.image import tar_cpio
from minbuild.lab.boot import boot_image
from minbuild.lab.model import BootRequest, BootResult, Firmware, ProbeState
from minbuild.manifest.model import Location, PackagePaths, Tool
from minbuild.paths import RootPath
from minbuild.pipeline.boot_setup import prepare_boot
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from tests.dib.builder import Builder
from tests.dib.rpms import open_rpm_tools
from tests.e2e.small_host import minbuild
from tests.support.cache import cache_directory
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.long]

STORE = cache_directory("lab")
PACKAGES = "linux-image-cloud-amd64,busybox,qemu-system-x86,seabios,qemu-system-data,cgpt,openntpd"
HERE = Location("test", 1, 1)
SCRIPT = RootPath("/usr/share/debootstrap/functions")
DEBOOTSTRAP = Tool(
    "debootstrap",
    "debootstrap",
    SCRIPT,
    (
        PackagePaths("debootstrap", ("/usr/sbin/debootstrap", "/usr/share/debootstrap/**"), HERE),
        PackagePaths("debian-archive-keyring", ("/usr/share/keyrings/debian-archive-*",), HERE),
    ),
    False,
    HERE,
)
PLAIN = "minbuild-boot/layouts/plain.yaml"


def test_a_debian_root_of_dib_is_trimmed_to_the_host_and_boots(
    builder: Builder, tmp_path: Path
) -> None:
    argv = ("-t", "tar", "debian-minimal", "minbuild-trim", "minbuild-boot", "-p", PACKAGES)
    ended = builder.run("-o", "trimmed", *argv, env=environment(builder))
    assert ended.code == 0, ended.out[-3000:]
    assert builder.list_leftovers() == []
    output = re.search(r"trimmed \S+: ([\d,]+) files, ([\d,]+) bytes → ([\d,]+) files", ended.out)
    assert output is not None
    assert int(output[1].replace(",", "")) > 10_000
    print(output[0])  # the figures of the docs
    text = (builder.directory / "trimmed.d/minbuild/footprint.json").read_text(encoding="utf-8")
    plan = minbuild("plan", "host.yaml", "--json", "--store", str(STORE), cwd=tmp_path)
    assert list_files(text) == list_files(plan.out), plan.err
    boot_uki(builder.directory / "trimmed.tar", tmp_path)
    result = boot_tar(builder.directory / "trimmed.tar", text, tmp_path)
    failures = {
        one.name: one.detail for one in result.outcomes if one.state is not ProbeState.PASSED
    }
    assert failures == {}, result.end_reason


def environment(builder: Builder) -> dict[str, str]:
    box = open_rpm_tools(DEBOOTSTRAP)
    programs = builder.directory / "bin"
    programs.mkdir()
    script = box.find_path(RootPath("/usr/sbin/debootstrap"))
    (programs / "debootstrap").write_text(f'#!/bin/sh\nexec sh {script} "$@"\n', encoding="utf-8")
    (programs / "debootstrap").chmod(0o755)
    keys = builder.directory / "keys.gpg"
    rings = box.find_path(RootPath("/usr/share/keyrings")).glob("debian-archive-*.?p*")
    keys.write_bytes(b"".join(ring.read_bytes() for ring in sorted(rings)))
    mirror = find_mirror("")
    return {
        "DEBOOTSTRAP_DIR": str(box.find_path(SCRIPT).parent),
        "DIB_DEBOOTSTRAP_EXTRA_ARGS": f"--keyring={keys}",
        "DIB_MMDEBSTRAP_EXTRA_ARGS": f"--keyring={keys}",
        "DIB_DISTRIBUTION_MIRROR": mirror.build_url("debian", ""),
        "DIB_DEBIAN_SECURITY_MIRROR": mirror.build_url("debian-security", ""),
        "DIB_RELEASE": "trixie",
        "DIB_IMAGE_SIZE": "0.3",
        "DIB_JOURNAL_SIZE": "4",
        "DIB_BLOCK_DEVICE_CONFIG": (data_directory("elements") / PLAIN).as_uri(),
        "DIB_MINBUILD_MANIFEST": "host.yaml",
        "MINBUILD_STORE": str(STORE),
    }


def list_files(text: str) -> dict[str, tuple[object, ...]]:
    """What a footprint says of each path; whose directories are is said by every package."""
    keys = ("type", "mode", "uid", "gid", "sha256", "target")
    return {row["path"]: tuple(row[key] for key in keys) for row in json.loads(text)["files"]}


def boot_uki(path: Path, work: Path) -> None:
    """Boot the file that minbuild-boot made of the root before it was trimmed, by UEFI."""
    with tarfile.open(path) as tar:
        file = tar.extractfile("./boot/efi/EFI/BOOT/BOOTX64.EFI")
        assert file is not None
        (work / "host.efi").write_bytes(file.read())
    argv = ("boot", "host.efi", "--json", "--store", str(STORE), "--timeout", "600")
    ended = minbuild(*argv, cwd=work)
    assert ended.code == 0, ended.err
    states = {one["name"]: one["state"] for one in json.loads(ended.out)["probes"]}
    assert states.items() >= {"dhcp": "passed", "kvm": "passed", "guest": "passed"}.items()


def boot_tar(path: Path, footprint: str, work: Path) -> BootResult:
    """Boot the files of a trimmed root as an initramfs, with the root's own kernel."""
    contents: dict[str, bytes] = {}
    nodes = [
        node_from_row(row) for row in document.read_footprint(footprint, "footprint.json").files
    ]
    kernel = next(node.path for node in nodes if node.path.startswith("/boot/vmlinuz"))
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isreg():
                file = tar.extractfile(member)
                assert file is not None
                data = file.read()
                contents[hashlib.sha256(data).hexdigest()] = data
                if member.name == f".{kernel}":
                    (work / "vmlinuz").write_bytes(data)
    own = [node for node in nodes if not node.path.startswith("/boot")]
    (work / "initrd").write_bytes(tar_cpio.encode_cpio(own, contents.__getitem__))
    manifest = BuildRequest(
        manifest=data_directory("manifests") / "host.yaml", lock=work / "host.lock"
    )
    stage = prepare_boot(
        "host.yaml", manifest, Session(STORE, SilentProgress()), firmware=Firmware.DIRECT
    )
    request = BootRequest(
        work / "vmlinuz",
        stage.probes,
        initramfs=work / "initrd",
        cmdline="console=ttyS0 rdinit=/init panic=10 loglevel=6",
        firmware=Firmware.DIRECT,
        guest_kernel=work / "vmlinuz",
        memory=1536,
        timeout=PATIENCE,
    )
    return boot_image(request, stage.toolbox, SilentProgress())
