"""Facts about the files of a package: frozen data, computed once from their bytes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One member of a package, as dpkg would lay it down."""

    path: RootPath
    kind: FileType
    mode: int
    """Permission bits with setuid, setgid and sticky: 0o4755."""
    uid: int = 0
    gid: int = 0
    size: int = 0
    """Bytes of content; 0 unless a file or a hard link."""
    sha256: str = ""
    """Hex digest of the content; "" unless a file or a hard link."""
    target: str = ""
    """A link's text as in the package; a hard link's first name as a RootPath."""
    capability: str = ""
    """Hex of security.capability; of a file in an installed root alone, no package has any."""


@dataclass(frozen=True, slots=True)
class Dlopen:
    """One entry of a `.note.dlopen` section.

    Source: UAPI group, ELF Package Metadata, "dlopen() Metadata for ELF Files".
    """

    sonames: tuple[str, ...]
    """Alternatives, the first that is available wins."""
    priority: str
    """required, recommended or suggested."""
    feature: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class VersionNeed:
    """The versions wanted of one library. Source: gabi, Version Dependencies (verneed)."""

    soname: str
    versions: tuple[str, ...]
    weak: tuple[str, ...] = ()
    """Those of `versions` flagged VER_FLG_WEAK."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A library whose symbols go before those of the object that names it. Source: gABI."""

    name: str
    auxiliary: bool
    """True: DT_AUXILIARY, which may be missing; else DT_FILTER."""
    after: int
    """How many DT_NEEDED stand before it."""


@dataclass(frozen=True, slots=True)
class Elf:
    """What one ELF object offers and needs of the loader. Source: elf(5), ld.so(8)."""

    bits: int
    """32 or 64 (EI_CLASS)."""
    little: bool
    machine: str
    """e_machine as pyelftools names it: EM_X86_64."""
    kind: str
    """e_type as pyelftools names it: ET_EXEC, ET_DYN, ET_REL."""
    flags: int = 0
    """e_flags: the ABI of arm and riscv."""
    osabi: int = 0
    interpreter: str = ""
    """PT_INTERP as written; "" for libraries and static programs."""
    dynamic: bool = False
    """There is a PT_DYNAMIC."""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    nodeflib: bool = False
    pie: bool = False
    audit: tuple[str, ...] = ()
    """DT_AUDIT and DT_DEPAUDIT."""
    dlopen: tuple[Dlopen, ...] = ()
    version_needs: tuple[VersionNeed, ...] = ()
    version_defs: tuple[str, ...] = ()
    maybe_dlopen: tuple[str, ...] = ()
    """Soname-shaped strings of read-only data that are neither needed nor noted; sorted."""
    cancel_function: str = ""
    """The first of THREAD_CANCEL_FUNCTIONS that it leaves undefined and calls; "" for none."""
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Symbols:
    """The dynamic symbols of one ELF object, "name" or "name@VERSION"; sorted, no repeats.

    Of a kernel module and a kernel image: what they want and export, "name" or "name@CRC".
    """

    defined: tuple[str, ...]
    undefined: tuple[str, ...]
    """Undefined and not weak: must be defined by some object of the process."""
    weak: tuple[str, ...]
    """Undefined and weak: may stay so."""


@dataclass(frozen=True, slots=True)
class Module:
    """What `.modinfo` and the calls of a kernel module say. Names have `_` for `-`. Source: modinfo(8)."""

    name: str
    depends: tuple[str, ...] = ()
    soft_pre: tuple[str, ...] = ()
    soft_post: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    vermagic: str = ""
    requests: tuple[str, ...] = ()
    """Aliases that its code asks the kernel for: crypto-crc32c, scsi:t-0x00; sorted."""


@dataclass(frozen=True, slots=True)
class Script:
    """A file that starts with `#!`. Source: execve(2), "Interpreter scripts"."""

    interpreter: str
    argument: str = ""
    """All that follows the interpreter, as the kernel passes it: one string."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """A kernel's /boot/config-VERSION: option without CONFIG_ → "y", "m" or a value."""

    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BuiltinModules:
    """A kernel's modules.builtin and modules.builtin.modinfo: module by name."""

    modules: Mapping[str, Module]


@dataclass(frozen=True, slots=True)
class LoaderConfigLines:
    """What a file that configures the loader lists. Source: ld.so(8), FILES; ldconfig(8)."""

    lines: tuple[str, ...]
    """Of ld.so.conf: directories and `include GLOB`; of ld.so.preload: names; of ld.so.cache:
    `FLAGS NAME PATH`."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A file that promises a format (ELF, module, compressed module) and does not keep it.

    It matters only once a need selects the file; then `reason` is in the error.
    """

    reason: str
    """A sentence about the file: "its ELF header is truncated"."""


@dataclass(frozen=True, slots=True)
class TextLines:
    """A configuration file, which rules may read."""

    lines: tuple[str, ...]
    """Logical lines: one that ends in a backslash goes on in the next, which is then empty."""


FileFacts = (
    Elf
    | Module
    | Script
    | KernelConfig
    | BuiltinModules
    | LoaderConfigLines
    | Malformed
    | TextLines
)
ModuleAlias = tuple[str, RootPath]
"""What a module says it serves, `_` for `-`, and the module's path."""


@dataclass(frozen=True, slots=True)
class PackageFiles:
    """The files that one owner offers: a package, or a component's rendered files."""

    owner: str
    """Package name; "" for rendered files."""
    entries: Mapping[RootPath, FileEntry]
    """By path, sorted."""
    facts: Callable[[RootPath], FileFacts | None]
    """What is known of the content at a path; None for plain data. Loaded when asked for."""
    symbols: Callable[[RootPath], Symbols | None]
    """The symbols of the ELF object, module or kernel at a path of a tree or root, loaded when asked
    for; None of packages, since only finished trees are checked for them."""
    depends: tuple[tuple[str, ...], ...] = ()
    """Pre-Depends and Depends of the package: each with its alternatives, names only."""
    provides: tuple[str, ...] = ()
    version: str = ""
    aliases: Callable[[str | None], Sequence[ModuleAlias]] | None = None
    """The aliases of one bus, or with None of all, sorted by path; None: `facts` must be asked."""
