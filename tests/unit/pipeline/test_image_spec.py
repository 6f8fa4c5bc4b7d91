"""What an image is told about itself."""

from dataclasses import replace

import pytest

from minbuild.errors import ManifestError
from minbuild.manifest.image_settings import DiskSettings, ImageFormat, ImageSettings
from minbuild.manifest.model import Component, KernelSettings, Manifest, Section
from minbuild.pipeline.image_spec import build_cmdline, render_os_release
from minbuild.pipeline.rootfs_checks import check_cmdline
from tests.support.footprints import HERE, MANIFEST


def told(*words: str, own: tuple[str, ...] = ("console=ttyS0", "quiet")) -> Manifest:
    component = Component("boot/init", Section.BOOT, "", HERE, cmdline=words)
    return replace(MANIFEST, kernel=KernelSettings("linux", own, HERE), components=(component,))


def test_the_manifests_words_are_the_last_of_the_command_line() -> None:
    manifest = told("panic=30", "console=tty0")
    assert build_cmdline(manifest) == "panic=30 console=tty0 console=ttyS0 quiet"


@pytest.mark.parametrize(
    ("arch", "options", "most"),
    [
        ("amd64", {}, 2047),
        ("riscv64", {}, 1023),
        ("s390x", {"COMMAND_LINE_SIZE": "896"}, 895),
        ("amd64", {"CMDLINE_BOOL": "y", "CMDLINE": "quiet"}, 2041),
        ("amd64", {"CMDLINE": "quiet"}, 2047),
    ],
)
def test_a_line_longer_than_the_kernel_reads_is_an_error(
    arch: str, options: dict[str, str], most: int
) -> None:
    fits = replace(told("a" * (most - 2), own=("b",)), arch=arch)
    check_cmdline(fits, options)
    longer = replace(told("a" * (most - 2), own=("bb",)), arch=arch)
    with pytest.raises(ManifestError, match="drops the end") as raised:
        check_cmdline(longer, options)
    assert (
        raised.value.fix
        == f"remove words: boot/init gives {most - 2:,} bytes, the manifest gives 2 bytes"
    )


def test_what_a_boot_loader_adds_counts() -> None:
    disk, pxe = DiskSettings(bios=True), (ImageFormat.UKI, ImageFormat.PXE)
    for image, who in (
        (ImageSettings(disk=disk), "34 that GRUB"),
        (ImageSettings(formats=pxe), "14 that iPXE"),
    ):
        with pytest.raises(ManifestError, match=f"{who} adds; the kernel of amd64 reads 2,047"):
            check_cmdline(replace(told("a" * 2035, own=()), image=image), {})


def test_words_that_a_boot_loader_changes_are_an_error() -> None:
    disk = ImageSettings(disk=DiskSettings(bios=True))
    check_cmdline(replace(told('dyndbg="file a +p; file b +p"'), image=disk), {})
    for word, mark in (("it's", "'"), ("a=b\\c", "\\\\"), ('a="b c"d', '"')):
        with pytest.raises(ManifestError, match=f"GRUB writes a backslash before {mark}"):
            check_cmdline(replace(told(word), image=disk), {})
    pxe = ImageSettings(formats=(ImageFormat.UKI, ImageFormat.PXE))
    check_cmdline(replace(told('dyndbg="file a +p; file b +p"'), image=pxe), {})
    for word in ('a="b ; c"', 'a="b  c"', "a=${net0/mac}", "#a", "||"):
        with pytest.raises(ManifestError, match=r"iPXE .* cannot hand over"):
            check_cmdline(replace(told(word), image=pxe), {})


def test_a_kernel_that_reads_no_other_line_is_an_error() -> None:
    with pytest.raises(ManifestError, match="CONFIG_CMDLINE_OVERRIDE"):
        check_cmdline(told(), {"CMDLINE_OVERRIDE": "y", "CMDLINE": "ro"})


def test_a_summary_cannot_break_out_of_os_release() -> None:
    text = render_os_release(replace(MANIFEST, summary='a "host"\nID=evil $(x) `y`')).decode()
    assert text.splitlines()[-1] == 'PRETTY_NAME="a \\"host\\" ID=evil \\$(x) \\`y\\`"'
    assert text.startswith("ID=minbuild\n")
    assert len(text.splitlines()) == 3
