"""Patches on a source tree, and in a manifest."""

import os
from pathlib import Path

import pytest

from minbuild.errors import ManifestError
from minbuild.kernel.patches import apply_patch
from minbuild.manifest.document.nodes import Location
from minbuild.manifest.input_files import Trust
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import KernelPatch

DATE = 1_700_000_000
PATCH = b"--- a/net/tun.c\n+++ b/net/tun.c\n@@ -1 +1 @@\n-old\n+new\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "linux"
    (top / "net").mkdir(parents=True)
    for name in ("Makefile", "net/tun.c"):
        (top / name).write_text("old\n")
        os.utime(top / name, (DATE, DATE))
    return top


def _patch(content: bytes) -> KernelPatch:
    return KernelPatch("p.patch", content, Location("rack.yaml", 4, 13))


def test_a_changed_file_keeps_its_date_and_a_new_one_has_the_makefiles(source: Path) -> None:
    apply_patch(source, _patch(PATCH + b"--- /dev/null\n+++ b/x/y.c\n@@ -0,0 +1 @@\n+y\n"))
    assert (source / "net/tun.c").read_text() == "new\n"
    assert (source / "x/y.c").read_text() == "y\n"
    assert {int((source / one).stat().st_mtime) for one in ("net/tun.c", "x/y.c")} == {DATE}


def test_a_file_is_removed(source: Path) -> None:
    apply_patch(source, _patch(b"--- a/net/tun.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"))
    assert not (source / "net/tun.c").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PATCH.replace(b"old", b"odd"), "net/tun.c: the hunk of line 1 does not fit"),
        (PATCH.replace(b"tun.c", b"tap.c"), "net/tap.c: this source has no such file"),
        (b"--- /dev/null\n+++ b/Makefile\n@@ -0,0 +1 @@\n+y\n", "has such a file already"),
        (PATCH.replace(b"net/tun.c", b"link/tun.c"), "link/tun.c: it is a link"),
        (b"nothing\n", "it changes no file"),
    ],
)
def test_what_does_not_fit_is_an_error_with_its_place(
    source: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "outside").mkdir()
    (source / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ManifestError, match=reason) as caught:
        apply_patch(source, _patch(content))
    assert caught.value.where == "rack.yaml:4:13"


def test_a_manifest_names_patches_beside_it(tmp_path: Path) -> None:
    (tmp_path / "p.patch").write_bytes(PATCH)
    path = tmp_path / "rack.yaml"
    path.write_text("minbuild: 1\nkernel: {build: linux-source-6.12, patches: [p.patch]}\n")
    manifest = read_manifest(path, settings={}, components=(), trust=Trust(allows_code=True))
    (patch,) = manifest.kernel.patches
    assert (patch.name, patch.content) == ("p.patch", PATCH)
    assert str(tmp_path / "p.patch") in manifest.inputs
    with pytest.raises(ManifestError, match="not trusted to run code"):
        read_manifest(path, settings={}, components=(), trust=Trust())


def test_a_kernel_that_is_a_package_is_not_patched(tmp_path: Path) -> None:
    (tmp_path / "p.patch").write_bytes(PATCH)
    path = tmp_path / "rack.yaml"
    path.write_text("minbuild: 1\nkernel: {package: linux-image-amd64, patches: [p.patch]}\n")
    with pytest.raises(ManifestError, match="a kernel that is not built cannot be patched"):
        read_manifest(path, settings={}, components=(), trust=Trust(allows_code=True))
