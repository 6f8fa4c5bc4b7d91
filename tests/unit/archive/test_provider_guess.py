import lzma
from pathlib import Path

import pytest

from minbuild.archive.index import Index
from minbuild.archive.model import ProviderGuess
from minbuild.archive.provider_guess import guess_providers
from minbuild.cache.store import Store
from minbuild.manifest.model import Archive as Wish
from minbuild.resolve.model import NeedKind
from tests.support.real_archive import open_real_archive
from tests.unit.archive.conftest import World

TEXT = """
Package: program
Depends: shared, libglib2.0-0t64 (>= 2), libssl3t64, libgcc-s1, libstdc++6, libc6, python3:any
Package: shared
Depends: libdeep-1.2-3, zlib1g, libcommon, loop
Package: loop
Depends: program
Package: libglib2.0-0t64
Package: libssl3t64
Package: libgcc-s1
Package: libstdc++6
Package: libc6
Package: libdeep-1.2-3
Package: libcommon
Package: zlib1g
Package: python3
Depends: python3-minimal, python3.13
Package: python3-minimal
Package: python3.13
Package: dash
Package: libtss2-esys-3.0.2-0t64
Package: libtss2-dev
Package: kernel
Depends: kernel-6.12
Package: kernel-6.12
Package: firmware-iwlwifi
Package: firmware-realtek
Package: virtual-user
Depends: any-awk
Package: mawk
Provides: any-awk
"""


@pytest.fixture
def index(world: World) -> Index:
    world.archive.publish("trixie", TEXT)
    return world.open()


@pytest.mark.parametrize(
    ("package", "kind", "wanted", "first"),
    [
        ("program", NeedKind.NEEDED, "libglib-2.0.so.0", "libglib2.0-0t64"),
        ("program", NeedKind.NEEDED, "libgobject-2.0.so.0", "libglib2.0-0t64"),
        ("program", NeedKind.NEEDED, "libcrypto.so.3", "libssl3t64"),
        ("program", NeedKind.NEEDED, "libgcc_s.so.1", "libgcc-s1"),
        ("program", NeedKind.NEEDED, "libstdc++.so.6", "libstdc++6"),
        ("program", NeedKind.NEEDED, "libc.so.6", "libc6"),
        ("program", NeedKind.NEEDED, "libm.so.6", "libc6"),
        ("program", NeedKind.NEEDED, "libdeep-1.2.so.3", "libdeep-1.2-3"),
        ("program", NeedKind.NEEDED, "libz.so.1", "zlib1g"),
        ("program", NeedKind.NEEDED, "libcommon-17.so", "libcommon"),
        ("program", NeedKind.INTERP, "/lib64/ld-linux-x86-64.so.2", "libc6"),
        ("program", NeedKind.DLOPEN, "libtss2-esys.so.0", "libtss2-esys-3.0.2-0t64"),
        ("program", NeedKind.SHEBANG, "/usr/bin/python3", "python3-minimal"),
        ("program", NeedKind.SHEBANG, "/usr/bin/python3.13", "python3.13"),
        ("program", NeedKind.SHEBANG, "/bin/sh", "dash"),
        (
            "program",
            NeedKind.LINK,
            "/usr/lib/x86_64-linux-gnu/libdeep-1.2.so.3.0.1",
            "libdeep-1.2-3",
        ),
        ("kernel", NeedKind.ROOT, "/boot/vmlinuz-*", "kernel-6.12"),
        ("kernel", NeedKind.MODULE, "kvm", "kernel-6.12"),
        ("kernel", NeedKind.FIRMWARE, "iwlwifi-8000C-36.ucode", "firmware-iwlwifi"),
        ("virtual-user", NeedKind.EXEC, "/usr/bin/awk", "mawk"),
    ],
)
def test_the_first_candidate(
    index: Index, package: str, kind: NeedKind, wanted: str, first: str
) -> None:
    assert guess_providers(index, package, kind.guess, wanted)[0] == first


def test_each_candidate_is_a_package_of_the_index_and_named_once(index: Index) -> None:
    for wanted in ("libcrypto.so.3", "libnothing.so.1", "libc.so.6"):
        found = guess_providers(index, "program", ProviderGuess.LIBRARY, wanted)
        assert len(found) == len(set(found))
        assert all(index.find_package(name) for name in found)


def test_a_package_that_nobody_knows_has_no_candidates(index: Index) -> None:
    assert guess_providers(index, "nobody", ProviderGuess.DEPENDENCY, "/usr/bin/nobody") == ()


@pytest.mark.mirror
def test_the_machines_own_mirror_is_read_and_its_guesses_hold(tmp_path: Path) -> None:
    wish = Wish(suites=("trixie", "trixie-updates", "trixie-security"))
    store = Store(tmp_path)
    index = open_real_archive(store, wish, "amd64").index
    kernel = guess_providers(
        index, "linux-image-cloud-amd64", ProviderGuess.DEPENDENCY, "/boot/vmlinuz-*"
    )
    assert kernel[0].startswith("linux-image-6.12.")
    first = {
        ("qemu-system-x86", "libpixman-1.so.0"): "libpixman-1-0",
        ("qemu-system-x86", "libslirp.so.0"): "libslirp0",
        ("dnsmasq-base", "libnetfilter_conntrack.so.3"): "libnetfilter-conntrack3",
        ("systemd", "libcrypto.so.3"): "libssl3t64",
        ("git", "libpcre2-8.so.0"): "libpcre2-8-0",
        ("libpython3.13-stdlib", "libpanelw.so.6"): "libncursesw6",
    }
    for (package, soname), expected in first.items():
        assert guess_providers(index, package, ProviderGuess.LIBRARY, soname)[0] == expected
    large = next(part for part in index.packages_files if part.suite == "trixie")
    data = store.read(large.sha256)
    assert data is not None
    names = [
        line[9:]
        for line in lzma.decompress(data).decode().splitlines()
        if line.startswith("Package: ")
    ]
    assert all(index.find_package(name) is not None for name in names[:: len(names) // 200])
