"""Which package probably has what another one needs: a guess by name along Depends, best first.

A wrong guess costs a download and nothing else: the resolver looks into what was fetched.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import SequenceMatcher

from minbuild.archive.index import Index

DEPTH = 4
"""Steps along Depends from the needing package."""
WIDEST = 400
"""Packages that one search looks at."""

_GLIBC = re.compile(
    r"ld-linux.*|ld64\.so\..*|ld\.so\..*|ld-(?:musl-)?[\w-]+\.so\.\d+|libnss_(?:files|dns|compat)\.so\.2|"
    r"lib(?:c|m|mvec|dl|rt|pthread|resolv|util|anl|nsl|thread_db|c_malloc_debug|BrokenLocale)"
    r"(?:\.so\.[16]|\.so\.[12]|\.so\.6\.1)?"
)
"""What libc6 holds beside the library it is named after."""

_ELSEWHERE = {
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
"""How sonames and firmware files start → the start of a package whose name does not tell."""

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
"""Programs of essential packages, which nobody names in Depends. Source: Debian Policy 3.8."""


def candidates(index: Index, package: str, kind: str, wanted: str) -> tuple[str, ...]:
    """Packages that could have what `package` needs, best first, each a name in the index.

    `kind` is a NeedKind's text; `wanted` the soname, path, module or firmware file.
    """
    return tuple(dict.fromkeys(SEARCHES[kind](index, package, wanted)))


def _modules(index: Index, package: str, _name: str) -> list[str]:
    near = dict(_walk(index, package))
    return sorted(near, key=lambda name: not name.startswith("linux-modules-"))


def _near(index: Index, package: str, _path: str) -> Iterator[str]:
    return (name for name, _ in _walk(index, package))


def _by_path(index: Index, package: str, path: str) -> Iterator[str]:
    """Owners of a file: a library by its soname, any other by the last parts of its path."""
    is_library = ".so" in path.rpartition("/")[2]
    return (_libraries if is_library else _programs)(index, package, path)


def _libraries(index: Index, package: str, path: str) -> Iterator[str]:
    """Owners of a library, by Debian's way to name packages after sonames.

    Source: Debian Policy 8.1, "Run-time shared libraries".
    """
    soname = path.rpartition("/")[2]
    if _GLIBC.fullmatch(soname):
        yield "libc6"
    near = list(_walk(index, package))
    stem, _, version = soname.lower().partition(".so")
    full = _plain(stem + version)
    yield from (name for name, _ in near if _plain(name) == full)
    for start, owner in _ELSEWHERE.items():
        if soname.startswith(start):
            yield from (name for name, _ in near if name.startswith(owner))
    words = {*re.findall(r"[a-z+]+", stem.removeprefix("lib"))}
    like = [(name, depth) for name, depth in near if words and words <= _words(name)]
    yield from sorted(dict(like), key=lambda name: (-_likeness(_plain(name), full), name))
    yield from (name for name in _guesses(index, stem, version) if name not in dict(like))
    direct = [name for name, depth in near if depth == 1]
    yield from sorted(direct, key=lambda name: _last_resort(name, words))
    yield from (name for name, depth in near if depth == 2 and name.startswith("lib"))


def _last_resort(name: str, words: set[str]) -> tuple[bool, bool, bool]:
    """Order of packages whose names do not tell: some word in common, a library, not libc6."""
    return (not words & _words(name), not name.startswith("lib"), name in {"libc6", "libgcc-s1"})


def _programs(index: Index, package: str, path: str) -> Iterator[str]:
    """Owners of a program or a data file, by the last parts of its path."""
    base = path.rpartition("/")[2]
    near = list(_walk(index, package))
    yield from (name for name in _ESSENTIAL.get(base, ()) if index.package(name))
    for wish in (f"{base}-minimal", f"{base}-base", f"{base}-bin", base, f"{base}-common"):
        yield from (name for name, _ in near if name == wish)
    words = _words(path)
    stem = re.sub(r"[\d.]+$", "", base)
    yield from (name for name, _ in near if len(stem) > 2 and name.startswith(stem))
    direct = [name for name, depth in near if depth == 1]
    yield from sorted(direct, key=lambda name: -len(words & _words(name)))
    yield from (name for name, depth in near if depth > 1 and words & _words(name))
    yield from (name for name in (f"{base}-minimal", f"{base}-base", base) if index.package(name))


def _firmware(index: Index, _package: str, path: str) -> list[str]:
    """Firmware packages, those first whose names are like the file's path."""
    owners = [owner for start, owner in _ELSEWHERE.items() if path.startswith(start)]
    names = [name for name in owners if index.package(name)] + [*index.names("firmware-")]
    text = path.lower()

    def affinity(name: str) -> tuple[int, str]:
        words = [word for word in name.removeprefix("firmware-").split("-") if len(word) > 2]
        return (
            -99
            if name in owners
            else -max((len(word) for word in words if word in text), default=0),
            name,
        )

    return sorted(names, key=affinity)


def _walk(index: Index, package: str) -> Iterator[tuple[str, int]]:
    """Real packages along Depends, breadth first, each once, with its number of steps."""
    seen = {package}
    level = [package]
    for depth in range(1, DEPTH + 1):
        following: list[str] = []
        for one in level:
            for alternatives in index.depends(one):
                for name in _real(index, alternatives):
                    if name not in seen and len(seen) < WIDEST:
                        seen.add(name)
                        following.append(name)
                        yield name, depth
        level = following


def _real(index: Index, names: tuple[str, ...]) -> Iterator[str]:
    """The packages that names of a dependency stand for: themselves, or those that provide them."""
    for name in names:
        if index.package(name) is not None:
            yield name
        else:
            yield from index.providers(name)


def _plain(name: str) -> str:
    """A name without what differs between sonames and package names: libglib200."""
    return re.sub(r"[-_.]", "", re.sub(r"t64\b", "", name.lower()))


def _words(name: str) -> set[str]:
    return {*re.findall(r"[a-z+]+", re.sub(r"t64\b", "", name.lower()).removeprefix("lib"))}


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _guesses(index: Index, stem: str, version: str) -> list[str]:
    """Packages named after a library though nothing depends on them (dlopen)."""
    full = _plain(stem + version)
    names = [name for name in index.names(stem.replace("_", "-")) if not _NO_LIBRARY.search(name)]
    return sorted(names, key=lambda name: -_likeness(_plain(name), full))[:4]


SEARCHES: Mapping[str, Callable[[Index, str, str], Iterable[str]]] = {
    "root": _near,
    "kconfig": _near,
    "module": _modules,
    "softdep": _modules,
    "firmware": _firmware,
    "needed": _libraries,
    "dlopen": _libraries,
    **dict.fromkeys(("parent", "link", "interp", "shebang", "exec"), _by_path),
    **dict.fromkeys(("data", "string", "generated"), _by_path),
}
"""How to look for what a need of each kind wants."""
