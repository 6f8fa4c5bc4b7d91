"""An image that UEFI starts from a CD, and from a stick that it was copied to.

Source: UEFI 2.10, 13.3.2.1 (El Torito); ISO 9660. The ESP lies in the image once: the boot catalogue
and the partition table both point there.
"""

from collections.abc import Mapping
from pathlib import Path

from minbuild.image.disk import ESP, LABEL, Identity, make_esp
from minbuild.toolbox.toolbox import Toolbox


def make_iso(
    files: Mapping[str, Path], identity: Identity, output: Path, work: Path, toolbox: Toolbox
) -> None:
    """Write an image whose ESP holds `files`, by their place in it.

    Raises: ToolError when a tool fails.
    """
    esp, empty = work / "esp.img", work / "iso"
    make_esp(files, identity, esp, toolbox)
    empty.mkdir()
    epoch = toolbox.environment()["SOURCE_DATE_EPOCH"]
    words: list[str | Path] = [
        *("-no_rc", "-as", "mkisofs", "-quiet", "-volid", LABEL, "-rational-rock"),
        # the directory's times and the partitions' identifiers would follow from the clock; -rational-rock hides who builds
        *("--set_all_file_dates", f"={epoch}", "--gpt_disk_guid", identity.guid("iso")),
        *("-append_partition", "2", ESP, esp, "-appended_part_as_gpt"),
        *("-e", "--interval:appended_partition_2:all::", "-no-emul-boot"),
        *("-output", output, empty),
    ]
    toolbox.run("xorriso", words, what=f"writing {output.name}")
