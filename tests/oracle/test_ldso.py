"""Our loader against the real one: ld.so --list over whole packages, path by path, in order.

A sample of the packages is taken, by a seed that is printed; MINBUILD_ORACLE=all takes all of
them, MINBUILD_ORACLE_SEED=N repeats a sample.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.build.contents import bring
from minbuild.build.growing import Grown, Market, grow
from minbuild.build.request import Request
from minbuild.facts.types import Elf, FileFacts, Files, Kind
from minbuild.paths import RootPath, under
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.ldso import Loader
from minbuild.resolve.machine import machine
from minbuild.resolve.types import Missing, NeedKind, Root
from minbuild.resolve.waivers import Waivers
from tests.oracle.jail import trace
from tests.oracle.trees import lay, sampled

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]

PACKAGES = tuple((Path(__file__).parent / "packages.txt").read_text().split())
SAMPLE = 3
LOADER = "/usr/lib64/ld-linux-x86-64.so.2"

LISTED = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


def test_every_process_is_what_the_loader_makes_of_it(market: Market, tmp_path: Path) -> None:
    names = sampled(PACKAGES, SAMPLE)
    compared = 0
    problems: list[str] = []
    for name in names:
        tree = tmp_path / name
        grown, paths = whole(name, market)
        bring(Request(tmp_path), grown.packages, grown.closure.chosen.values(), market.doors)
        lay(grown.closure, tree, market.doors.store)
        for path, ours in simulated(grown, paths):
            theirs = asked(tree, path)
            compared += len(theirs)
            if ours != theirs:
                problems.append(f"{name} {path}\n  ours   {ours}\n  theirs {theirs}")
    print(f"{len(names)} packages, {compared} loaded objects compared")
    assert not problems, "\n".join(problems)
    assert compared


def whole(
    name: str, market: Market, *, arch: str = "amd64", loader: str = LOADER
) -> tuple[Grown, list[RootPath]]:
    """The closure of all dynamic objects of one package, and those objects."""
    package = market.package(name)
    assert package is not None, f"no package {name}"
    (files,) = market.open([package])
    paths = [path for path in files.entries if loadable(files, path)]
    roots = [Root(NeedKind.ROOT, path, "oracle/all", "", name) for path in paths]
    # plug-ins name no interpreter
    roots.append(Root(NeedKind.ROOT, loader, "oracle/all", "", "libc6"))
    return grow(roots, market, arch=arch), paths


def loadable(files: Files, path: RootPath) -> bool:
    facts = files.facts(path) if files.entries[path].kind is Kind.FILE else None
    return isinstance(facts, Elf) and facts.dynamic and bool(facts.interpreter or facts.needed)


def simulated(
    grown: Grown, paths: Sequence[RootPath], *, arch: str = "amd64"
) -> Iterator[tuple[RootPath, list[str]]]:
    """What our loader makes of each object: real paths in load order, ld.so itself left out.

    A process that lacks something is left out: ld.so --list says no more than we then.
    """
    catalog = Catalog([startup_only(files) for files in grown.files])
    for path in paths:
        elf = catalog.facts(path)
        assert isinstance(elf, Elf)
        process = Loader(catalog, machine(arch), Waivers()).process(path, elf)
        if not any(isinstance(outcome, Missing) for outcome in process.outcomes):
            yield path, [each.path for each in process.objects[1:] if "/ld-linux-" not in each.path]


def startup_only(files: Files) -> Files:
    def facts(path: RootPath) -> FileFacts | None:
        known = files.facts(path)
        return replace(known, dlopen=()) if isinstance(known, Elf) else known

    return replace(files, facts=facts, symbols=lambda path: None)


def asked(tree: Path, path: RootPath) -> list[str]:
    """What the tree's own loader says, as real paths in its order."""
    found = [
        os.path.realpath(under(tree, RootPath(each))) for each in LISTED.findall(trace(tree, path))
    ]
    inside = ["/" + os.path.relpath(each, os.path.realpath(tree)) for each in found]
    return [each for each in inside if "/ld-linux-" not in each]
