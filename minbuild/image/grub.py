"""GRUB on a disk, for machines with a BIOS: it starts kernel and initramfs from the UKI on the ESP.

Source: GRUB 2.12, boot.S and diskboot.S (the sectors that each reads next), include/grub/i386/pc/
boot.h; the manual's "BIOS installation" (the BIOS boot partition of a GPT).
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
"""First sector of the BIOS boot partition, and the one after it: between table and 1 MiB."""
GRUB_CFG = "grub.cfg"
_IMAGES = RootPath("/usr/lib/grub/i386-pc")
_MODULES = ("biosdisk", "part_gpt", "fat", "loopback", "linux", "normal", "serial")
_FAILURE_MODULES = ("echo", "sleep", "reboot")
_BOOT_CODE_SIZE = 440
"""Bytes of code in the first sector; the partition table follows."""
_KERNEL_SECTOR, _DRIVE_CHECK = 0x5C, 0x66
_NOPS = b"\x90\x90"
"""Replace a jump: drive numbers below 0x80 are then corrected. Source: GRUB, util/setup.c."""
_CORE_REST = 0x1F4
"""Offset in the core image's first sector: the sector in which the rest starts."""
GRUB_ADDED_BYTES = len("BOOT_IMAGE=(uki)12345678+12345678 ")
"""Bytes that GRUB adds to a command line at most. Source: GRUB, loader/i386/linux.c."""
_SERIAL = re.compile(r"console=ttyS(\d)(?:,(\d+))?")

CONFIG_TEMPLATE = """\
# kernel and initramfs lie in {uki}, at these sectors of it: copy both files, or none
set gfxpayload=text
{serial}loopback uki $prefix/{uki}
linux (uki){linux} {cmdline}
initrd {microcode}(uki){initrd}
boot
echo 'the host cannot be started: is this {settings} the one that was made with {uki}?'
sleep 30
reboot
"""


def render_grub_config(parts: UkiParts, uki: Path, name: str) -> str:
    """Render grub.cfg, with the sectors of kernel and initramfs in the UKI `name` next to it.

    Raises: ToolError when the UKI does not contain them unchanged, on a sector boundary.
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
        microcode=(
            f"(uki){_find_block_list(data, parts.microcode, uki)} " if parts.microcode else ""
        ),
        cmdline=" ".join(
            _quote_word(_unquote_parameter(word)) for word in split_cmdline(parts.cmdline)
        ),
    )


def _find_block_list(data: bytes, part: Path, uki: Path) -> str:
    """Find the sectors of a part in the UKI, as GRUB's block list: FIRST+COUNT."""
    content = part.read_bytes()
    at = data.find(content[:4096])
    if at < 0 or at % SECTOR or data[at : at + len(content)] != content:
        raise ToolError(
            f"{part.name} does not start on a sector boundary of the UKI, as GRUB requires",
            where=str(uki),
            fix="leave out boot/bios, or lock another version of systemd-ukify",
        )
    return f"{at // SECTOR}+{-(-len(content) // SECTOR)}"


def find_grub_problem(word: str) -> str:
    """Find out why GRUB would change a word of the kernel's command line; "" when it does not.

    Source: GRUB, lib/cmdline.c: a backslash comes before each of these, which the kernel keeps.
    """
    character = next((mark for mark in "\\'\"" if mark in _unquote_parameter(word)), "")
    return f"GRUB writes a backslash before {character}" if character else ""


def _unquote_parameter(word: str) -> str:
    """Remove the quotes of a word; GRUB adds quotes to words with spaces itself."""
    parsed = parse_parameter(word)
    return parsed.name if parsed.value is None else f"{parsed.name}={parsed.value}"


def _quote_word(word: str) -> str:
    """Quote a word for GRUB's shell. Source: the manual, "Quoting"."""
    return "'" + word.replace("'", "'\\''") + "'"


def install_grub(output: Path, esp: int, folder: str, work: Path, toolbox: Toolbox) -> None:
    """Write GRUB into a disk's first sector and its BIOS boot partition.

    `esp` is the number of the partition with grub.cfg in `folder`, `work` a working directory.
    Raises: ToolError when GRUB's core image cannot be made or is too large.
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
    limit = (END_SECTOR - FIRST_SECTOR) * SECTOR
    if len(data) > limit:
        raise ToolError(
            f"GRUB's core image is {len(data)} bytes; its partition has {limit}",
            where=str(output),
            fix="leave out boot/bios, or lock another version of grub-pc-bin",
        )
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
    """Whether a grub.cfg starts exactly this UKI's kernel and initramfs with its command line.

    `uki`: its name in the directory of grub.cfg; `spans`: start and size of the sections .linux,
    .initrd and, where it has one, .ucode.
    """
    match = _compile_config_pattern(uki).fullmatch(config)
    if match is None:
        return False
    if (".ucode" in spans) != (match["microcode"] is not None):
        return False
    for part, section in (("linux", ".linux"), ("initrd", ".initrd"), ("microcode", ".ucode")):
        if section not in spans:
            continue
        start, size = spans[section]
        if (int(match[part]) * SECTOR, int(match[f"{part}_count"])) != (start, -(-size // SECTOR)):
            return False
    try:
        cmdline_words = shlex.split(match["cmdline"])
    except ValueError:
        return False
    return cmdline_words == [_unquote_parameter(word) for word in split_cmdline(cmdline)]


def _compile_config_pattern(uki: str) -> re.Pattern[str]:
    """Compile a pattern of what `render_grub_config` writes."""
    patterns = {
        "uki": re.escape(uki),
        "settings": re.escape(GRUB_CFG),
        "serial": r"(?:serial --unit=\d+ --speed=\d+\nterminal_output console serial\n)?",
        "linux": r"(?P<linux>\d+)\+(?P<linux_count>\d+)",
        "initrd": r"(?P<initrd>\d+)\+(?P<initrd_count>\d+)",
        "microcode": r"(?:\(uki\)(?P<microcode>\d+)\+(?P<microcode_count>\d+) )?",
        "cmdline": r"(?P<cmdline>[^\n]*)",
    }
    text = re.sub(r"\\\{(\w+)\\\}", r"{\1}", re.escape(CONFIG_TEMPLATE))
    return re.compile(re.sub(r"\{(\w+)\}", lambda match: patterns[match[1]], text))
