"""The plainest cpio archive, and an initramfs of BusyBox in it."""

from collections.abc import Iterable, Mapping


def cpio(members: Iterable[tuple[str, int, bytes]]) -> bytes:
    """Join members (name, mode, content) in the newc format."""
    out = b""
    for number, (name, mode, data) in enumerate([*members, ("TRAILER!!!", 0, b"")]):
        text = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(text), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + text
        out += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return out


def initramfs(
    busybox: bytes, applets: Iterable[str], modules: Mapping[str, bytes], lease: str, init: str
) -> bytes:
    """BusyBox with its links and two scripts; MODULES in `init` are the modules, in their order."""
    directories = ("bin", "dev", "etc", "mnt", "modules", "proc", "sys")
    members = [(name, 0o40755, b"") for name in directories]
    members.append(("bin/busybox", 0o100755, busybox))
    members += [(f"bin/{name}", 0o120777, b"busybox") for name in applets]
    members += [(f"modules/{name}.ko", 0o100644, data) for name, data in modules.items()]
    members.append(("lease.sh", 0o100755, lease.encode()))
    members.append(("init", 0o100755, init.replace("MODULES", " ".join(modules)).encode()))
    return cpio(members)
