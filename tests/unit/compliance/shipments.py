"""A shipment of three packages, one of them a kernel's, made without a network."""

from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, LockedSuite, Package
from minbuild.compliance.built_image import BuiltImage, open_built_image
from minbuild.footprint import document
from minbuild.footprint.model import FileRow
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind
from tests.support.footprint_variants import change_footprint, find_row

MODULE = RootPath("/usr/lib/modules/6.1/kernel/net/bridge/bridge.ko.xz")
WALL = "/usr/bin/wall"


def package(name: str, version: str, source: str = "", source_version: str = "") -> Package:
    return Package(
        name, version, "amd64", "debian", f"pool/{name}.deb", 10, name.encode().hex().ljust(64, "0")[:64],
        "trixie", source, source_version,
    )  # fmt: skip


PACKAGES = (
    package("busybox", "1:1.37.0-6+b9", "busybox", "1:1.37.0-6"),
    package("libuuid1", "2.41-5", "util-linux"),
    package("linux-image", "6.1.9-1", "linux-signed-amd64", "6.1.9+1"),
)


def shipment(directory: Path) -> BuiltImage:
    """Write a build directory and open it."""
    files = [
        FileRow(MODULE, "file", 0o644, 0, 0, 10, "1" * 64, "", "linux-image", "network/bridge", "network", 9),
        FileRow(RootPath("/usr/lib/libuuid.so.1"), "file", 0o644, 0, 0, 20, "2" * 64, "", "libuuid1", "filesystem/gpt", "filesystem", 9),
    ]  # fmt: skip
    needs = [
        Need(files[1].path, "/usr/bin/busybox", NeedKind.NEEDED, "DT_NEEDED libuuid.so.1"),
        Need(MODULE, "network/bridge", NeedKind.MODULE, "bridge.yaml:1:1"),
    ]
    footprint = change_footprint([*files, find_row("/usr/bin/busybox")], needs=needs)
    directory.mkdir(exist_ok=True)
    (directory / "footprint.json").write_text(document.render_footprint(footprint))
    suite = LockedSuite("trixie", "debian", 1_700_000_000, "5" * 64)
    lockfile.write_lock(directory / "tiny.lock", Lock("amd64", (suite,), PACKAGES, ()))
    return open_built_image(directory)
