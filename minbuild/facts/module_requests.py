"""Requests for modules in the code of a kernel module, read from its calls of request_module.

A call of `request_module("crc32c")` or `crypto_alloc_shash("crc32c", …)` is two relocations: of the
call, and shortly before it of the string. A name that is made at run time ("nls_%s") is no string;
what modules ask for that way is a table of `minbuild/resolve/builtin_tables.py`.
Source: Linux include/linux/kmod.h, crypto/api.c (crypto_larval_lookup: "crypto-%s"),
fs/nls/nls_base.c ("nls_%s"); elf(5), "Relocation entries"; the psABIs of x86-64 and AArch64.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from minbuild.formats import elf_file
from minbuild.formats.elf_file import ElfFile, ElfSection

SHT_RELA = 4
MAX_DISTANCE = 64
"""Bytes of code between the string and the call that takes it."""
EM_X86_64, EM_AARCH64 = 62, 183
_ADDEND_SHIFTS: Mapping[int, Mapping[int, int]] = {
    EM_X86_64: {1: 0, 2: 4, 4: 4, 10: 0, 11: 0},  # 64, PC32, PLT32, 32, 32S
    EM_AARCH64: {277: 0, 282: 0, 283: 0},  # ADD_ABS_LO12_NC, JUMP26, CALL26
}
"""Machine → type of a relocation → what its addend lacks to the place that is meant."""
_RELOCATION, _SYMBOL = "QQq", "IBBHQQ"
_RELOCATION_SIZE, _SYMBOL_SIZE = 24, 24
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


def read_requests(elf: ElfFile, wanted: Iterable[str]) -> tuple[str, ...]:
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
    for table in elf.sections:
        if table.kind != SHT_RELA or table.info >= len(elf.sections):
            continue
        if not elf.sections[table.info].flags & elf_file.SHF_EXECINSTR:
            continue
        symbols = _Symbols(elf, elf.sections[table.link])
        recent: deque[tuple[int, str]] = deque(maxlen=4)
        for offset, info, addend in sorted(elf.unpack_rows(_RELOCATION, table.offset, table.size)):
            name, text = symbols.describe(info >> 32, addend + shifts.get(info & 0xFFFFFFFF, 0))
            if text:
                recent.append((offset, text))
            elif name in functions:
                yield from ((name, one) for at, one in recent if offset - at <= MAX_DISTANCE)
                recent.clear()


class _Symbols:
    """The symbol table of a module, as far as calls and strings need it."""

    def __init__(self, elf: ElfFile, table: ElfSection) -> None:
        strings = elf.sections[table.link] if table.link < len(elf.sections) else None
        self._elf = elf
        self._names = elf.read(strings.offset, strings.size) if strings is not None else b""
        self._rows: Sequence[tuple[int, ...]] = list(
            elf.unpack_rows(_SYMBOL, table.offset, table.size)
        )
        self._contents: dict[int, bytes] = {}

    def describe(self, index: int, addend: int) -> tuple[str, str]:
        """The name of an undefined symbol, or the string that is meant; "" for neither."""
        if index >= len(self._rows):
            return "", ""
        name, _, _, section, value, _ = self._rows[index]
        if section == 0:
            return elf_file.read_c_string(self._names, name).decode("ascii", "replace"), ""
        if section >= len(self._elf.sections):
            return "", ""
        return "", self._read_string(section, value + addend)

    def _read_string(self, index: int, offset: int) -> str:
        section = self._elf.sections[index]
        if not section.name.startswith(b".rodata") or not 0 <= offset < section.size:
            return ""
        if index not in self._contents:
            self._contents[index] = self._elf.read(section.offset, section.size)
        raw = elf_file.read_c_string(self._contents[index], offset)
        return raw.decode("ascii") if raw.isascii() and raw.decode("ascii").isprintable() else ""
