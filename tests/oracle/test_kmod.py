"""Our closures of kernel modules against kmod's: modprobe --show-depends, and depmod's index.

A sample of the cloud kernel's modules is taken, by a seed that is printed; MINBUILD_ORACLE=all
takes all of that kernel and of linux-image-amd64.
"""

import os
import random
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minbuild.archive.model import Package
from minbuild.facts.detect import read_symbols
from minbuild.facts.model import Module, Symbols, TextLines
from minbuild.manifest.model import Location, Waiver
from minbuild.paths import RootPath, to_host_path
from minbuild.pipeline.package_selection import PackageSource, select_packages
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import BuildRequest
from minbuild.resolve import depmod
from minbuild.resolve.closed_world import ModuleSymbolCheck
from minbuild.resolve.depmod import get_module_name, read_search_order
from minbuild.resolve.kernel import (
    IMAGE_GLOB,
    MODULES_DIRECTORY,
    InstalledKernel,
    parse_image_version,
)
from minbuild.resolve.model import Closure, NeedKind, Root
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve
from tests.oracle.trees import WHOLE, sample, write_closure
from tests.support.elf import module
from tests.unit.resolve import builders
from tests.unit.resolve.builders import Content

pytestmark = [pytest.mark.oracle, pytest.mark.mirror, pytest.mark.xdist_group("kernel")]

KERNELS = (
    ("linux-image-cloud-amd64", "linux-image-amd64") if WHOLE else ("linux-image-cloud-amd64",)
)
SAMPLE = 150
FEW = 12
DEVICES, MOST_DEVICES = 150, 3000
LIB = "usr/lib/x86_64-linux-gnu"
NO_FIRMWARE = ResolvePolicy(
    allow_missing=(Waiver("**", "firmware is another matter", Location("", 1, 1)),)
)


@dataclass(frozen=True, slots=True)
class Kmod:
    """kmod of the archive, run through its own loader."""

    tree: Path
    nothing: Path
    """An empty directory of configuration."""

    def run(self, name: str, *args: str, must: bool = True) -> str:
        result = subprocess.run(
            [
                self.tree / LIB / "ld-linux-x86-64.so.2", "--argv0", name,
                "--library-path", self.tree / LIB, self.tree / "usr/bin/kmod",
                "-C", self.nothing, *args,
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0 or not must, f"{name} {args}: {result.stdout}{result.stderr}"
        return result.stdout


@dataclass(frozen=True, slots=True)
class Full:
    """All modules of one kernel, written down, with kmod's index."""

    version: str
    tree: Path
    closure: Closure
    modules: Mapping[str, RootPath]


@pytest.fixture(scope="module")
def kmod(package_source: PackageSource, tmp_path_factory: pytest.TempPathFactory) -> Kmod:
    path = tmp_path_factory.mktemp("kmod")
    root = Root(NeedKind.ROOT, "/usr/bin/kmod", "oracle/kmod", "", "kmod")
    selection = select_packages([root], package_source, arch="amd64")
    extract_chosen_files(
        BuildRequest(path),
        selection.packages,
        selection.closure.files.values(),
        package_source.session,
    )
    write_closure(selection.closure, path / "tree", package_source.session.store)
    (path / "nothing").mkdir()
    return Kmod(path / "tree", path / "nothing")


@pytest.fixture(scope="module", params=KERNELS)
def full(
    request: pytest.FixtureRequest, package_source: PackageSource, kmod: Kmod,
    tmp_path_factory: pytest.TempPathFactory,
) -> Full:  # fmt: skip
    package: str = request.param
    image = Root(NeedKind.ROOT, IMAGE_GLOB, "oracle/kernel", "", package)
    selection = select_packages([image], package_source, arch="amd64")
    every = Root(NeedKind.MODULE, "kernel/**", "oracle/kernel", "")
    index = [
        Root(NeedKind.ROOT, path, "oracle/kernel", "", files.owner)
        for files in selection.files
        for path in files.entries
        if path.startswith(f"{MODULES_DIRECTORY}/{selection.closure.kernel_release}/modules.")
    ]
    closure = resolve([image, every, *index], selection.files, arch="amd64", policy=NO_FIRMWARE)
    assert not closure.unmet_needs, closure.unmet_needs[:5]
    extract_chosen_files(
        BuildRequest(Path()), selection.packages, closure.files.values(), package_source.session
    )
    tree = tmp_path_factory.mktemp("full") / "tree"
    write_closure(closure, tree, package_source.session.store)
    kmod.run("depmod", "-b", str(tree), closure.kernel_release)
    by_name = {get_module_name(path): path for path in closure.files if ".ko" in path}
    print(f"{package}: {len(by_name)} modules of {closure.kernel_release}")
    return Full(closure.kernel_release, tree, closure, by_name)


def test_every_module_brings_what_modprobe_would_load(full: Full, kmod: Kmod) -> None:
    names = sample(sorted(full.modules), SAMPLE)
    edges: dict[str, list[str]] = {}
    for need in full.closure.needs:
        if need.evidence.startswith("weakdep "):
            continue  # modprobe leaves them to the kernel
        if need.kind in (NeedKind.MODULE, NeedKind.SOFTDEP) and need.needed_by.startswith("/"):
            edges.setdefault(need.needed_by, []).append(need.path)
    asked = ModprobeSimulation(kmod, full)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        theirs = list(pool.map(asked.closure, names))
    problems = []
    compared = 0
    for name, their in zip(names, theirs, strict=True):
        ours = find_reachable(full.modules[name], edges)
        compared += len(ours)
        if ours != their:
            problems.append(
                f"{name}: only ours {sorted(ours - their)}, only modprobe's {sorted(their - ours)}"
            )
    print(f"{len(names)} modules, {compared} paths compared")
    assert not problems, "\n".join(problems)


def test_a_device_selects_what_modprobe_would_load_for_it(
    full: Full, kmod: Kmod, package_source: PackageSource
) -> None:
    kernel = InstalledKernel(
        PackageView(package_source.fetch_and_analyse(kernel_packages(full, package_source))),
        full.version,
    )
    patterns = sorted({
        alias
        for line in lines(full.tree, f"{MODULES_DIRECTORY}/{full.version}", "modules.alias")
        if ":" in (alias := line.split()[1])
    })  # fmt: skip
    devices = [make_device(alias) for alias in sample(patterns, DEVICES)][:MOST_DEVICES]
    options = ["-d", str(full.tree), "-S", full.version, "--resolve-alias", "--quiet"]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        output = pool.map(lambda each: kmod.run("modprobe", *options, each, must=False), devices)
        theirs = [set(one.split()) for one in output]
    problems = []
    for each, their in zip(devices, theirs, strict=True):
        hits = kernel.find(each)
        ours = {get_module_name(path) for path in hits.paths}
        if ours != their:
            problems.append(f"{each}: only ours {ours - their}, only modprobe's {their - ours}")
    print(f"{len(devices)} devices of {len(patterns)} kinds, {sum(map(len, theirs))} drivers")
    assert not problems, "\n".join(problems)
    assert sum(map(len, theirs)) >= len(devices) // 2


def make_device(pattern: str) -> str:
    """A device that an alias serves: each `*` becomes a digit, each set its first letter."""
    return re.sub(r"\[(.)[^]]*\]", r"\1", pattern).replace("*", "0").replace("?", "0")


def test_every_symbol_of_every_module_is_offered_where_it_looks(
    full: Full, package_source: PackageSource
) -> None:
    files = [
        replace(one, symbols=lambda path: read_tree_symbols(full.tree, path))
        for one in package_source.fetch_and_analyse(kernel_packages(full, package_source))
    ]
    offered = [
        symbols
        for one in files
        for path in one.entries
        if parse_image_version(path) and (symbols := one.symbols(path)) is not None
    ]
    assert [len(symbols.defined) > 5000 for symbols in offered] == [True]
    expected = [
        symbol
        for one in files
        for path in full.modules.values()
        if path in one.entries and (symbols := one.symbols(path)) is not None
        for symbol in symbols.undefined
    ]
    print(f"{len(full.modules)} modules, {len(expected)} symbols")
    assert len(expected) > 10 * len(full.modules)
    assert all("@" in symbol for symbol in expected)
    assert [str(each) for each in ModuleSymbolCheck(PackageView(files)).find_unmet()] == []


def read_tree_symbols(tree: Path, path: RootPath) -> Symbols | None:
    """As of a finished tree: a package's record of its kernel and modules has no symbols."""
    file = tree / path.lstrip("/")
    return read_symbols(path, file.read_bytes()) if file.is_file() else None


def test_the_index_of_a_trimmed_tree_is_that_of_the_full_one(
    full: Full, kmod: Kmod, package_source: PackageSource, tmp_path: Path
) -> None:
    for number, names in enumerate(chunks(sample(sorted(full.modules), FEW), FEW)):
        chosen = resolve_modules(full, names, package_source)
        tree = tmp_path / str(number)
        write_closure(chosen, tree, package_source.session.store)
        kmod.run("depmod", "-b", str(tree), full.version)
        inside = {
            path: full_facts(full, package_source, path) for path in chosen.files if ".ko" in path
        }
        top = f"{MODULES_DIRECTORY}/{full.version}"
        for file, make in depmod.INDEX_FILES.items():
            theirs = lines(tree, top, file)
            assert ignore_order(made(make(inside, top))) == ignore_order(theirs), file
            assert ignore_order(theirs) <= ignore_order(lines(full.tree, top, file)), file
        ours = made(depmod.render_modules_dep(inside, top))
        assert ours
        assert not [line for line in ours if not is_load_order(line, ours)]


def ignore_order(found: Sequence[str]) -> set[tuple[str, frozenset[str]]]:
    """Lines without the order of what each lists: depmod's follows that of the directory.

    The lines of a module with several softdep fields count as one.
    """
    merged: dict[str, set[str]] = {}
    for line in found:
        head, _, rest = line.partition(":") if ".ko" in line else (line, "", "")
        if line.startswith("softdep "):
            head, rest = (
                line.split()[1],
                " ".join(parse_softdeps(line.split()[2:])).replace("-", "_"),
            )
            if not rest:
                continue
        merged.setdefault(head, set()).update(rest.split())
    return {(head, frozenset(argv)) for head, argv in merged.items()}


def parse_softdeps(words: Sequence[str]) -> list[str]:
    """The names of a softdep; those before the first pre: or post: (cifs) modprobe passes over."""
    starts = [number for number, word in enumerate(words) if word in ("pre:", "post:")]
    after = words[starts[0] :] if starts else []
    return [word for word in after if word not in ("pre:", "post:")]


def is_load_order(line: str, index: Sequence[str]) -> bool:
    """Whether all that each module of a line needs stands after it: it is loaded from the end."""
    order = line.replace(":", "").split()
    needs = {head: rest.split() for head, _, rest in (one.partition(":") for one in index)}
    target = {path: number for number, path in enumerate(order)}
    return all(target[need] > target[path] for path in order for need in needs[path])


def chunks(names: Sequence[str], size: int) -> list[Sequence[str]]:
    """All names in lists of no more than 40 of that size: 40 trees show as much as 400."""
    return [names[at : at + size] for at in range(0, len(names), size)][:40]


def resolve_modules(full: Full, names: Iterable[str], package_source: PackageSource) -> Closure:
    """The closure of some modules and of nothing else."""
    roots = [Root(NeedKind.MODULE, name, "oracle/kernel", "") for name in names]
    files = package_source.fetch_and_analyse(kernel_packages(full, package_source))
    return resolve(roots, files, arch="amd64", policy=NO_FIRMWARE)


def kernel_packages(full: Full, package_source: PackageSource) -> list[Package]:
    owners = sorted({one.package for one in full.closure.files.values() if one.package})
    return [
        package for name in owners if (package := package_source.find_package(name)) is not None
    ]


def full_facts(full: Full, package_source: PackageSource, path: RootPath) -> Module:
    for files in package_source.fetch_and_analyse(kernel_packages(full, package_source)):
        if path in files.entries:
            facts = files.facts(path)
            assert isinstance(facts, Module)
            return facts
    raise AssertionError(path)


class ModprobeSimulation:
    """What modprobe would load, with every softdep that a module declares.

    Of a module with several `softdep` fields (btrfs, ksmbd) modprobe follows only one:
    libkmod-module.c, "find only the first command". The kernel's authors mean all of them, so
    modprobe is asked for those of the other fields, too.
    """

    def __init__(self, kmod: Kmod, full: Full) -> None:
        self._kmod, self._full = kmod, full
        self._shown: dict[str, set[str]] = {}
        self.several: dict[str, list[str]] = {}
        fields: dict[str, list[list[str]]] = {}
        for line in lines(full.tree, f"{MODULES_DIRECTORY}/{full.version}", "modules.softdep"):
            _, name, *argv = line.split()
            fields.setdefault(name, []).append(parse_softdeps(argv))
        for name, lists in fields.items():
            if len(lists) > 1:
                self.several[name] = [each for argv in lists for each in argv]

    def closure(self, name: str) -> set[str]:
        names: set[str] = set()
        todo, seen = [name], set()
        while todo:
            asked = todo.pop()
            if asked in seen:
                continue
            seen.add(asked)
            new = self._list_loads(asked, must=asked == name) - names
            names |= new
            todo += [each for path in new for each in self.several.get(get_module_name(path), ())]
        return names

    def _list_loads(self, name: str, *, must: bool) -> set[str]:
        if name not in self._shown:
            self._shown[name] = show_depends(self._kmod, self._full, name, must=must)
        return self._shown[name]


def show_depends(kmod: Kmod, full: Full, name: str, *, must: bool) -> set[str]:
    """What modprobe would load for a module: real paths; nothing for a name that nobody has."""
    options = ["-d", str(full.tree), "-S", full.version, "--show-depends"]
    output = kmod.run("modprobe", *options, name, must=must)
    paths = set()
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word == "insmod":
            inside = rest.split(" ")[0].removeprefix(str(full.tree))
            paths.add(f"/usr{inside}" if inside.startswith("/lib/") else inside)
    return paths


def find_reachable(start: str, edges: Mapping[str, Sequence[str]]) -> set[str]:
    seen = {start}
    todo = [start]
    while todo:
        for path in edges.get(todo.pop(), ()):
            if path not in seen:
                seen.add(path)
                todo.append(path)
    return seen


def lines(tree: Path, top: str, name: str) -> list[str]:
    return made(to_host_path(tree, RootPath(f"{top}/{name}")).read_bytes())


def made(data: bytes) -> list[str]:
    return [line for line in data.decode().splitlines() if not line.startswith("#")]


LAYOUTS = 60
SEARCHES = ("updates", "extra", "built-in", "weak-updates", "kernel/drivers", "up")
PLACES = (
    "kernel/drivers/net",
    "kernel/fs",
    "updates",
    "updates/dkms/a",
    "updates-old",
    "extra",
    "weak-updates/x",
    "build",
    "own",
)


def test_of_modules_of_one_name_depmods_choice_is_taken(kmod: Kmod, tmp_path: Path) -> None:
    """Layouts by chance; names that the order leaves equal are left out: depmod's answer hangs on
    the order of a directory."""
    problems, compared = [], 0
    for number in range(LAYOUTS):
        chance = random.Random(number)
        lines = []
        if chance.random() < 0.7:
            names = chance.sample(SEARCHES, chance.randrange(1, 5))
            lines.append("search " + " ".join(names))
        for _ in range(chance.randrange(3)):
            release = chance.choice(("*", "6.1", "6.2", "^6"))
            lines.append(f"override m{chance.randrange(6)} {release} {chance.choice(PLACES)}")
        if chance.random() < 0.2:
            lines.append("exclude own")
        work = tmp_path / str(number)
        top = work / "root/usr/lib/modules/6.1-t"
        paths = [
            f"{target}/m{name}.ko"
            for name in range(6)
            for target in chance.sample(PLACES, chance.randrange(1, 5))
        ]
        for path in paths:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_bytes(module([("name", path.rpartition("/")[2][:-3])]))
        (top / "modules.builtin").touch()
        (top / "modules.order").touch()
        (work / "root/lib").symlink_to("usr/lib")
        (work / "conf").mkdir()
        (work / "conf/a.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        kmod.run("depmod", "-C", str(work / "conf"), "-b", str(work / "root"), "6.1-t")
        theirs = {
            get_module_name(path): path
            for line in (top / "modules.dep").read_text(encoding="utf-8").splitlines()
            if (path := line.partition(":")[0])
        }
        content: dict[str, Content] = {
            f"{MODULES_DIRECTORY}/6.1-t/{path}": Module(get_module_name(path)) for path in paths
        }
        content["/etc/depmod.d/a.conf"] = TextLines(tuple(lines))
        catalog = PackageView([builders.package("linux", content)])
        order = read_search_order(catalog, "6.1-t")
        ours = {
            name: path.partition("6.1-t/")[2]
            for name, path in InstalledKernel(catalog, "6.1-t").modules.items()
        }
        assert ours.keys() == theirs.keys(), (number, lines)
        for name, path in ours.items():
            equal = [
                each for each in paths
                if get_module_name(each) == name and order.includes(each) and order.rank_module(each)[:2] == order.rank_module(path)[:2]
            ]  # fmt: skip
            if len(equal) == 1:
                compared += 1
                if theirs[name] != path:
                    problems.append(f"{number} {lines}: {path}, depmod {theirs[name]}")
    print(f"{LAYOUTS} layouts, {compared} names compared")
    assert compared > 100
    assert not problems, "\n".join(problems)
