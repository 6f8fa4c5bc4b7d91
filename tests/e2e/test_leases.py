"""A host on networks whose leases are not the usual ones, booted on each once."""

import json
import re
from pathlib import Path

import pytest

from minbuild.lab.boot import boot_image
from minbuild.lab.model import (
    Accel,
    BootProbe,
    BootRequest,
    BootResult,
    Firmware,
    LeaseShape,
    LineSource,
    ProbePattern,
    ProbeState,
)
from minbuild.pipeline.boot_setup import BootSetup
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup, require_namespace

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("leases")]

MANIFEST = """\
minbuild: 1
name: small
summary: The network of a host, and the data partition that asks for its proof
arch: amd64
kernel: {package: linux-image-cloud-amd64, cmdline: [console=ttyS0]}
network: {use: [virtio, bridge, dhcp, dns, tcp]}
filesystem: {use: [ext4]}
boot: {use: [init]}
image: {formats: [uki], compression: zstd}
"""
SEEN = {
    LeaseShape.SLASH32: ("lease 192.0.2.[0-9]+/32 on", "tcp: 192.0.2.1:7 answered"),
    LeaseShape.CLASSLESS: (
        "lease 192.0.2.[0-9]+/24 on",
        "dhcp: router 192.0.2.254 left out: the lease has classless routes",
        "tcp: 198.51.100.1:7 answered",
    ),
    LeaseShape.MTU1400: ("dhcp: mtu 1400", "tcp: 192.0.2.1:7 answered"),
    # the one whose card is the host's alone
    LeaseShape.NOMASK: (
        "no bridge br0: eth0 .* is not bridged",
        "its class says /24",
        "lease 192.0.2.[0-9]+/24 on",
        "tcp: 192.0.2.1:7 answered",
    ),
}


@pytest.fixture
def boot_setup(shape: LeaseShape, tmp_path: Path) -> BootSetup:
    path = tmp_path
    (path / "small.yaml").write_text(MANIFEST)
    argv = ["--set", "bridged=false"] if shape is LeaseShape.NOMASK else []
    ended = minbuild("make", "small.yaml", "--store", str(STORE), *argv, cwd=path)
    image = path / "build/small/small.efi"
    assert image.exists(), ended.err
    setup = make_boot_setup(image)
    require_namespace(setup.toolbox)
    return setup


def expect_line(pattern: str) -> BootProbe:
    return BootProbe(
        pattern, (ProbePattern(LineSource.CONSOLE, re.compile(pattern)),), 180, "it was not seen"
    )


@pytest.mark.parametrize("shape", SEEN)
def test_a_host_is_reached_on_each_network(boot_setup: BootSetup, shape: LeaseShape) -> None:
    probes = tuple(map(expect_line, (*SEEN[shape], "dns: probe.test is 192.0.2.1")))
    request = BootRequest(
        boot_setup.image, probes, firmware=Firmware.DIRECT, accel=Accel.TCG, lease=shape, memory=512
    )
    result: BootResult = boot_image(request, boot_setup.toolbox, SilentProgress())
    console = [line.text for line in result.lines if line.source is LineSource.CONSOLE]
    failed = [one.name for one in result.outcomes if one.state is not ProbeState.PASSED]
    assert failed == [], "\n".join(console[-30:])
    assert not [line for line in console if "FAILED" in line]


FIXED = """\
vars:
  address: 10.20.30.40/24
  gateway: 10.20.30.1
  nameservers: [9.9.9.9]
files:
  /usr/lib/minbuild/steps/60-door: {content: "#!/bin/sh\\n[ $1 != start ] || nc -l -p 99 >/dev/null &\\n", mode: "0755"}
probes: [{name: door, tcp: 99, limit: 180}]
"""


@pytest.mark.long
def test_a_host_with_a_fixed_address_passes_all_but_the_lease(tmp_path: Path) -> None:
    (tmp_path / "components/services").mkdir(parents=True)
    values, _, files = FIXED.partition("files:\n")
    (tmp_path / "components/services/door.yaml").write_text(f"summary: a port\nfiles:\n{files}")
    manifest = MANIFEST.replace("dhcp,", "static, dhcp,")
    (tmp_path / "small.yaml").write_text(f"{manifest}services: {{use: [door]}}\n{values}")
    argv = ("boot", "small.yaml", "--direct", "--network", "namespace", "--accel", "auto", "--json")
    ended = minbuild(*argv, "--store", str(STORE), cwd=tmp_path)
    states = {probe["name"]: probe["state"] for probe in json.loads(ended.out)["probes"]}
    assert states.pop("dhcp") == "skipped", ended.err
    assert {"dns", "tcp", "door"} <= states.keys()
    assert set(states.values()) == {"passed"}, ended.err
