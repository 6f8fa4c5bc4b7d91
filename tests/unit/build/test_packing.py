"""What an image is told about itself."""

from dataclasses import replace

from minbuild.build.packing import cmdline, os_release
from minbuild.manifest.types import Component, Kernel, Section
from tests.support.footprints import HERE, MANIFEST


def test_the_command_line_holds_each_word_once_the_manifests_first() -> None:
    component = Component(
        "boot/init", Section.BOOT, "", HERE, cmdline=("panic=30", "console=ttyS0")
    )
    manifest = replace(
        MANIFEST, kernel=Kernel("linux", ("console=ttyS0", "quiet"), HERE), components=(component,)
    )
    assert cmdline(manifest) == "console=ttyS0 quiet panic=30"


def test_a_summary_cannot_break_out_of_os_release() -> None:
    text = os_release(replace(MANIFEST, summary='a "host"\nID=evil $(x) `y`')).decode()
    assert text.splitlines()[-1] == 'PRETTY_NAME="a \\"host\\" ID=evil \\$(x) \\`y\\`"'
    assert text.startswith("ID=minbuild\n")
    assert len(text.splitlines()) == 3
