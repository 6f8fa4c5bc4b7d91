"""Architectures as data: what Debian's loader and ELF files of each look like."""

from dataclasses import dataclass

from minbuild.errors import ResolveError
from minbuild.facts.types import Elf


@dataclass(frozen=True, slots=True)
class Machine:
    """One Debian architecture as ld.so sees it."""

    name: str
    triplet: str
    machine: str
    """e_machine as pyelftools names it."""
    bits: int
    little: bool
    platform: str
    """AT_PLATFORM of the baseline; "" where the kernel gives none."""
    cache_flags: int
    """Of an entry of ld.so.cache. Source: glibc sysdeps/generic/ldconfig.h."""
    flags_mask: int = 0
    """Bits of e_flags that must be `flags`."""
    flags: int = 0

    @property
    def lib(self) -> str:
        """What $LIB stands for. Source: ld.so(8), Dynamic string tokens."""
        return f"lib/{self.triplet}"

    @property
    def default_directories(self) -> tuple[str, ...]:
        """Debian's system directories where /lib is /usr/lib, as in all that we make.

        Source: glibc's debian/patches, multiarch system directories; usrmerge.
        """
        return (f"/usr/lib/{self.triplet}", "/usr/lib")

    def accepts(self, elf: Elf) -> bool:
        """Tell whether the loader of this machine would map `elf`.

        Source: glibc elf/dl-load.c open_verify, elf_machine_matches_host.
        """
        return (
            elf.machine == self.machine
            and elf.bits == self.bits
            and elf.little == self.little
            and elf.flags & self.flags_mask == self.flags
        )


_MACHINES = {
    "amd64": Machine("amd64", "x86_64-linux-gnu", "EM_X86_64", 64, True, "x86_64", 0x303),
    "arm64": Machine("arm64", "aarch64-linux-gnu", "EM_AARCH64", 64, True, "aarch64", 0xA03),
    # EF_RISCV_FLOAT_ABI (0x6) must be double (0x4), EF_RISCV_RVE (0x8) clear:
    # Source: riscv-elf-psabi-doc, "File Header"; glibc sysdeps/riscv/dl-machine.h
    "riscv64": Machine("riscv64", "riscv64-linux-gnu", "EM_RISCV", 64, True, "", 0x1003, 0xE, 0x4),
}


def machine(arch: str) -> Machine:
    """Give what is known of a Debian architecture.

    Raises: ResolveError for one that is not supported.
    """
    if arch in _MACHINES:
        return _MACHINES[arch]
    known = ", ".join(_MACHINES)
    raise ResolveError(f"the architecture {arch} is not supported", fix=f"use one of {known}")


def architecture(elf: Elf) -> str:
    """The Debian architecture whose loader would map `elf`; "" for none that is known."""
    return next((name for name, one in _MACHINES.items() if one.accepts(elf)), "")
