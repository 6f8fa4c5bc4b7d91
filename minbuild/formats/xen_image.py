"""Xen's unified image: hypervisor, its settings, the kernel of domain 0 and its initramfs in one PE.

Source: Xen, docs/misc/efi.pandoc ("Unified Xen kernel image"), xen/common/efi/boot.c (efi_start,
pre_parse, get_value), xen/common/efi/pe.c; Microsoft PE Format.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.formats.pe import FIX, PE32_PLUS, PeSection, read_sections, require_known_bytes

CONFIG, KERNEL, RAMDISK, UCODE, POLICY = ".config", ".kernel", ".ramdisk", ".ucode", ".xsm"
ADDED_SECTIONS = (CONFIG, KERNEL, RAMDISK, UCODE, POLICY)
"""What Xen looks for in its own image; the first of a name counts."""
DEFAULT_SECTION = "xen"
"""The part of our settings that is started."""
PAGE = 4096
_DISCARDABLE, _INITIALIZED_READABLE = 0x02000000, 0x40000040
"""IMAGE_SCN_MEM_DISCARDABLE; IMAGE_SCN_CNT_INITIALIZED_DATA with IMAGE_SCN_MEM_READ."""
_ROW = struct.Struct("<8sIIIIIIHHI")
_BLANKS = b" \xa0"


@dataclass(frozen=True, slots=True)
class XenImage:
    """What Xen takes of a unified image."""

    xen: bytes
    """Xen alone: the bytes of `strip_xen` when it was made by `join_xen_image`."""
    kernel: bytes
    ramdisk: bytes
    options: tuple[str, ...]
    """Xen's own command line, the default's first, then those of other parts that differ."""
    cmdlines: tuple[str, ...]
    """The same of domain 0's kernel."""
    others: Mapping[str, int]
    """Bytes of further sections that Xen reads (microcode, a policy), by name."""


def is_xen_image(names: Iterable[str]) -> bool:
    """Tell a unified image of Xen by the names of its sections; a UKI has .linux instead."""
    section_names = set(names)
    return KERNEL in section_names and ".linux" not in section_names


def strip_xen(data: bytes, where: str) -> bytes:
    """Leave out what nothing reads at boot: sections of the debugger, and all symbols.

    Raises: ToolError when it is no EFI program of Xen.
    """
    return _write_pe(data, _list_kept(data, where), where)


def join_xen_image(xen: bytes, config: bytes, kernel: bytes, ramdisk: bytes, where: str) -> bytes:
    """Put Xen, its settings and domain 0 into one EFI program; equal input gives equal bytes.

    Raises: ToolError when `xen` is no EFI program.
    """
    added = {CONFIG: config, KERNEL: kernel, RAMDISK: ramdisk}
    kept = _list_kept(xen, where)
    address = max(_round_up(row.address + row.size, PAGE) for row in kept)
    rows = [*kept]
    for name, content in added.items():
        if content:
            rows.append(_Row(name.encode(), len(content), address, _INITIALIZED_READABLE, content))
            address += _round_up(len(content), PAGE)
    return _write_pe(xen, rows, where)


def render_config(options: str, cmdline: str) -> bytes:
    """Render the settings of one system; names of files are not used, since all is in the image."""
    return (
        f"[global]\ndefault={DEFAULT_SECTION}\n\n[{DEFAULT_SECTION}]\n"
        f"options={options}\nkernel=vmlinuz {cmdline}\nramdisk=initrd\n"
    ).encode()


def find_config_problem(word: str) -> str:
    """Find out why Xen's settings cannot hold a word of a command line; "" when they can."""
    return "# begins a comment" if "#" in word else ""


def read_xen_image(data: bytes, where: str) -> XenImage:
    """Take what Xen would, whichever part of its settings is chosen.

    Raises: ToolError when a part lacks, when Xen would read files beside the image, or when it holds
    bytes that nobody can account for.
    """
    sections = read_sections(data, where)
    require_known_bytes(data, sections, where)
    by_name: dict[str, PeSection] = {}
    for section in sections:
        by_name.setdefault(section.name, section)
    for name in (CONFIG, KERNEL, RAMDISK):
        if name not in by_name or not by_name[name].data:
            raise ToolError(f"Xen's image has no section {name}", where=where, fix=FIX)
    for name in ADDED_SECTIONS:
        same_name = [section for section in sections if section.name == name]
        if len(same_name) > 1:
            raise _make_error(f"it has two sections {name}", where)
        if same_name and same_name[0].size > len(same_name[0].data):
            raise _make_error(f"section {name} says that it is longer than it is", where)
    parts = _read_parts(by_name[CONFIG].data, where)
    for values in parts:
        missing = [f"{key}={values[key]}" for key in ("ucode", "xsm") if key in values and f".{key}" not in by_name]  # fmt: skip
        if missing:
            raise _make_error(f"Xen would read a file beside it: {missing[0]}", where)
    return XenImage(
        xen=_write_pe(data, _list_kept(data, where), where),
        kernel=by_name[KERNEL].data,
        ramdisk=by_name[RAMDISK].data,
        options=tuple(dict.fromkeys(values.get("options", "") for values in parts)),
        cmdlines=tuple(dict.fromkeys(_drop_first_word(values["kernel"]) for values in parts)),
        others={name: len(by_name[name].data) for name in (UCODE, POLICY) if name in by_name},
    )


def _drop_first_word(text: str) -> str:
    return text.partition(" ")[2].strip()


def _read_parts(config: bytes, where: str) -> list[dict[str, str]]:
    """The settings of every system that may be chosen, the default's first, with the global ones.

    Raises: ToolError when Xen would go on to another file, or starts nothing.
    """
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in _iter_lines(config):
        if line.startswith("["):
            name = line[1:].partition("]")[0]
            # of a name that comes twice Xen reads the first
            current = {} if name in sections else sections.setdefault(name, {})
            continue
        key, equals, value = line.partition("=")
        if equals:
            current.setdefault(key, value.lstrip())
    common = sections.pop("global", {})
    default = common.get("default")
    if "chain" in common:
        raise _make_error(f"Xen would read a file beside it: chain={common['chain']}", where)
    if default not in sections or "kernel" not in sections[default]:
        raise _make_error("its settings name no default that starts a kernel", where)
    systems = [sections[default]]
    systems += [one for name, one in sections.items() if name != default and "kernel" in one]
    shared = {key: value for key, value in common.items() if key == "ucode"}
    return [shared | one for one in systems]


def _iter_lines(config: bytes) -> Iterator[str]:
    """The lines that Xen sees. Source: pre_parse: any control character ends one, # begins a comment."""
    for line in re.split(rb"[\x00-\x1f\x7f]", config):
        text = line.partition(b"#")[0].lstrip(_BLANKS)
        if text and not text.startswith(b";"):
            yield text.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Row:
    """One section with its content as it is to be written."""

    name: bytes
    size: int
    """Bytes in memory."""
    address: int
    flags: int
    content: bytes


def _list_kept(data: bytes, where: str) -> list[_Row]:
    """Xen's own sections, without those that were added and those that nothing reads at boot."""
    names = [one.name for one in read_sections(data, where)]
    (offset,) = struct.unpack_from("<I", data, 0x3C)
    _, _, symbols, symbol_count, optional = struct.unpack_from("<HIIIH", data, offset + 6)
    table = offset + 24 + optional
    kept = []
    for number, text in enumerate(names):
        name, size, address, stored, start, *_, flags = _ROW.unpack_from(data, table + 40 * number)
        if text in ADDED_SECTIONS or (flags & _DISCARDABLE and text != ".reloc"):
            continue
        if text.startswith("/"):
            name = _read_long_name(data, symbols + 18 * symbol_count, text)
            if name in map(str.encode, ADDED_SECTIONS):
                raise _make_error(f"a section of Xen's own is called {text}", where)
        content = data[start : start + min(stored, size)] if start else b""
        kept.append(_Row(name, size, address, flags, content))
    if not kept:
        raise _make_error("it has no section of its own", where)
    return kept


def _read_long_name(data: bytes, strings: int, text: str) -> bytes:
    """A name in the table of strings, cut to what a header holds. Source: PE Format, Section Table."""
    digits = text[1:]
    start = strings + int(digits) if digits.isascii() and digits.isdecimal() else len(data)
    return data[start : start + 256].partition(b"\0")[0][:8]


def _write_pe(data: bytes, rows: Sequence[_Row], where: str) -> bytes:
    """Write a PE file with the headers of `data` and these sections, without symbols or signature."""
    (offset,) = struct.unpack_from("<I", data, 0x3C)
    machine, _, stamp, _, _, optional, flags = struct.unpack_from("<HHIIIHH", data, offset + 4)
    table = offset + 24 + optional
    kind, file_alignment = struct.unpack_from("<H34xI", data, offset + 24)
    if kind != PE32_PLUS or optional < 112 or not 0 < file_alignment <= PAGE:
        raise _make_error("its header is not that of an EFI program of 64 bits", where)
    position = headers = _round_up(table + 40 * len(rows), file_alignment)
    if any(row.address < headers for row in rows):
        raise _make_error("there is no room for the headers of more sections", where)
    entries, body = bytearray(), bytearray()
    for row in rows:
        stored = _round_up(len(row.content), file_alignment)
        start = position if stored else 0
        entries += _ROW.pack(row.name, row.size, row.address, stored, start, 0, 0, 0, 0, row.flags)
        body += row.content.ljust(stored, b"\0")
        position += stored
    head = bytearray(data[:table])
    struct.pack_into("<HHIIIHH", head, offset + 4, machine, len(rows), stamp, 0, 0, optional, flags)
    memory = max(_round_up(row.address + row.size, PAGE) for row in rows)
    # SizeOfImage, SizeOfHeaders, CheckSum; firmware does not look at the sum
    struct.pack_into("<III", head, offset + 24 + 56, memory, headers, 0)
    _clear_directories(head, offset + 24, optional)
    return bytes(head + entries).ljust(headers, b"\0") + bytes(body)


def _clear_directories(head: bytearray, start: int, optional: int) -> None:
    """Clear the places of a signature and of debug data, neither of which is written."""
    (count,) = struct.unpack_from("<I", head, start + 108)
    for number in (4, 6):  # Certificate Table, Debug
        offset = 112 + 8 * number
        if number < count and offset + 8 <= optional:
            struct.pack_into("<II", head, start + offset, 0, 0)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _make_error(problem: str, where: str) -> ToolError:
    return ToolError(f"Xen's image cannot be measured: {problem}", where=where, fix=FIX)
