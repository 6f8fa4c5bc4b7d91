"""GRUB on a disk: what a BIOS needs to start kernel and initramfs out of the UKI on the ESP.

Source: GRUB 2.12, boot.S and diskboot.S (where each says what it reads next), include/grub/i386/pc/
boot.h; the manual's "BIOS installation" (a partition of its own on a GPT).
"""

import re
import shlex
import struct
from collections.abc import Mapping
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.image.fat import SECTOR
from minbuild.image.uki import Parts
from minbuild.manifest.cmdline import parameter, split
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox

TOOL = "grub-mkimage"
TYPE = "21686148-6449-6e6f-744e-656564454649"
"""Type of a BIOS boot partition. Source: the manual, as above."""
NAME = "BIOS boot"
FIRST, END = 40, 2048
"""Sectors that the partition lies between: after the table, before what begins at 1 MiB."""
SETTINGS = "grub.cfg"
_IMAGES = RootPath("/usr/lib/grub/i386-pc")
_MODULES = ("biosdisk", "part_gpt", "fat", "loopback", "linux", "normal", "serial")
_MODULES_OF_FAILURE = ("echo", "sleep", "reboot")
_CODE = 440
"""Bytes of the first sector that are code; behind them the disk's own table begins."""
_KERNEL_SECTOR, _DRIVE_CHECK = 0x5C, 0x66
_NOTHING = b"\x90\x90"
"""In place of a jump: a drive number below 0x80 is not believed. Source: GRUB, util/setup.c."""
_NEXT = 0x1F4
"""Of the core's first sector: where the rest lies."""
ADDED = len("BOOT_IMAGE=(uki)12345678+12345678 ")
"""Bytes that GRUB itself adds to a command line, at most. Source: GRUB, loader/i386/linux.c."""
_SERIAL = re.compile(r"console=ttyS(\d)(?:,(\d+))?")

CONFIG = """\
# kernel and initramfs lie in {uki}, at these sectors of it: copy both files, or none
set gfxpayload=text
{serial}loopback uki $prefix/{uki}
linux (uki){linux} {cmdline}
initrd (uki){initrd}
boot
echo 'the host cannot be started: is this {settings} the one that was made with {uki}?'
sleep 30
reboot
"""


def settings(parts: Parts, uki: Path, name: str) -> str:
    """What GRUB is told: where in the UKI, which lies beside as `name`, kernel and initramfs are.

    Raises: ToolError when they do not lie there as they are.
    """
    data = uki.read_bytes()
    consoles = [*_SERIAL.finditer(parts.cmdline)]
    serial = consoles[-1] if consoles else None
    lines = ""
    if serial:
        lines = f"serial --unit={serial[1]} --speed={serial[2] or 9600}\n"
        lines += "terminal_output console serial\n"
    return CONFIG.format(
        uki=name,
        settings=SETTINGS,
        serial=lines,
        linux=_span(data, parts.linux, uki),
        initrd=_span(data, parts.initrd, uki),
        cmdline=" ".join(_quoted(_bare(word)) for word in split(parts.cmdline)),
    )


def _span(data: bytes, part: Path, uki: Path) -> str:
    """Where a part lies in the UKI, as GRUB's list of blocks: FIRST+COUNT."""
    whole = part.read_bytes()
    at = data.find(whole[:4096])
    if at < 0 or at % SECTOR or data[at : at + len(whole)] != whole:
        raise ToolError(
            f"{part.name} does not lie in whole sectors of the UKI, as GRUB wants it",
            where=str(uki),
            fix="leave out boot/bios, or lock another version of systemd-ukify",
        )
    return f"{at // SECTOR}+{-(-len(whole) // SECTOR)}"


def fault(word: str) -> str:
    """Why GRUB would change a word of the kernel's command line; "" when it does not.

    Source: GRUB, lib/cmdline.c: a backslash comes before each of these, which the kernel keeps.
    """
    found = next((mark for mark in "\\'\"" if mark in _bare(word)), "")
    return f"GRUB writes a backslash before {found}" if found else ""


def _bare(word: str) -> str:
    """A word without its quotes: GRUB puts one with blanks into quotes, which the kernel removes."""
    read = parameter(word)
    return read.name if read.value is None else f"{read.name}={read.value}"


def _quoted(word: str) -> str:
    """A word of GRUB's shell. Source: the manual, "Quoting"."""
    return "'" + word.replace("'", "'\\''") + "'"


def install(output: Path, esp: int, folder: str, work: Path, toolbox: Toolbox) -> None:
    """Write GRUB into a disk's first sector and its BIOS boot partition.

    `esp` is the number of the partition whose `folder` holds grub.cfg, `work` a directory.
    Raises: ToolError when GRUB's core cannot be made or is too large.
    """
    core = work / "core.img"
    words: list[str | Path] = [
        *("-O", "i386-pc"),
        *("-d", toolbox.path(_IMAGES)),
        *("-p", f"(,gpt{esp})/{folder}"),
        *("-o", core),
        *_MODULES,
        *_MODULES_OF_FAILURE,
    ]
    toolbox.run(TOOL, words, what="making the boot loader for a BIOS")
    data = bytearray(core.read_bytes())
    if len(data) > (END - FIRST) * SECTOR:
        fix = "leave out boot/bios, or lock another version of grub-pc-bin"
        raise ToolError(f"GRUB's core has {len(data)} bytes, too many", where=str(output), fix=fix)
    struct.pack_into("<Q", data, _NEXT, FIRST + 1)
    code = bytearray(toolbox.path(RootPath(f"{_IMAGES}/boot.img")).read_bytes()[:_CODE])
    struct.pack_into("<Q", code, _KERNEL_SECTOR, FIRST)
    code[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NOTHING
    with output.open("r+b") as disk:
        disk.write(code)
        disk.seek(FIRST * SECTOR)
        disk.write(data)


def is_of(config: str, uki: str, spans: Mapping[str, tuple[int, int]], cmdline: str) -> bool:
    """Whether GRUB's settings are those that start this UKI's kernel, initramfs and command line.

    `uki`: its name beside the settings; `spans`: where .linux and .initrd begin in it, and their
    bytes.
    """
    found = _settings(uki).fullmatch(config)
    if found is None:
        return False
    for part in ("linux", "initrd"):
        start, size = spans[f".{part}"]
        if (int(found[part]) * SECTOR, int(found[f"{part}_count"])) != (start, -(-size // SECTOR)):
            return False
    try:
        words = shlex.split(found["cmdline"])
    except ValueError:
        return False
    return words == [_bare(word) for word in split(cmdline)]


def _settings(uki: str) -> re.Pattern[str]:
    """What `settings` writes, as a pattern."""
    spots = {
        "uki": re.escape(uki),
        "settings": re.escape(SETTINGS),
        "serial": r"(?:serial --unit=\d+ --speed=\d+\nterminal_output console serial\n)?",
        "linux": r"(?P<linux>\d+)\+(?P<linux_count>\d+)",
        "initrd": r"(?P<initrd>\d+)\+(?P<initrd_count>\d+)",
        "cmdline": r"(?P<cmdline>[^\n]*)",
    }
    text = re.sub(r"\\\{(\w+)\\\}", r"{\1}", re.escape(CONFIG))
    return re.compile(re.sub(r"\{(\w+)\}", lambda found: spots[found[1]], text))
