"""Guess, by names along Depends, of the package that provides what another one needs.

A wrong guess only costs a download: the resolver examines the contents of each package.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Protocol

from minbuild.archive.model import Package, ProviderGuess

MAX_DEPTH = 4
"""Steps along Depends from the needing package."""
MAX_VISITED = 400
"""Packages that one search looks at."""

_GLIBC = re.compile(
    r"ld-linux.*|ld64\.so\..*|ld\.so\..*|ld-(?:musl-)?[\w-]+\.so\.\d+|libnss_(?:files|dns|compat)\.so\.2|"
    r"lib(?:c|m|mvec|dl|rt|pthread|resolv|util|anl|nsl|thread_db|c_malloc_debug|BrokenLocale)"
    r"(?:\.so\.[16]|\.so\.[12]|\.so\.6\.1)?"
)
"""Libraries of libc6."""

_KNOWN_OWNERS = {
    "libz.so": "zlib1g",
    "libcrypto.so": "libssl",
    "liblber.so": "libldap",
    "libpulsecommon": "libpulse",
    "libgthread-2.0.so": "libglib2.0",
    "libgobject-2.0.so": "libglib2.0",
    "libgio-2.0.so": "libglib2.0",
    "libgmodule-2.0.so": "libglib2.0",
    "libform": "libncurses",
    "libmenu": "libncurses",
    "libpanel": "libncurses",
    "libplc4": "libnspr4",
    "libplds4": "libnspr4",
    "regulatory.db": "wireless-regdb",
    "intel-ucode": "intel-microcode",
    "amd-ucode": "amd64-microcode",
    "amd/amd_sev": "amd64-microcode",
}
"""Prefix of a soname or firmware file → prefix of the package, if the names differ."""

_NO_LIBRARY = re.compile(
    r"-(?:dev|doc|dbg|dbgsym|tools|utils|bin|common|java|ruby|perl|cil|data)\b"
)

_ESSENTIAL = {
    "sh": ("dash", "busybox"),
    "bash": ("bash",),
    "env": ("coreutils",),
    "perl": ("perl-base",),
    "awk": ("mawk", "gawk"),
    "sed": ("sed",),
    "false": ("coreutils",),
    "nologin": ("login",),
}
"""Programs of essential packages, which Depends does not list. Source: Debian Policy 3.8."""


class PackageNames(Protocol):
    """What is asked: the index of archives, or the packages of a lock. See `Index`."""

    def find_package(self, name: str) -> Package | None: ...
    def find_depends(self, name: str) -> tuple[tuple[str, ...], ...]: ...
    def find_providers(self, virtual: str) -> tuple[str, ...]: ...
    def find_names(self, prefix: str) -> tuple[str, ...]: ...


def guess_providers(
    index: PackageNames, package: str, guess: ProviderGuess, needed: str
) -> tuple[str, ...]:
    """Packages that could have what `package` needs, best first, each a name in the index.

    `needed`: the soname, path, module or firmware file.
    """
    return tuple(dict.fromkeys(GUESSES[guess](index, package, needed)))


def _guess_module_owners(index: PackageNames, package: str, _name: str) -> list[str]:
    dependencies = dict(_walk_depends(index, package))
    return sorted(dependencies, key=lambda name: not name.startswith("linux-modules-"))


def _list_dependencies(index: PackageNames, package: str, _path: str) -> Iterator[str]:
    return (name for name, _ in _walk_depends(index, package))


def _guess_file_owners(index: PackageNames, package: str, path: str) -> Iterator[str]:
    """Guess owners of a file: a library by its soname, another by the end of its path."""
    is_library = ".so" in path.rpartition("/")[2]
    return (_guess_library_owners if is_library else _guess_program_owners)(index, package, path)


def _guess_library_owners(index: PackageNames, package: str, path: str) -> Iterator[str]:
    """Guess owners of a library by Debian's package names for sonames.

    Source: Debian Policy 8.1, "Run-time shared libraries".
    """
    soname = path.rpartition("/")[2]
    if _GLIBC.fullmatch(soname):
        yield "libc6"
    dependencies = list(_walk_depends(index, package))
    stem, _, version = soname.lower().partition(".so")
    full = _normalise_name(stem + version)
    yield from (name for name, _ in dependencies if _normalise_name(name) == full)
    for start, owner in _KNOWN_OWNERS.items():
        if soname.startswith(start):
            yield from (name for name, _ in dependencies if name.startswith(owner))
    words = {*re.findall(r"[a-z+]+", stem.removeprefix("lib"))}
    similar = [
        (name, depth) for name, depth in dependencies if words and words <= _split_name(name)
    ]
    yield from sorted(
        dict(similar), key=lambda name: (-_rate_similarity(_normalise_name(name), full), name)
    )
    yield from (name for name in _guess_by_name(index, stem, version) if name not in dict(similar))
    direct = [name for name, depth in dependencies if depth == 1]
    yield from sorted(direct, key=lambda name: _rank_last_resort(name, words))
    yield from (name for name, depth in dependencies if depth == 2 and name.startswith("lib"))


def _rank_last_resort(name: str, words: set[str]) -> tuple[bool, bool, bool]:
    """Sort key for unlikely packages: a common word, a library, not libc6."""
    return (
        not words & _split_name(name),
        not name.startswith("lib"),
        name in {"libc6", "libgcc-s1"},
    )


def _guess_program_owners(index: PackageNames, package: str, path: str) -> Iterator[str]:
    """Guess owners of a program or data file by the end of its path."""
    base = path.rpartition("/")[2]
    dependencies = list(_walk_depends(index, package))
    yield from (name for name in _ESSENTIAL.get(base, ()) if index.find_package(name))
    for candidate in (f"{base}-minimal", f"{base}-base", f"{base}-bin", base, f"{base}-common"):
        yield from (name for name, _ in dependencies if name == candidate)
    words = _split_name(path)
    stem = re.sub(r"[\d.]+$", "", base)
    yield from (name for name, _ in dependencies if len(stem) > 2 and name.startswith(stem))
    direct = [name for name, depth in dependencies if depth == 1]
    yield from sorted(direct, key=lambda name: -len(words & _split_name(name)))
    yield from (name for name, depth in dependencies if depth > 1 and words & _split_name(name))
    yield from (
        name for name in (f"{base}-minimal", f"{base}-base", base) if index.find_package(name)
    )


def _guess_firmware_owners(index: PackageNames, _package: str, path: str) -> list[str]:
    """Return firmware packages, those with names similar to the path first."""
    owners = [owner for start, owner in _KNOWN_OWNERS.items() if path.startswith(start)]
    names = [name for name in owners if index.find_package(name)] + [*index.find_names("firmware-")]
    text = path.lower()

    def rank(name: str) -> tuple[int, str]:
        words = [word for word in name.removeprefix("firmware-").split("-") if len(word) > 2]
        return (
            -99
            if name in owners
            else -max((len(word) for word in words if word in text), default=0),
            name,
        )

    return sorted(names, key=rank)


def _walk_depends(index: PackageNames, package: str) -> Iterator[tuple[str, int]]:
    """Yield real packages along Depends, breadth first, each once, with its depth."""
    seen = {package}
    level = [package]
    for depth in range(1, MAX_DEPTH + 1):
        following: list[str] = []
        for dependent in level:
            for alternatives in index.find_depends(dependent):
                for name in _resolve_virtual(index, alternatives):
                    if name not in seen and len(seen) < MAX_VISITED:
                        seen.add(name)
                        following.append(name)
                        yield name, depth
        level = following


def _resolve_virtual(index: PackageNames, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the real packages of a dependency: by name, or those that provide it."""
    for name in names:
        if index.find_package(name) is not None:
            yield name
        else:
            yield from index.find_providers(name)


def _normalise_name(name: str) -> str:
    """Remove what differs between sonames and package names: libglib200."""
    return re.sub(r"[-_.]", "", re.sub(r"t64\b", "", name.lower()))


def _split_name(name: str) -> set[str]:
    return {*re.findall(r"[a-z+]+", re.sub(r"t64\b", "", name.lower()).removeprefix("lib"))}


def _rate_similarity(name: str, other: str) -> float:
    return SequenceMatcher(None, name, other, autojunk=False).ratio()


def _guess_by_name(index: PackageNames, stem: str, version: str) -> list[str]:
    """Return packages named after a library that nothing depends on (dlopen)."""
    full = _normalise_name(stem + version)
    names = [
        name for name in index.find_names(stem.replace("_", "-")) if not _NO_LIBRARY.search(name)
    ]
    return sorted(names, key=lambda name: -_rate_similarity(_normalise_name(name), full))[:4]


GUESSES: Mapping[ProviderGuess, Callable[[PackageNames, str, str], Iterable[str]]] = {
    ProviderGuess.DEPENDENCY: _list_dependencies,
    ProviderGuess.LIBRARY: _guess_library_owners,
    ProviderGuess.MODULE: _guess_module_owners,
    ProviderGuess.FIRMWARE: _guess_firmware_owners,
    ProviderGuess.FILE: _guess_file_owners,
}
