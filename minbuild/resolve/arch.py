"""Debian architectures: ELF machine, flags and library directories of each."""

from dataclasses import dataclass

from minbuild.errors import ResolveError
from minbuild.facts.model import Elf


@dataclass(frozen=True, slots=True)
class Architecture:
    """One Debian architecture as ld.so sees it."""

    name: str
    triplet: str
    elf_machine: str
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
    lib64_directories: tuple[str, ...] = ("lib64",)
    """Directories of 64-bit libraries in distributions that keep lib for 32 bits."""

    @property
    def library_directories(self) -> tuple[str, ...]:
        """Where distributions install glibc: Debian, then those with lib64, then those with lib.

        Each is also what $LIB stands for there. Source: ld.so(8), Dynamic string tokens; glibc's
        sysdeps/unix/sysv/linux/*/configure, slibdir; Debian's multiarch.
        """
        return (f"lib/{self.triplet}", *self.lib64_directories, "lib")

    def list_default_directories(self, lib: str) -> tuple[str, ...]:
        """System directories of a glibc that is installed in `lib`; /lib is /usr/lib.

        Source: glibc elf/dl-load.c, system_dirs: where it is itself; Debian's patches, which add
        /usr/lib.
        """
        return (
            (f"/usr/{lib}", "/usr/lib") if lib == self.library_directories[0] else (f"/usr/{lib}",)
        )

    def accepts(self, elf: Elf) -> bool:
        """Tell whether the loader of this machine would map `elf`.

        Source: glibc elf/dl-load.c open_verify, elf_machine_matches_host.
        """
        return (
            elf.machine == self.elf_machine
            and elf.bits == self.bits
            and elf.little == self.little
            and elf.flags & self.flags_mask == self.flags
        )


_ARCHITECTURES = {
    "amd64": Architecture("amd64", "x86_64-linux-gnu", "EM_X86_64", 64, True, "x86_64", 0x303),
    "arm64": Architecture("arm64", "aarch64-linux-gnu", "EM_AARCH64", 64, True, "aarch64", 0xA03),
    # EF_RISCV_FLOAT_ABI (0x6) must be double (0x4), EF_RISCV_RVE (0x8) clear:
    # Source: riscv-elf-psabi-doc, "File Header"; glibc sysdeps/riscv/dl-machine.h
    "riscv64": Architecture(
        "riscv64",
        "riscv64-linux-gnu",
        "EM_RISCV",
        64,
        True,
        "",
        0x1003,
        0xE,
        0x4,
        ("lib64/lp64d", "lib64"),
    ),
}


def find_architecture(arch: str) -> Architecture:
    """Find the data of a Debian architecture.

    Raises: ResolveError for one that is not supported.
    """
    if arch in _ARCHITECTURES:
        return _ARCHITECTURES[arch]
    names = ", ".join(_ARCHITECTURES)
    raise ResolveError(f"the architecture {arch} is not supported", fix=f"use one of {names}")


def identify_architecture(elf: Elf) -> str:
    """The Debian architecture whose loader would map `elf`; "" for none that is known."""
    return next((name for name, one in _ARCHITECTURES.items() if one.accepts(elf)), "")
