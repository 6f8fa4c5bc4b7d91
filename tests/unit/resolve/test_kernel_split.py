"""A kernel whose image, options and modules lie in packages of their own, as Debian has it since 7."""

from minbuild.facts.model import BuiltinModules, KernelConfig, Module
from minbuild.paths import RootPath
from minbuild.resolve.kernel import IMAGE_GLOB
from minbuild.resolve.model import Closure, NeedKind
from minbuild.resolve.resolution import resolve
from tests.unit.resolve.builders import missing, named, package, root

PLACE = "/usr/lib/modules/7.2-x"
PAPER = {"/usr/share/doc/linux/copyright": None}
META = package("linux-meta", PAPER, depends=("linux-image-7.2-x",))
NAMED = package(
    "linux-image-7.2-x",
    PAPER,
    depends=("dracut|initramfs", "linux-base-7.2-x", "linux-binary-7.2-x", "linux-modules-7.2-x"),
)
BINARY = package("linux-binary-7.2-x", {f"{PLACE}/vmlinuz": None})
BASE = package(
    "linux-base-7.2-x",
    {
        f"{PLACE}/config": KernelConfig({"KVM": "m", "EXT4_FS": "y"}),
        f"{PLACE}/modules.builtin": BuiltinModules({"ext4": Module("ext4")}),
    },
)
MODULES = package("linux-modules-7.2-x", {f"{PLACE}/kernel/kvm.ko.xz": Module("kvm")})
ROOTS = (
    root(IMAGE_GLOB, "linux-meta"),
    named(NeedKind.MODULE, "kvm"),
    named(NeedKind.MODULE, "ext4"),
    named(NeedKind.KCONFIG, "EXT4_FS"),
)


def closed(*modules: object) -> Closure:
    files = [META, NAMED, BINARY, BASE, *([MODULES] if modules else [])]
    return resolve(ROOTS, files, arch="amd64")


def test_the_image_is_found_beside_the_modules() -> None:
    closure = closed(MODULES)
    assert missing(closure) == []
    assert closure.kernel_release == "7.2-x"
    assert closure.files[RootPath(f"{PLACE}/vmlinuz")].package == "linux-binary-7.2-x"
    assert closure.files[RootPath(f"{PLACE}/kernel/kvm.ko.xz")].package == "linux-modules-7.2-x"


def test_modules_are_asked_of_the_package_that_the_manifest_names() -> None:
    (lack,) = closed().unmet_needs
    assert (lack.wanted, lack.package) == ("kvm", "linux-meta")
