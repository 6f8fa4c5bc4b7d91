"""Linux guest of the data disk: an initramfs with one program, which writes a line and waits."""

import struct

from minbuild.formats import magic

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
