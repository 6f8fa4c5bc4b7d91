"""A host on networks whose leases are not the usual ones, booted on each once."""

import re
from pathlib import Path

import pytest

from minbuild.build.booting import Stage
from minbuild.lab.boot import boot
from minbuild.lab.types import (
    Accel,
    BootRequest,
    BootResult,
    Firmware,
    Probe,
    Shape,
    Sign,
    Source,
    State,
)
from minbuild.progress import Silent
from tests.support.lab import STORE, in_namespace, stage_of
from tests.whole.small import minbuild

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
    Shape.SLASH32: ("lease 192.0.2.[0-9]+/32 on", "tcp: 192.0.2.1:7 answered"),
    Shape.CLASSLESS: (
        "lease 192.0.2.[0-9]+/24 on",
        "dhcp: router 192.0.2.254 left out: the lease has classless routes",
        "tcp: 198.51.100.1:7 answered",
    ),
    Shape.MTU1400: ("dhcp: mtu 1400", "tcp: 192.0.2.1:7 answered"),
    # the one whose card is the host's alone
    Shape.NOMASK: (
        "no bridge br0: eth0 .* is not bridged",
        "its class says /24",
        "lease 192.0.2.[0-9]+/24 on",
        "tcp: 192.0.2.1:7 answered",
    ),
}


@pytest.fixture
def stage(shape: Shape, tmp_path: Path) -> Stage:
    place = tmp_path
    (place / "small.yaml").write_text(MANIFEST)
    words = ["--set", "bridged=false"] if shape is Shape.NOMASK else []
    ended = minbuild("make", "small.yaml", "--store", str(STORE), *words, cwd=place)
    image = place / "build/small/small.efi"
    assert image.exists(), ended.err
    found = stage_of(image)
    in_namespace(found.toolbox)
    return found


def seen(pattern: str) -> Probe:
    return Probe(pattern, (Sign(Source.CONSOLE, re.compile(pattern)),), 180, "it was not seen")


@pytest.mark.parametrize("shape", SEEN)
def test_a_host_is_reached_on_each_network(stage: Stage, shape: Shape) -> None:
    probes = tuple(map(seen, (*SEEN[shape], "dns: probe.test is 192.0.2.1")))
    request = BootRequest(
        stage.image, probes, firmware=Firmware.DIRECT, accel=Accel.TCG, lease=shape, memory=512
    )
    result: BootResult = boot(request, stage.toolbox, Silent())
    console = [line.text for line in result.lines if line.source is Source.CONSOLE]
    lost = [one.name for one in result.outcomes if one.state is not State.PASSED]
    assert lost == [], "\n".join(console[-30:])
    assert not [line for line in console if "FAILED" in line]
