"""Guest of the KVM trial: machine code that does what a kernel does at its start, then ends QEMU.

The same code serves every firmware, at a fixed address. The first processor takes timer interrupts
in long mode with paging on, starts the second processor, which goes from real mode to the same
state, waits for its interrupts, and writes to a port that ends QEMU. A KVM that only runs real
mode, or one processor, or no timer, never gets there.
"""

import struct

from minbuild.formats import magic
from minbuild.lab.efi_guest import make_efi_application

KVM_TRIAL_EXIT_CODE = 33
"""QEMU's exit code after the guest wrote 0x10 to isa-debug-exit: (0x10 << 1) | 1."""
EXIT_DEVICE = "isa-debug-exit,iobase=0xf4,iosize=1"

CODE_ADDRESS = 0x8000
"""Address of the code: a page below 640 KiB, whose number is the start-up interrupt's vector."""
LONG_MODE, DEFAULT_HANDLER, FIRST_CPU_HANDLER, SECOND_CPU_HANDLER, GDT_POINTER = (
    0x53,
    0x146,
    0x130,
    0x140,
    0x180,
)
"""Offsets of the 64-bit code, the interrupt handlers and the pointer to the GDT."""
PAGE_TABLES = 0x1000
"""Offset of four pages of page tables; the interrupt descriptor table follows."""

CODE = (
    # real mode: both processors begin here, the second one by its start-up interrupt
    "fa fc"  # cli; cld
    "2e660f01168001"  # lgdt cs:[180h]
    "0f20c0 0c01 0f22c0"  # cr0.PE
    "66ea198000000800"  # jmp 8:8019h
    # protected mode
    "b810000000 8ed8 8ec0 8ed0"  # ds, es, ss: all of the memory
    "0f20e0 83c820 0f22e0"  # cr4.PAE
    "b800900000 0f22d8"  # cr3: the page tables
    "b9800000c0 0f32 0fbae808 0f30"  # EFER.LME
    "0f20c0 0fbae81f 0f22c0"  # cr0.PG
    "ea538000001800"  # jmp 18h:8053h
    # long mode, at 53h
    "b801000000 f00fc10540010000"  # eax = the processor's number: lock xadd [turn],1
    "b910000000 8ed9 8ec1 8ed1"  # ds, es, ss
    "0f011d1e010000"  # lidt [190h]
    "31c9 440f22c1"  # cr8 = 0: every interrupt is taken
    "bb0000e0fe"  # ebx = FEE00000h, the local APIC
    "c783f0000000ff010000"  # it is on
    "c783e00300000b000000"  # its timer counts each tick of the bus,
    "8d9020000200 899320030000"  # again and again, with vector 20h or 21h,
    "c7838003000040420f00"  # down from 1,000,000: a millisecond in QEMU
    "85c0 7564"  # the second processor goes on at 10Fh
    "bc00f80000"  # the first one: a stack,
    "b0ff e621 e6a1"  # no interrupts of the old controllers,
    "fb b914000000 e844000000"  # sti; wait for the 20th interrupt
    "c7830003000000450c00"  # INIT to all others
    "b928000000 e830000000"  # wait for the 40th
    "c7830003000008460c00"  # start-up, page 8
    "b93c000000 e81c000000"  # wait for the 60th
    "c7830003000008460c00"  # start-up again
    "f4 833dad00000014 72f6"  # hlt, until the second processor has taken 20
    "66baf400 b010 ee f4"  # out F4h,10h: the end
    "f4 390d98000000 72f7 c3"  # the wait: hlt, until the first one has taken ecx
    "bcf0ff0000 fb f4 ebfd"  # the second one: a stack, sti, hlt for ever
)
HANDLERS = {
    FIRST_CPU_HANDLER: "ff056e000000 eb0e",  # inc [first's interrupts]; jmp 146h
    SECOND_CPU_HANDLER: "ff0562000000 c783b000000000000000 48cf",  # inc [second's]; end of interrupt; iretq
}
SEGMENTS = (0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF)
"""Null, 32-bit code, data and 64-bit code, each for the whole memory."""

UEFI_ENTRY = (
    "fa fc 488d3533000000"  # cli; cld; lea rsi,[rip+the code after this]
    "bf00800000 b900600000 f3a4"  # to its place
    "0f20e0 0fbae00c 7208"  # where there are five levels of tables, the firmware's stay
    "b800900000 0f22d8"  # cr3
    "b880810000 0f0110"  # lgdt [8180h]
    "bc00f80000 6a18 6853800000 48cb"  # retf to 18h:8053h
)
BIOS_ENTRY = (
    "fa fc 8cc8 83e820 8ed8 be0004"  # cli; cld; ds:si = offset 1024 of the file
    "b80008 8ec0 31ff b90060 f3a4"  # to its place
    "ea00000008"  # jmp 800h:0
)


def assemble_machine_code() -> bytes:
    """Assemble the code and its tables, as they are in memory from CODE_ADDRESS on.

    Source: Intel SDM volume 3, 4.5 (4-level paging), 6.14 (64-bit gates), 9.4 (start of processors),
    9.8.5 (long mode), 11.5.4 (timer), 11.6.1 (interrupts between processors).
    """
    page = bytearray(0x1000)
    for at, text in {0: CODE, **HANDLERS}.items():
        code = bytes.fromhex(text)
        page[at : at + len(code)] = code
    struct.pack_into("<4Q", page, 0x160, *SEGMENTS)
    struct.pack_into("<HI", page, GDT_POINTER, 31, CODE_ADDRESS + 0x160)
    struct.pack_into("<HQ", page, 0x190, 0xFFF, CODE_ADDRESS + PAGE_TABLES + 0x4000)
    return bytes(page) + _build_page_tables() + _build_gates()


def _build_page_tables() -> bytes:
    """Build an identity mapping of the first GiB and of the fourth, which contains the APIC."""
    middle, low, high = (CODE_ADDRESS + PAGE_TABLES + number * 0x1000 | 3 for number in (1, 2, 3))
    first = struct.pack("<Q4088x", middle)
    second = struct.pack("<QQQQ4064x", low, 0, 0, high)
    large = 0x83  # present, writable, 2 MiB
    pages = [struct.pack("<512Q", *(start + (n << 21) | large for n in range(512)))
             for start in (0, 3 << 30)]  # fmt: skip
    return b"".join((first, second, *pages))


def _build_gates() -> bytes:
    """Build the interrupt descriptor table; without a gate, an exception ends the machine."""
    handlers = {0x20: FIRST_CPU_HANDLER, 0x21: SECOND_CPU_HANDLER}
    addresses = [
        CODE_ADDRESS + handlers.get(number, DEFAULT_HANDLER) for number in range(0x20, 0x100)
    ]
    gates = (struct.pack("<HHBBHII", address, 0x18, 0, 0x8E, 0, 0, 0) for address in addresses)
    return bytes(0x20 * 16) + b"".join(gates)


def make_uefi_trial_guest() -> bytes:
    """Make a UEFI application that copies the code to its address and jumps to it."""
    return make_efi_application(bytes.fromhex(UEFI_ENTRY) + assemble_machine_code())


def make_bios_trial_guest() -> bytes:
    """Make a file with the header of a Linux kernel, for QEMU's -kernel with a BIOS.

    Source: Linux, arch/x86/boot.rst: the setup code alone, started in real mode at 200h.
    """
    setup = bytearray(0x400)
    setup[0x1F1] = (0x400 + len(assemble_machine_code())) // 512 - 1
    setup[0x1FE:0x200] = magic.BOOT_SIGNATURE
    setup[0x200:0x202] = bytes.fromhex("eb6e")  # jmp 270h
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x204)
    setup[0x211] = 1
    code = bytes.fromhex(BIOS_ENTRY)
    setup[0x270 : 0x270 + len(code)] = code
    return bytes(setup) + assemble_machine_code() + bytes(512)
