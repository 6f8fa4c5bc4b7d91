"""Compiled programs, run in a tree of their own: what the kernel says is mapped is what we load.

Each case is C and a linker's command line. The program stops when all is loaded, and its maps are
read from outside: so auditors, preloads and what glibc opens itself are seen, too.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minbuild.facts.config_files import build_ld_cache
from minbuild.facts.model import Elf
from minbuild.paths import RootPath, to_host_path
from minbuild.resolve.builtin_tables import find_architecture
from minbuild.resolve.ldso import DynamicLoader
from minbuild.resolve.loader_config import list_cacheable, read_loader_config
from minbuild.resolve.model import UnmetNeed
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers
from minbuild.roots.directory import Directory
from minbuild.roots.root_packages import RootPackages, make_lazy_files
from tests.oracle.chroot import make_chroot

GCC = shutil.which("gcc")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(GCC is None or os.uname().machine != "x86_64", reason="no gcc for amd64"),
]

LIB = "/usr/lib/x86_64-linux-gnu"
OF_LIBC = ("ld-linux-x86-64.so.2", "libc.so.6", "libgcc_s.so.1", "libm.so.6")
MAIN = """
#include <stdio.h>
%(declared)s
int main(void) { %(calls)s puts("ready"); fflush(stdout); getchar(); return 0; }
"""
THREAD = """
#include <pthread.h>
static void *end(void *x) { pthread_exit(x); }
static int thread(void) { pthread_t t; pthread_create(&t, 0, end, 0); return pthread_join(t, 0); }
"""
AUDITOR = "unsigned la_version(unsigned v) { return v; }\n"
NEW, OLD = "-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"


@dataclass(frozen=True)
class Library:
    place: str
    calls: Sequence[str] = ()
    """Functions of other libraries: `b` is of libb.so."""
    options: Sequence[str] = ()
    source: str = ""


@dataclass(frozen=True)
class Case:
    libraries: Mapping[str, Library]
    calls: Sequence[str] = ()
    options: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    """What is not found: then the program does not start."""
    thread: bool = False
    program: str = "/opt/bin/app"


CASES = {
    "runpath is not inherited": Case(
        {"a": Library("/opt/libs", ["b"]), "b": Library("/opt/libs")},
        ["a"], [NEW, "-Wl,-rpath,/opt/libs"], missing=["libb.so"],
    ),
    "rpath is inherited along the chain": Case(
        {
            "a": Library("/opt/r", ["b"], [OLD, "-Wl,-rpath,$ORIGIN/sub"]),
            "b": Library("/opt/r/sub", ["d"]),
            "d": Library("/opt/r/sub"),
        },
        ["a"], [OLD, "-Wl,-rpath,$ORIGIN/../r"],
    ),
    "rpath of the program serves all": Case(
        {"a": Library("/opt/a", ["b"]), "b": Library("/opt/b")},
        ["a"], [OLD, "-Wl,-rpath,/opt/a:/opt/b"],
    ),
    "runpath of a library makes rpaths void for it": Case(
        {
            "a": Library("/opt/a", ["b"], [NEW, "-Wl,-rpath,/opt/none"]),
            "b": Library("/opt/a"),
        },
        ["a"], [OLD, "-Wl,-rpath,/opt/a"], missing=["libb.so"],
    ),
    "origin of a program is behind its links": Case(
        {"a": Library("/opt/lib")},
        ["a"], [NEW, "-Wl,-rpath,$ORIGIN/../lib"],
        links={"/usr/bin/app": "/opt/bin/app"}, program="/usr/bin/app",
    ),
    "origin of a library is as it was opened": Case(
        {
            "a": Library("/opt/real", ["b"], [NEW, "-Wl,-rpath,$ORIGIN"]),
            "b": Library("/opt/real"),
        },
        ["a"], [NEW, "-Wl,-rpath,/opt/seen"],
        links={"/opt/seen/liba.so": "../real/liba.so"}, missing=["libb.so"],
    ),
    "a directory link on the way": Case(
        {"a": Library("/opt/real", ["b"], [NEW, "-Wl,-rpath,$ORIGIN"]), "b": Library("/opt/real")},
        ["a"], [NEW, "-Wl,-rpath,/opt/seen"], links={"/opt/seen": "real"},
    ),
    "lib and platform": Case(
        {"a": Library("/opt/lib/x86_64-linux-gnu")}, ["a"], [NEW, "-Wl,-rpath,/opt/$LIB"],
    ),
    "nodeflib closes the system's directories": Case(
        {"a": Library(LIB, ["b"], ["-Wl,-z,nodefaultlib"]), "b": Library(LIB)},
        ["a"], missing=["libb.so"],
    ),
    "the cache serves, and nodeflib with it": Case(
        {"a": Library("/opt/c", ["b"], ["-Wl,-z,nodefaultlib"]), "b": Library("/opt/d")},
        ["a"], files={"/etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n/opt/d\n",
                      "/etc/ld.so.conf.d/one.conf": "/opt/c\n"},
    ),
    "the cache goes before the system": Case(
        {"a": Library("/opt/c"), "a ": Library(LIB)},
        ["a"], files={"/etc/ld.so.conf": "/opt/c\n"},
    ),
    "preloads come with what they need": Case(
        {"p": Library(LIB, ["q"]), "q": Library("/opt/q")},
        [], [NEW, "-Wl,-rpath,/opt/none"],
        files={"/etc/ld.so.preload": "# before\nlibp.so /opt/q/libq.so\n"},
    ),
    "an auditor by rpath": Case(
        {"aud": Library("/opt/x", ["h"], source=AUDITOR), "h": Library("/opt/x")},
        [], [OLD, "-Wl,-rpath,/opt/x", "-Wl,--audit,libaud.so"],
    ),
    "an auditor of a library, asked for by the program": Case(
        {"aud": Library(LIB, source=AUDITOR)}, [], ["-Wl,--depaudit,libaud.so"],
    ),
    "an auxiliary comes with what it needs, and is ignored where it is not": Case(
        {
            "a": Library(LIB, options=["-Wl,--auxiliary,libx.so", "-Wl,--auxiliary,libgone.so"]),
            "x": Library(LIB, ["y"]),
            "y": Library(LIB),
        },
        ["a"],
    ),
    "a filter comes with its filtee": Case(
        {"a": Library(LIB, options=["-Wl,--filter,libx.so"]), "x": Library(LIB)}, ["a"],
    ),
    "a filter does not start without its filtee": Case(
        {"a": Library(LIB, options=["-Wl,--filter,libgone.so"])}, ["a"], missing=["libgone.so"],
    ),
    "numbers of a name in the cache are numbers": Case(
        {"a1": Library("/opt/d")}, ["a1"],
        links={"/opt/c/liba01.so": "../d/liba1.so"}, files={"/etc/ld.so.conf": "/opt/c\n"},
    ),
    "ending a thread": Case({}, thread=True),
    "a variant for newer processors is beside it": Case(
        {"a": Library(LIB), "a ": Library(f"{LIB}/glibc-hwcaps/x86-64-v2")}, ["a"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_mapped_is_what_we_load(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    tree = tmp_path / "tree"
    build_case(case, tree, tmp_path)
    if "/etc/ld.so.conf" in case.files:
        catalog = PackageView(
            [make_lazy_files(RootPackages(Directory(tree), use_database=False))], merged=False
        )
        there = catalog.packages[0].entries
        rows = list_cacheable(catalog, there.keys(), find_architecture("amd64"))
        assert rows
        (tree / "etc/ld.so.cache").write_bytes(build_ld_cache(rows, 0x303))
    ours, missing = simulate_loader(tree, case)
    assert missing == sorted(case.missing)
    mapped, output = run_program(tree, case)
    if case.missing:
        assert f"{case.missing[0]}: cannot open shared object file" in output
    else:
        assert mapped == ours, output


def build_case(case: Case, tree: Path, work: Path) -> None:
    for directory in (LIB, "/usr/lib64", "/opt/bin", "/etc/ld.so.conf.d", "/usr/bin", "/proc"):
        to_host_path(tree, RootPath(directory)).mkdir(parents=True, exist_ok=True)
    (tree / "lib64").symlink_to("usr/lib64")
    (tree / "lib").symlink_to("usr/lib")
    for name in OF_LIBC:
        result = subprocess.run(
            ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        shutil.copy(result, to_host_path(tree, RootPath(f"{LIB}/{name}")))
    (tree / "usr/lib64" / OF_LIBC[0]).symlink_to(f"../lib/x86_64-linux-gnu/{OF_LIBC[0]}")
    stubs = work / "stubs"
    stubs.mkdir()
    for key in case.libraries:
        compile_object([f"int {key.strip()}(void) {{ return 1; }}"], stubs / f"lib{key.strip()}.so",
                 ["-shared", "-fPIC", f"-Wl,-soname,lib{key.strip()}.so"])  # fmt: skip
    for key, one in case.libraries.items():
        name = key.strip()
        target = to_host_path(tree, RootPath(f"{one.place}/lib{name}.so"))
        target.parent.mkdir(parents=True, exist_ok=True)
        body = "".join(f"int {each}(void);" for each in one.calls)
        body += f"{one.source}\nint {name}(void) {{ return 1 {''.join(f'+ {c}()' for c in one.calls)}; }}"
        compile_object([body], target, ["-shared", "-fPIC", f"-Wl,-soname,lib{name}.so", *one.options],
                 stubs, one.calls)  # fmt: skip
    declared = "".join(f"int {each}(void);" for each in case.calls)
    calls = "".join(f"{each}();" for each in case.calls)
    if case.thread:
        declared, calls = THREAD, "thread();"
    compile_object([MAIN % {"declared": declared, "calls": calls}], tree / "opt/bin/app",
             ["-pthread", *case.options], stubs, case.calls)  # fmt: skip
    for path, text in case.links.items():
        target = to_host_path(tree, RootPath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(text)
    for path, text in case.files.items():
        to_host_path(tree, RootPath(path)).write_text(text)


def compile_object(
    source: Sequence[str], path: Path, options: Sequence[str], stubs: Path | None = None,
    libraries: Sequence[str] = (),
) -> None:  # fmt: skip
    link = [f"-L{stubs}", "-Wl,--allow-shlib-undefined", "-Wl,--no-as-needed"] if stubs else []
    subprocess.run(
        ["gcc", "-x", "c", "-", "-o", path, *options, *link, *(f"-l{name}" for name in libraries)],
        input="\n".join(source), text=True, check=True,
    )  # fmt: skip


def simulate_loader(tree: Path, case: Case) -> tuple[set[str], list[str]]:
    files = make_lazy_files(RootPackages(Directory(tree), use_database=False))
    catalog = PackageView([files], merged=False)
    loader = DynamicLoader(catalog, find_architecture("amd64"), Waivers())
    loader.configure(read_loader_config(catalog, files.entries.keys(), find_architecture("amd64")))
    real = catalog.resolve_links(RootPath(case.program))
    assert real is not None
    elf = files.facts(real)
    assert isinstance(elf, Elf)
    outcomes = loader.load_process(real, elf).results
    missing = sorted(one.wanted for one in outcomes if isinstance(one, UnmetNeed))
    return {str(path) for path in loader.loaded}, missing


def run_program(tree: Path, case: Case) -> tuple[set[str], str]:
    """The files that the running program has mapped, seen from inside; what else it said."""
    # the hardware's own variants are masked: an image is made for the architecture's baseline
    command = [f"{LIB}/{OF_LIBC[0]}", "--glibc-hwcaps-mask", "none", case.program]
    if "hwcaps" not in str(case.libraries):
        command = [case.program]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=make_chroot(tree, proc=True), env={},  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None
    mapped = ""
    if process.stdout.readline() == "ready\n":
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
    _, output = process.communicate("\n", timeout=90)
    paths = set(re.findall(r" (/\S+)$", mapped, re.MULTILINE))
    return {path.removeprefix(os.path.realpath(tree)) for path in paths}, output
