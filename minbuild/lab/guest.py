"""The smallest guest there is: an initramfs whose one program says that it runs, and waits."""

import struct

READY = "minbuild-guest: up"
"""What the guest writes on its console from user space."""

CONSOLE = (5, 1)
"""Source: Linux admin-guide/devices.txt, /dev/console."""


def initramfs() -> bytes:
    """Make the initramfs: /init and the console it writes to; the same bytes always."""
    members = (
        _member("dev", 0o040755, number=1),
        _member("dev/console", 0o020600, number=2, device=CONSOLE),
        _member("init", 0o100755, number=3, content=program(f"{READY}\n".encode())),
        _member("TRAILER!!!", 0, number=0),
    )
    return b"".join(members)


def program(text: bytes) -> bytes:
    """A static x86-64 program of one segment: write `text` to stdout, then wait for ever.

    Source: elf(5); x86-64 psABI, A.2.1 (system calls); asm/unistd_64.h: 1 write, 34 pause.
    """
    wait = bytes.fromhex("b822000000 0f05 ebf7")  # again: mov eax,34; syscall; jmp again
    # mov eax,1; mov edi,eax; lea rsi,[rip+behind]; mov edx,len; syscall
    write = bytes.fromhex("b801000000 89c7 488d35") + struct.pack("<i", 7 + len(wait))
    write += b"\xba" + struct.pack("<I", len(text)) + bytes.fromhex("0f05")
    body = write + wait + text
    base, head = 0x400000, 64 + 56
    size = head + len(body)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    elf = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + head, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return ident + elf + load + body


def _member(
    name: str, mode: int, *, number: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    """One member of a cpio archive. Source: Linux driver-api/early-userspace/buffer-format."""
    text = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(text), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + text
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
