"""Which reader knows a file: by its path for kernel data, by its first bytes for the rest."""

import re

from minbuild.facts import kernel, kmod
from minbuild.facts import symbols as dynamic
from minbuild.facts.types import FileFacts, Symbols

_ELF = b"\x7fELF"
_SCRIPT = b"#!"
HEAD = 256
"""Bytes of a file that `whole` and `head` want to see."""
_CONFIG = re.compile(r"/boot/config-[^/]+|/usr/lib/modules/[^/]+/config")
_MODULES = re.compile(r"/usr/lib/modules/[^/]+/")


def sniff(path: str, data: bytes) -> FileFacts | None:
    """What is known of the content at a RootPath; None for plain data."""
    if _MODULES.match(path):
        if kmod.module_ending(path) is not None:
            return kmod.module(path, data)
        if path.endswith("/modules.builtin.modinfo"):
            return kmod.builtins(data)
        if path.endswith("/modules.builtin"):
            return kmod.builtin_names(data)
    if _CONFIG.fullmatch(path):
        return kernel.kernel_config(data)
    return _by_start(data)


def _by_start(data: bytes) -> FileFacts | None:
    if data.startswith(_ELF):
        from minbuild.facts.elf import elf

        return elf(data)
    if data.startswith(_SCRIPT):
        from minbuild.facts.script import script

        return script(data)
    return None


def symbols(data: bytes) -> Symbols | None:
    """The dynamic symbols of an ELF object; None for all else."""
    return dynamic.symbols(data) if data.startswith(_ELF) else None


def whole(path: str, head: bytes) -> bool:
    """True when `sniff` must see all of a file that starts with `head`, not just `head`."""
    return (
        head.startswith(_ELF)
        or (_MODULES.match(path) is not None and _is_kernel_data(path))
        or _CONFIG.fullmatch(path) is not None
    )


def _is_kernel_data(path: str) -> bool:
    return kmod.module_ending(path) is not None or path.endswith(
        ("/modules.builtin", "/modules.builtin.modinfo")
    )
