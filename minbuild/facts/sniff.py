"""Which reader knows a file: by its path for kernel data, by its first bytes for the rest."""

import re

from minbuild.facts.types import FileFacts, Symbols

_ELF = b"\x7fELF"
_SCRIPT = b"#!"
HEAD = 256
"""Bytes at a file's start that tell `whole` what it is."""
_MODULE = re.compile(r"/usr/lib/modules/[^/]+/.+\.ko(\.xz|\.zst|\.gz)?")
_KERNEL = re.compile(
    r"/boot/config-[^/]+|/usr/lib/modules/[^/]+/(?:config|modules\.builtin(?:\.modinfo)?)"
)

_LOADER = re.compile(r"/etc/ld\.so\.(?:conf|conf\.d/[^/]+|preload|cache)")
_MUSL = re.compile(r"(?:/.+)?/etc/ld-musl-[^/]+\.path")
_IMAGE = re.compile(r"/boot/vmlinu[xz]-[^/]+|/usr/lib/modules/[^/]+/vmlinu[xz]")
_CONFIG = re.compile(
    r"/etc/.+|/usr/lib/(?:depmod|pam|sysusers|tmpfiles)\.d/.+|/usr/share/(?:base-files|libc-bin)/nsswitch\.conf"
)
"""What programs and maintainer scripts read as text, and rules with them."""


def sniff(path: str, data: bytes) -> FileFacts | None:
    """What is known of the content at a RootPath; None for plain data."""
    if _MODULE.fullmatch(path):
        return known(path, data)[0]
    if _KERNEL.fullmatch(path):
        return _kernel(path, data)
    if _LOADER.fullmatch(path) or _MUSL.fullmatch(path):
        return _loader(path, data)
    if data.startswith(_ELF):
        from minbuild.facts.elf import elf

        return elf(data)
    if data.startswith(_SCRIPT):
        from minbuild.facts.script import script

        return script(data)
    if _CONFIG.fullmatch(path):
        from minbuild.facts.config import text

        return text(data)
    return None


def _kernel(path: str, data: bytes) -> FileFacts:
    if path.endswith("/modules.builtin.modinfo"):
        from minbuild.facts.kmod import builtins

        return builtins(data)
    if path.endswith("/modules.builtin"):
        from minbuild.facts.kmod import builtin_names

        return builtin_names(data)
    from minbuild.facts.kernel import kernel_config

    return kernel_config(data)


def _loader(path: str, data: bytes) -> FileFacts:
    from minbuild.facts import ldconfig

    if path.endswith(".path"):
        return ldconfig.musl_path(data)
    if path.endswith(".cache"):
        return ldconfig.cache(data)
    return (ldconfig.preloads if path.endswith(".preload") else ldconfig.configuration)(data)


def symbols(path: str, data: bytes) -> Symbols | None:
    """The symbols of an ELF object, a kernel module or a kernel image; None for all else."""
    if _IMAGE.fullmatch(path):
        from minbuild.facts.ksymbols import kernel_symbols

        return kernel_symbols(data)
    if _MODULE.fullmatch(path):
        return known(path, data)[1]
    if not data.startswith(_ELF):
        return None
    from minbuild.facts.symbols import symbols as read

    return read(data)


def known(path: str, data: bytes) -> tuple[FileFacts | None, Symbols | None]:
    """What `sniff` and `symbols` say, with a module unpacked once."""
    if not _MODULE.fullmatch(path):
        return sniff(path, data), symbols(path, data)
    from minbuild.facts.kmod import module

    return module(path, data)


def linked(head: bytes) -> bool:
    """True for the start of an ELF object."""
    return head.startswith(_ELF)


def known_start(path: str, head: bytes) -> bool:
    """True when something is known of a file that starts with `head`."""
    return head.startswith(_SCRIPT) or whole(path, head)


def whole(path: str, head: bytes) -> bool:
    """True when `sniff` must see all of a file that starts with `head`, not just `head`."""
    if head.startswith(_ELF) or packed_module(path) is not None:
        return True
    if any(one.fullmatch(path) for one in (_KERNEL, _IMAGE, _LOADER, _MUSL)):
        return True
    return not head.startswith(_SCRIPT) and _CONFIG.fullmatch(path) is not None


def packed_module(path: str) -> str | None:
    """How the module at this path is compressed: ".xz", ""; None when it is no module."""
    found = _MODULE.fullmatch(path)
    return None if found is None else found[1] or ""
