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
from minbuild.image.disk_layout import SECTOR
from minbuild.image.ukify import UkiParts
from minbuild.manifest.kernel_cmdline import parse_parameter, split_cmdline
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox

GRUB_TOOL = "grub-mkimage"
BIOS_PARTITION_TYPE = "21686148-6449-6e6f-744e-656564454649"
"""Type of a BIOS boot partition. Source: the manual, as above."""
BIOS_PARTITION_NAME = "BIOS boot"
FIRST_SECTOR, END_SECTOR = 40, 2048
"""Sectors that the partition lies between: after the table, before what begins at 1 MiB."""
GRUB_CFG = "grub.cfg"
_IMAGES = RootPath("/usr/lib/grub/i386-pc")
_MODULES = ("biosdisk", "part_gpt", "fat", "loopback", "linux", "normal", "serial")
_FAILURE_MODULES = ("echo", "sleep", "reboot")
_BOOT_CODE_SIZE = 440
"""Bytes of the first sector that are code; behind them the disk's own table begins."""
_KERNEL_SECTOR, _DRIVE_CHECK = 0x5C, 0x66
_NOPS = b"\x90\x90"
"""In place of a jump: a drive number below 0x80 is not believed. Source: GRUB, util/setup.c."""
_CORE_REST = 0x1F4
"""Of the core's first sector: where the rest lies."""
GRUB_ADDED_BYTES = len("BOOT_IMAGE=(uki)12345678+12345678 ")
"""Bytes that GRUB itself adds to a command line, at most. Source: GRUB, loader/i386/linux.c."""
_SERIAL = re.compile(r"console=ttyS(\d)(?:,(\d+))?")

CONFIG_TEMPLATE = """\
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


def render_grub_config(parts: UkiParts, uki: Path, name: str) -> str:
    """What GRUB is told: where in the UKI, which lies beside as `name`, kernel and initramfs are.

    Raises: ToolError when they do not lie there as they are.
    """
    data = uki.read_bytes()
    consoles = [*_SERIAL.finditer(parts.cmdline)]
    serial = consoles[-1] if consoles else None
    serial_lines = ""
    if serial:
        serial_lines = f"serial --unit={serial[1]} --speed={serial[2] or 9600}\n"
        serial_lines += "terminal_output console serial\n"
    return CONFIG_TEMPLATE.format(
        uki=name,
        settings=GRUB_CFG,
        serial=serial_lines,
        linux=_find_block_list(data, parts.linux, uki),
        initrd=_find_block_list(data, parts.initrd, uki),
        cmdline=" ".join(
            _quote_word(_unquote_parameter(word)) for word in split_cmdline(parts.cmdline)
        ),
    )


def _find_block_list(data: bytes, part: Path, uki: Path) -> str:
    """Where a part lies in the UKI, as GRUB's list of blocks: FIRST+COUNT."""
    content = part.read_bytes()
    at = data.find(content[:4096])
    if at < 0 or at % SECTOR or data[at : at + len(content)] != content:
        raise ToolError(
            f"{part.name} does not lie in whole sectors of the UKI, as GRUB wants it",
            where=str(uki),
            fix="leave out boot/bios, or lock another version of systemd-ukify",
        )
    return f"{at // SECTOR}+{-(-len(content) // SECTOR)}"


def find_grub_problem(word: str) -> str:
    """Why GRUB would change a word of the kernel's command line; "" when it does not.

    Source: GRUB, lib/cmdline.c: a backslash comes before each of these, which the kernel keeps.
    """
    character = next((mark for mark in "\\'\"" if mark in _unquote_parameter(word)), "")
    return f"GRUB writes a backslash before {character}" if character else ""


def _unquote_parameter(word: str) -> str:
    """A word without its quotes: GRUB puts one with blanks into quotes, which the kernel removes."""
    parsed = parse_parameter(word)
    return parsed.name if parsed.value is None else f"{parsed.name}={parsed.value}"


def _quote_word(word: str) -> str:
    """A word of GRUB's shell. Source: the manual, "Quoting"."""
    return "'" + word.replace("'", "'\\''") + "'"


def install_grub(output: Path, esp: int, folder: str, work: Path, toolbox: Toolbox) -> None:
    """Write GRUB into a disk's first sector and its BIOS boot partition.

    `esp` is the number of the partition whose `folder` holds grub.cfg, `work` a directory.
    Raises: ToolError when GRUB's core cannot be made or is too large.
    """
    core = work / "core.img"
    args: list[str | Path] = [
        *("-O", "i386-pc"),
        *("-d", toolbox.find_path(_IMAGES)),
        *("-p", f"(,gpt{esp})/{folder}"),
        *("-o", core),
        *_MODULES,
        *_FAILURE_MODULES,
    ]
    toolbox.run(GRUB_TOOL, args, purpose="making the boot loader for a BIOS")
    data = bytearray(core.read_bytes())
    if len(data) > (END_SECTOR - FIRST_SECTOR) * SECTOR:
        fix = "leave out boot/bios, or lock another version of grub-pc-bin"
        raise ToolError(f"GRUB's core has {len(data)} bytes, too many", where=str(output), fix=fix)
    struct.pack_into("<Q", data, _CORE_REST, FIRST_SECTOR + 1)
    code = bytearray(
        toolbox.find_path(RootPath(f"{_IMAGES}/boot.img")).read_bytes()[:_BOOT_CODE_SIZE]
    )
    struct.pack_into("<Q", code, _KERNEL_SECTOR, FIRST_SECTOR)
    code[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NOPS
    with output.open("r+b") as disk:
        disk.write(code)
        disk.seek(FIRST_SECTOR * SECTOR)
        disk.write(data)


def is_grub_config_of(
    config: str, uki: str, spans: Mapping[str, tuple[int, int]], cmdline: str
) -> bool:
    """Whether GRUB's settings are those that start this UKI's kernel, initramfs and command line.

    `uki`: its name beside the settings; `spans`: where .linux and .initrd begin in it, and their
    bytes.
    """
    match = _compile_config_pattern(uki).fullmatch(config)
    if match is None:
        return False
    for part in ("linux", "initrd"):
        start, size = spans[f".{part}"]
        if (int(match[part]) * SECTOR, int(match[f"{part}_count"])) != (start, -(-size // SECTOR)):
            return False
    try:
        cmdline_words = shlex.split(match["cmdline"])
    except ValueError:
        return False
    return cmdline_words == [_unquote_parameter(word) for word in split_cmdline(cmdline)]


def _compile_config_pattern(uki: str) -> re.Pattern[str]:
    """What `settings` writes, as a pattern."""
    patterns = {
        "uki": re.escape(uki),
        "settings": re.escape(GRUB_CFG),
        "serial": r"(?:serial --unit=\d+ --speed=\d+\nterminal_output console serial\n)?",
        "linux": r"(?P<linux>\d+)\+(?P<linux_count>\d+)",
        "initrd": r"(?P<initrd>\d+)\+(?P<initrd_count>\d+)",
        "cmdline": r"(?P<cmdline>[^\n]*)",
    }
    text = re.sub(r"\\\{(\w+)\\\}", r"{\1}", re.escape(CONFIG_TEMPLATE))
    return re.compile(re.sub(r"\{(\w+)\}", lambda match: patterns[match[1]], text))
