"""Guests that the lab makes: a UEFI program, an initramfs with one program, and the machine code of
the KVM trial.

The same code serves every firmware, at a fixed address. The first processor takes timer interrupts
in long mode with paging on, starts the second processor, which goes from real mode to the same
state, waits for its interrupts, and writes to a port that ends QEMU. A KVM that only runs real
mode, or one processor, or no timer, never gets there.
"""

import struct
from pathlib import Path

from minbuild.formats import magic
from minbuild.lab.model import Tools
from minbuild.process import run_program

EFI_READY = "minbuild-guest: up by UEFI"
"""The line that the program writes on the firmware's console."""

SECTOR = 512
DISK_SIZE = 1 << 20
"""Bytes of the disk."""
BOOT_PATH = "::EFI/BOOT/BOOTX64.EFI"
"""The file that UEFI starts by default, in mtools' notation. Source: UEFI 2.10, 3.5.1.1."""


def make_efi_program(text: str) -> bytes:
    """Make a UEFI application for x86-64 that writes `text` on the console and waits for ever.

    Source: UEFI 2.10, 4.3 (system table), 4.4 (boot services), 12.4 (OutputString), 7.5
    (SetWatchdogTimer: else the firmware restarts after 5 minutes).
    """
    return make_efi_application(_assemble_code(f"\r\n{text}\r\n"))


def make_efi_application(code: bytes) -> bytes:
    """Make a UEFI application for x86-64 of position-independent code.

    Source: PE format, 3 (headers).
    """
    page = 0x1000
    pages = -(-len(code) // page) * page
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 112 + 6 * 8, 0x22)
    standard = struct.pack("<HBBIIIII", 0x20B, 0, 0, len(code), 0, 0, page, page)
    windows = struct.pack(
        "<QIIHHHHHHIIIIHH", 0, page, SECTOR, *(0,) * 7, page + pages, SECTOR, 0, 10, 0
    )
    sizes = struct.pack("<QQQQII48x", page, page, page, page, 0, 6)
    raw = -(-len(code) // SECTOR) * SECTOR
    text_section = (b".text", len(code), page, raw, SECTOR, 0, 0, 0, 0, 0x60000020)
    dos = struct.pack("<2s58xI", magic.PE, 64)
    head = dos + coff + standard + windows + sizes + struct.pack("<8sIIIIIIHHI", *text_section)
    return head.ljust(SECTOR, b"\0") + code.ljust(raw, b"\0")


def _assemble_code(text: str) -> bytes:
    idle = bytes.fromhex(
        "488b4360"  # mov rax,[rbx+60h]: the boot services
        "31c931d24531c04531c9"  # all four arguments are 0
        "ff9000010000"  # call [rax+100h]: SetWatchdogTimer
        "f4ebfd"  # again: hlt; jmp again
    )
    write = bytes.fromhex("ff5108")  # call [rcx+8]: OutputString
    # sub rsp,28h; mov rbx,rdx; mov rcx,[rdx+40h]: the console; lea rdx,[rip+text]
    start = bytes.fromhex("4883ec28 4889d3 488b4a40 488d15")
    text_offset = struct.pack("<i", len(write) + len(idle))
    return start + text_offset + write + idle + f"{text}\0".encode("utf-16-le")


def make_efi_disk(output: Path, content: bytes, work: Path, tools: Tools) -> None:
    """Make a disk without partitions from which a UEFI starts `content`.

    Raises: ToolError when a tool fails.
    """
    application = work / "application.efi"
    application.write_bytes(content)
    with output.open("wb") as file:
        file.truncate(DISK_SIZE)
    image_args = ("-i", str(output))
    for name, tool_args in (
        ("mkfs.fat", ("-F", "12", str(output))),
        ("mmd", (*image_args, "::EFI", "::EFI/BOOT")),
        ("mcopy", (*image_args, str(application), BOOT_PATH)),
    ):
        argv = [*tools.build_argv(name), *tool_args]
        run_program(
            argv,
            purpose="making the disk of the guest by UEFI",
            env=dict(tools.build_environment()),
        )


LINUX_READY = "minbuild-guest: up"
"""The line that the guest writes on its console from user space."""

CONSOLE_DEVICE = (5, 1)
"""Source: Linux admin-guide/devices.txt, /dev/console."""


def format_ready_line(cpus: int) -> str:
    """Format the line of a guest with so many processors; a single one is not mentioned."""
    return LINUX_READY if cpus == 1 else f"{LINUX_READY}, {cpus:02} processors"


def make_guest_initramfs(cpus: int = 1) -> bytes:
    """Make the initramfs: /init and the console that it writes to.

    With more than one of `cpus`, init counts the processors (64 at most).
    """
    init = (
        make_init_program(f"{LINUX_READY}\n".encode())
        if cpus == 1
        else make_counting_program(f"{LINUX_READY}, ", " processors\n")
    )
    members = (
        _encode_cpio_member("dev", 0o040755, number=1),
        _encode_cpio_member("dev/console", 0o020600, number=2, device=CONSOLE_DEVICE),
        _encode_cpio_member("init", 0o100755, number=3, content=init),
        _encode_cpio_member("TRAILER!!!", 0, number=0),
    )
    return b"".join(members)


def make_init_program(text: bytes) -> bytes:
    """Make a static x86-64 program that writes `text` to stdout and waits for ever.

    Source: elf(5); x86-64 psABI, A.2.1 (system calls); asm/unistd_64.h: 1 write, 34 pause.
    """
    return _wrap_in_elf(_assemble_write(text) + text)


def make_counting_program(prefix: str, suffix: str) -> bytes:
    """Make a program that writes the number of processors, in two digits, between two texts.

    Source: sched_getaffinity(2), whose number is 204.
    """
    text = f"{prefix}00{suffix}".encode()
    write = _assemble_write(text)
    # add rsp,-128; mov eax,204; xor edi,edi; mov esi,128; mov rdx,rsp; syscall; popcnt rax,[rsp];
    # mov ecx,10; xor edx,edx; div ecx; add eax,'0'; add edx,'0'
    count = bytes.fromhex("4883c480 b8cc000000 31ff be80000000 4889e2 0f05 f3480fb80424")
    count += bytes.fromhex("b90a000000 31d2 f7f1 83c030 83c230")
    digits = len(write) + len(prefix)
    # mov [rip+digits],al; mov [rip+digits+1],dl
    count += b"\x88\x05" + struct.pack("<i", 6 + digits)
    count += b"\x88\x15" + struct.pack("<i", digits + 1)
    return _wrap_in_elf(count + write + text)


def _assemble_write(text: bytes) -> bytes:
    """Assemble code that writes the text placed after it, and waits."""
    wait = bytes.fromhex("b822000000 0f05 ebf7")  # again: mov eax,34; syscall; jmp again
    # mov eax,1; mov edi,eax; lea rsi,[rip+behind]; mov edx,len; syscall
    write = bytes.fromhex("b801000000 89c7 488d35") + struct.pack("<i", 7 + len(wait))
    return write + b"\xba" + struct.pack("<I", len(text)) + bytes.fromhex("0f05") + wait


def _wrap_in_elf(body: bytes) -> bytes:
    """Wrap code and data in an ELF program of one writable segment."""
    base, head = 0x400000, 64 + 56
    size = head + len(body)
    ident = magic.ELF + bytes([2, 1, 1]) + bytes(9)
    elf = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + head, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, size, size, 0x1000)
    return ident + elf + load + body


def _encode_cpio_member(
    name: str, mode: int, *, number: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    """Encode a member of a cpio archive. Source: Linux driver-api/early-userspace/buffer-format."""
    text = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(text), 0)
    head = magic.CPIO_NEWC + b"".join(b"%08x" % field for field in fields) + text
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


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
