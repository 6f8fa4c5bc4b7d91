"""What will not start in a tree though nothing is missing from it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ManifestError
from minbuild.formats.root_entry import FileType
from minbuild.manifest.image_settings import ImageFormat, ImageSettings
from minbuild.manifest.model import Component, KernelSettings, Manifest, Section
from minbuild.paths import RootPath
from minbuild.pipeline.image_spec import build_xen_cmdline
from minbuild.pipeline.rootfs_checks import (
    check_hypervisor,
    explain_missing_init,
    find_unknown_accounts,
)
from minbuild.rootfs.model import RootfsNode, RootfsTree
from tests.support.footprints import HERE, KERNEL, MANIFEST


def tree(files: Mapping[str, str], store: Store | None = None) -> RootfsTree:
    nodes = []
    for path, text in sorted(files.items()):
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest() if store is None else store.add(data)
        nodes.append(
            RootfsNode(
                RootPath(path), FileType.FILE, 0o644, 0, 0, len(data), digest, "", "", "boot/x"
            )
        )
    return RootfsTree(tuple(nodes), (), KERNEL, "6.1")


def told(*words: str, formats: tuple[ImageFormat, ...] = (ImageFormat.UKI,)) -> Manifest:
    image = ImageSettings(formats=formats)
    return replace(MANIFEST, image=image, kernel=KernelSettings("linux", words, HERE))


@pytest.mark.parametrize(
    ("paths", "manifest", "runs"),
    [
        ((), told(), "/init"),
        (("/init",), told(), ""),
        (("/init",), told("rdinit=/bin/sh"), "/bin/sh"),
        (("/usr/bin/sh",), told("rdinit=/bin/sh"), ""),
        (("/usr/bin/sh",), told("rdinit=/x", "rdinit=/bin/sh"), ""),
        ((), told("root=/dev/vda2"), ""),
        ((), told("init=/init"), "/init"),
        ((), told(formats=(ImageFormat.TAR, ImageFormat.CPIO)), ""),
        ((), told(formats=(ImageFormat.TAR, ImageFormat.PXE)), "/init"),
    ],
)
def test_a_host_that_nothing_starts_is_told(
    paths: tuple[str, ...], manifest: Manifest, runs: str
) -> None:
    said = list(explain_missing_init(tree(dict.fromkeys(paths, "")), manifest))
    assert [f"the kernel runs {runs}, which" in one for one in said] == ([True] if runs else [])


XEN = "/boot/xen-4.20-amd64.efi"


def with_xen(*words: str, image: ImageSettings, cmdline: tuple[str, ...] = ()) -> Manifest:
    return replace(MANIFEST, image=image, kernel=KernelSettings("linux", cmdline, HERE, words))


def xen_tree() -> RootfsTree:
    return replace(tree({XEN: "xen"}), hypervisor_image=RootPath(XEN))


UEFI = ImageSettings(formats=(ImageFormat.UKI, ImageFormat.RAW))


def test_what_xen_is_told_reaches_it() -> None:
    manifest = with_xen("console=com1", image=UEFI, cmdline=("console=hvc0",))
    check_hypervisor(manifest, xen_tree())


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (with_xen("a#b", image=UEFI), "cannot hold the word 'a#b'"),
        (with_xen(image=UEFI, cmdline=("x=#1",)), "cannot hold the word 'x=#1'"),
        (with_xen("x" * 1024, image=UEFI), "Xen's command line has 1,024 bytes"),
        (with_xen(image=UEFI, cmdline=("y" * 1100,)), "domain 0's command line has 1,100 bytes"),
        (with_xen(image=ImageSettings(formats=(ImageFormat.PXE,))), "pxe starts Linux by itself"),
    ],
)
def test_what_does_not_reach_xen_is_an_error(manifest: Manifest, told: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(told)):
        check_hypervisor(manifest, xen_tree())


def with_component(name: str, **more: Any) -> Manifest:
    part = Component(name, Section.BOOT, "", HERE, **more)
    return replace(with_xen("console=com1", image=UEFI), components=(part,))


def test_a_filter_that_knows_the_cards_of_qemu_alone_is_refused_with_xen() -> None:
    with pytest.raises(ManifestError, match="network/guest-filter would filter nothing"):
        check_hypervisor(with_component("network/guest-filter"), xen_tree())


def test_xen_is_told_to_look_for_microcode_where_there_is_some() -> None:
    assert build_xen_cmdline(with_component("boot/x", microcode=True)) == "ucode=scan console=com1"
    assert build_xen_cmdline(with_component("boot/x")) == "console=com1"


def test_microcode_of_a_host_without_xen_asks_nothing_of_it() -> None:
    part = Component("boot/x", Section.BOOT, "", HERE, microcode=True)
    check_hypervisor(replace(told(), components=(part,)), tree({"/init": ""}))


def test_words_for_xen_without_xen_are_an_error() -> None:
    with pytest.raises(ManifestError, match="nothing reads xen-cmdline"):
        check_hypervisor(with_xen("noreboot", image=UEFI), tree({"/init": ""}))


CONFIGURATION = {
    "/etc/nginx/nginx.conf": "# user of\nuser www-data;\nhttp { user_agent x; }\n",
    "/etc/dnsmasq.conf": "user=dnsmasq\ngroup = dip\n",
    "/etc/apache2.conf": "  User nobody\n  Group nogroup\nUserDir public_html\n",
    "/etc/two.conf": 'user nobody "x y";\nuser nobody kmem;\ngroup 33\nuser %u\n',
    "/usr/lib/other.conf": "user gone;\n",
}


def test_accounts_that_configuration_names_and_the_image_lacks_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    accounts = {"/etc/passwd": "nobody:*:65534:65534::/:/bin/false\n", "/etc/group": "dip:*:30:\n"}
    said = list(find_unknown_accounts(tree(CONFIGURATION | accounts, store), store))
    assert [one.partition(", and ")[0] for one in said] == [
        "/etc/apache2.conf:2 names the group nogroup",
        "/etc/dnsmasq.conf:1 names the user dnsmasq",
        "/etc/nginx/nginx.conf:2 names the user www-data",
        "/etc/two.conf:2 names the group kmem",
    ]
    assert "/etc/group of the image has no such line" in said[0]


def test_an_image_without_books_of_accounts_has_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (one,) = find_unknown_accounts(tree({"/etc/x.conf": "user nobody;\n"}, store), store)
    assert one.startswith("/etc/x.conf:1 names the user nobody, and /etc/passwd of the image")
