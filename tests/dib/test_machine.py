"""dib in the builder machine: a partitioned image made by whoever runs minbuild, and booted."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.dib.builder_vm import BuilderVm
from minbuild.errors import ToolError
from minbuild.manifest.image_settings import DibFormat
from minbuild.manifest.loader import read_manifest
from minbuild.pipeline.dib import open_builder_vm
from minbuild.pipeline.session import BuildRequest, Session
from tests.dib.builder import Builder
from tests.dib.dib_jobs import run_dib_job
from tests.dib.elements import element
from tests.dib.folders import build_folder
from tests.e2e.small_host import CommandResult, Small, minbuild
from tests.support.cache import cache_directory
from tests.support.sample import sampled_feature
from tests.support.unprivileged import explain_unavailable, unprivileged_argv

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("builder")]

STORE = cache_directory("lab")
MANIFEST = """\
minbuild: 1
name: rootless
extends: [host]
image:
  compression: zstd
  formats: [uki, {dib: {elements: [%s], layout: %s, formats: [%s]}}]
budget: {packed: 24 MB}
"""


def build_with_element(
    directory: Path, *, script: str, layout: str, formats: str, dib_in: str = "vm"
) -> CommandResult:
    """Build a host with an image of dib's; the element `own` runs `script` in post-root.d.

    Where it can be had, without root, without capabilities and without namespaces.
    """
    element(directory / "elements", "own", post_root__50_own=script)
    text = MANIFEST % ("own", layout, formats)
    (directory / "rootless.yaml").write_text(text, encoding="utf-8")
    env = {"ELEMENTS_PATH": str(directory / "elements"), "DIB_GREETER": "us"}
    argv = ("make", "rootless.yaml", "--allow-code", "--dib-in", dib_in, "--store", str(STORE))
    args = () if explain_unavailable() else unprivileged_argv()
    return minbuild(*argv, cwd=directory, env=env, within=args)


@sampled_feature("dib in a machine")
def test_a_partitioned_image_made_without_root_boots_and_runs_a_guest(tmp_path: Path) -> None:
    ended = build_with_element(
        tmp_path,
        script="echo built by $DIB_GREETER > $TMP_MOUNT_PATH/etc/greeting",
        layout="gpt",
        formats="qcow2",
        dib_in="vm" if explain_unavailable() else "auto",
    )
    assert ended.code == 0, ended.err
    noted = re.search("dib runs in a virtual machine: .* lacks .*root, or sudo", ended.err)
    assert explain_unavailable() or noted
    assert "rootless-dib.qcow2, footprint.json" in ended.out
    build = tmp_path / "build" / "rootless"
    image = build / "rootless-dib.qcow2"
    assert image.name in (build / "SHA256SUMS").read_text(encoding="ascii")
    assert "Build completed successfully" in (build / "rootless-dib.log").read_text("utf-8")
    assert (tmp_path / "builder.lock").exists()
    # on a stick, which this kernel does not see: the data partition is the lab's, with its guest
    argv = ("boot", str(image), "--as", "stick", "--store", str(STORE), "--timeout", "600")
    ended = minbuild(*argv, "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    result = {one["name"]: one["state"] for one in json.loads(ended.out)["probes"]}
    assert result["dhcp"] == result["guest"] == "passed"


@pytest.mark.long
def test_a_disk_that_is_full_in_the_machine_is_an_error(tmp_path: Path) -> None:
    ended = build_with_element(
        tmp_path,
        script="head -c 200M /dev/urandom > $TMP_MOUNT_PATH/etc/big",
        layout="plain",
        formats="raw",
    )
    assert ended.code == 6
    assert "No space left on device" in ended.err
    assert not list((tmp_path / "build" / "rootless").glob("*.raw"))


@pytest.mark.long
@pytest.mark.parametrize("size", [30, 80])
def test_a_disk_of_this_machine_that_is_full_is_an_error(
    builder: Builder, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Its disks have holes: what the machine writes may find no space behind them."""
    monkeypatch.setenv("ELEMENTS_PATH", str(tmp_path / "elements"))
    monkeypatch.setenv("DIB_IMAGE_SIZE", "0.2")
    big = "head -c 60M /dev/urandom > $TMP_MOUNT_PATH/etc/big"
    element(tmp_path / "elements", "own", post_root__50_own=big)
    cramped = tmp_path / "cramped"
    cramped.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}M", "cramped", cramped], check=True)
    try:
        with pytest.raises(ToolError) as caught:
            run_dib_job(build_folder(small), cramped / "work", "own", DibFormat.RAW, open_builder)
        assert "disk is full" in caught.value.what
        assert not list((cramped / "work").glob("*.raw"))
    finally:
        subprocess.run(["umount", cramped], check=True)
    del builder


def open_builder(work: Path) -> BuilderVm:
    """The builder, laid down where there is space."""
    path = work.parents[1] / "machine"
    path.mkdir()
    manifest = data_directory("manifests") / "host.yaml"
    request = BuildRequest(manifest, lock=path / "host.lock")
    return open_builder_vm(
        request, read_manifest(manifest, settings={}, components=()), path, Session(STORE)
    )
