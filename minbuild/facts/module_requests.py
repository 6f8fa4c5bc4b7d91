"""Requests for modules in the code of a kernel module, read from its calls of request_module.

A call of `request_module("crc32c")` or `crypto_alloc_shash("crc32c", …)` is two relocations: of the
call, and shortly before it of the string. A name that is made at run time ("nls_%s") is no string;
what modules ask for that way is a table of `minbuild/resolve/builtin_tables.py`.
Source: Linux include/linux/kmod.h, crypto/api.c (crypto_larval_lookup: "crypto-%s"),
fs/nls/nls_base.c ("nls_%s"); elf(5), "Relocation entries"; the psABIs of x86-64 and AArch64.
"""

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from minbuild.errors import MalformedFile
from minbuild.formats import elf_file
from minbuild.formats.elf_file import ElfFile

SHT_RELA = 4
MAX_DISTANCE = 64
"""Bytes of code between the string and the call that takes it."""
EM_X86_64, EM_AARCH64 = 62, 183
_ADDEND_SHIFTS: Mapping[int, Mapping[int, int]] = {
    EM_X86_64: {1: 0, 2: 4, 4: 4, 10: 0, 11: 0},  # 64, PC32, PLT32, 32, 32S
    EM_AARCH64: {277: 0, 282: 0, 283: 0},  # ADD_ABS_LO12_NC, JUMP26, CALL26
}
"""Machine → type of a relocation → what its addend lacks to the place that is meant."""
MAX_TEXT = 128
"""Bytes that are read of a string: no name is longer.

Source: Linux include/linux/crypto.h (CRYPTO_MAX_ALG_NAME); of a module 64 (MODULE_NAME_LEN).
"""
_RELOCATION, _SYMBOL = "QQq", "IBBHQQ"
_CRYPTO = re.compile(r"crypto_alloc_\w+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_ALGORITHM = re.compile(r"[a-z0-9][a-z0-9_-]*")
UPPER_LAYERS: Mapping[str, str] = {
    "hid_allocate_device": "hid:b0003g0001v00000000p00000000",
    "mmc_alloc_host": "mmc:block",
    "scsi_host_alloc": "scsi:t-0x00",
}
"""Function by which a driver announces devices → the device that the kernel then finds: keyboard, disk.

Source: Linux drivers/hid/hid-core.c (hid_uevent), drivers/mmc/core/bus.c (mmc_bus_uevent),
drivers/scsi/scsi_sysfs.c (scsi_bus_uevent): the alias by which the new device's driver is loaded.
"""


def read_requests(elf: ElfFile, wanted: Collection[str]) -> tuple[str, ...]:
    """List aliases that a module's code asks for; sorted, without repeats.

    `wanted`: the symbols that it imports. Raises: MalformedFile.
    """
    functions = frozenset(
        name
        for name in wanted
        if name in ("__request_module", "load_nls") or _CRYPTO.fullmatch(name)
    )
    requests = {UPPER_LAYERS[name] for name in wanted if name in UPPER_LAYERS}
    shifts = _ADDEND_SHIFTS.get(elf.machine)
    if functions and shifts is not None and elf.bits == 64:
        for function, text in _list_calls(elf, functions, shifts):
            requests.update(_make_aliases(function, text))
    return tuple(sorted(requests))


def _make_aliases(function: str, text: str) -> Iterator[str]:
    """The aliases that a call means; none for text that is filled in when the code runs."""
    if "%" in text:
        return
    if function == "__request_module":
        if _NAME.fullmatch(text):
            yield text
    elif function == "load_nls":
        yield f"nls_{text}"
    else:  # hmac(sha256): the template and what it is made of
        yield from (f"crypto-{name}" for name in _ALGORITHM.findall(text))


def _list_calls(
    elf: ElfFile, functions: frozenset[str], shifts: Mapping[int, int]
) -> Iterator[tuple[str, str]]:
    """List calls of these functions, each with the string that was taken last before it."""
    symbols_by_table: dict[int, _Symbols] = {}
    for table in elf.sections:
        if table.kind != SHT_RELA or table.info >= len(elf.sections):
            continue
        if not elf.sections[table.info].flags & elf_file.SHF_EXECINSTR:
            continue
        if table.link not in symbols_by_table:
            symbols_by_table[table.link] = _Symbols(elf, table.link, functions)
        symbols = symbols_by_table[table.link]
        recent: deque[tuple[int, str]] = deque(maxlen=4)
        for offset, info, addend in sorted(elf.unpack_rows(_RELOCATION, table.offset, table.size)):
            index = info >> 32
            text = symbols.read_text(index, addend + shifts.get(info & 0xFFFFFFFF, 0))
            if text:
                recent.append((offset, text))
            elif index in symbols.functions:
                name = symbols.functions[index]
                yield from ((name, one) for at, one in recent if offset - at <= MAX_DISTANCE)
                recent.clear()


class _Symbols:
    """A symbol table of a module, as far as calls and strings need it."""

    def __init__(self, elf: ElfFile, number: int, functions: frozenset[str]) -> None:
        """`number`: of the table's section. Raises: MalformedFile."""
        if number >= len(elf.sections):
            raise MalformedFile(f"its relocations name a section that it does not have ({number})")
        table = elf.sections[number]
        strings = elf.sections[table.link] if table.link < len(elf.sections) else None
        names = elf.read(strings.offset, strings.size) if strings is not None else b""
        self._elf = elf
        self._rows: Sequence[tuple[int, ...]] = list(
            elf.unpack_rows(_SYMBOL, table.offset, table.size)
        )
        self._contents: dict[int, bytes] = {}
        self.functions = {
            index: name
            for index, row in enumerate(self._rows)
            if row[3] == elf_file.SHN_UNDEF
            and (name := elf.read_name(names, row[0]).decode("ascii", "replace")) in functions
        }
        """Index of an undefined symbol → which of `functions` it is."""

    def read_text(self, index: int, addend: int) -> str:
        """The string that a symbol and an addend mean; "" where they mean something else."""
        _, _, _, number, value, _ = self._rows[index] if index < len(self._rows) else (0,) * 6
        section = self._elf.sections[number] if number < len(self._elf.sections) else None
        offset = value + addend
        if section is None or not section.name.startswith(b".rodata"):
            return ""
        if not 0 <= offset < section.size:
            return ""
        if number not in self._contents:
            self._contents[number] = self._elf.read(section.offset, section.size)
        raw = self._elf.read_name(self._contents[number], offset, MAX_TEXT)
        return raw.decode("ascii") if raw.isascii() and raw.decode("ascii").isprintable() else ""
