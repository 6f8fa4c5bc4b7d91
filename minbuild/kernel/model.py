"""A kernel's architecture, and what its compilation needs and gives: frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelArchitecture:
    """One architecture, by the kernel's names. Source: Linux, Makefile, `SRCARCH`."""

    arch: str
    """make ARCH=…"""
    directory: str
    """Below arch/."""
    target: str
    """What make is asked for."""
    image: str
    """Its path below the objects."""
    archives: tuple[str, ...]
    """Archives that the kernel is linked from, below the objects."""
    programs: tuple[str, ...]
    """Where else its code is: what unpacks and starts it, and what it maps into processes."""


ARCHITECTURES: Mapping[str, KernelArchitecture] = {
    "amd64": KernelArchitecture(
        "x86_64",
        "x86",
        "bzImage",
        "arch/x86/boot/bzImage",
        ("vmlinux.a", "lib/lib.a", "arch/x86/lib/lib.a"),
        (
            *("arch/x86/boot/", "arch/x86/entry/vdso/", "arch/x86/realmode/"),
            *("drivers/firmware/efi/libstub/", "init/version-timestamp"),
        ),
    ),
}
"""By Debian's name: those that are compiled here."""


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """What a compilation gives."""

    release: str
    """6.12.118: what `uname -r` prints."""
    image: bytes
    config: bytes
    modules_builtin: bytes
    modules_builtin_modinfo: bytes
    sources: tuple[str, ...]
    """Files of the source that were compiled or included, sorted; without those of its own tools."""
