"""Our loader against the real one: ld.so --list over whole packages, path by path, in order.

A sample of the packages is taken, by a seed that is printed; MINBUILD_ORACLE=all takes all of
them, MINBUILD_ORACLE_SEED=N repeats a sample.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minbuild.facts.model import Elf, FileFacts, PackageFiles
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath, to_host_path
from minbuild.pipeline.package_selection import PackageSelection, PackageSource, select_packages
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import BuildRequest
from minbuild.resolve.builtin_tables import find_architecture
from minbuild.resolve.ldso import DynamicLoader
from minbuild.resolve.model import NeedKind, Root, UnmetNeed
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers
from tests.oracle.chroot import trace_loader
from tests.oracle.trees import sample, write_closure

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]

PACKAGES = tuple((Path(__file__).parent / "packages.txt").read_text().split())
SAMPLE = 3
LOADER = "/usr/lib64/ld-linux-x86-64.so.2"

LISTED = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
LOST = re.compile(r"^\t(\S+) => not found$", re.MULTILINE)


def test_every_process_is_what_the_loader_makes_of_it(
    package_source: PackageSource, tmp_path: Path
) -> None:
    names = sample(PACKAGES, SAMPLE)
    compared = objects = missing = 0
    problems: list[str] = []
    for name in names:
        tree = tmp_path / name
        selection, paths = resolve_package(name, package_source)
        extract_chosen_files(
            BuildRequest(tmp_path),
            selection.packages,
            selection.closure.files.values(),
            package_source.session,
        )
        write_closure(selection.closure, tree, package_source.session.store)
        for one in simulate_loader(selection.files, paths):
            theirs = run_loader(tree, one.path)
            compared += len(theirs.loaded)
            objects += 1
            missing += len(theirs.missing)
            if (one.loaded, one.missing) != (theirs.loaded, theirs.missing):
                problems.append(f"{name} {one.path}\n  ours   {one}\n  theirs {theirs}")
    print(
        f"{len(names)} packages, {objects} programs and libraries, {compared} loaded objects "
        f"compared, {missing} not found by either"
    )
    assert not problems, "\n".join(problems)
    assert compared


def resolve_package(
    name: str, package_source: PackageSource, *, arch: str = "amd64", loader: str = LOADER
) -> tuple[PackageSelection, list[RootPath]]:
    """The closure of all dynamic objects of one package, and those objects."""
    package = package_source.find_package(name)
    assert package is not None, f"no package {name}"
    (files,) = package_source.fetch_and_analyse([package])
    paths = [path for path in files.entries if is_loadable(files, path)]
    roots = [Root(NeedKind.ROOT, path, "oracle/all", "", name) for path in paths]
    # plug-ins name no interpreter
    roots.append(Root(NeedKind.ROOT, loader, "oracle/all", "", "libc6"))
    return select_packages(roots, package_source, arch=arch), paths


def is_loadable(files: PackageFiles, path: RootPath) -> bool:
    facts = files.facts(path) if files.entries[path].kind is FileType.FILE else None
    return isinstance(facts, Elf) and facts.dynamic and bool(facts.interpreter or facts.needed)


@dataclass(frozen=True, slots=True)
class LoadedProcess:
    """One process as a loader sees it."""

    path: RootPath
    loaded: list[str]
    """Real paths in load order; ld.so itself is left out."""
    missing: list[str]
    """What was not found, sorted."""


def simulate_loader(
    files: Sequence[PackageFiles], paths: Sequence[RootPath], *, arch: str = "amd64"
) -> Iterator[LoadedProcess]:
    """What our loader makes of each object."""
    catalog = PackageView([startup_only(one) for one in files])
    for path in paths:
        elf = catalog.get_facts(path)
        assert isinstance(elf, Elf)
        process = DynamicLoader(catalog, find_architecture(arch), Waivers()).load_process(path, elf)
        loaded = [str(each.path) for each in process.objects[1:]]
        missing = {one.wanted for one in process.results if isinstance(one, UnmetNeed)}
        yield LoadedProcess(
            path, [one for one in loaded if "/ld-linux-" not in one], sorted(missing)
        )


def startup_only(files: PackageFiles) -> PackageFiles:
    def facts(path: RootPath) -> FileFacts | None:
        known = files.facts(path)
        return replace(known, dlopen=(), cancel_function="") if isinstance(known, Elf) else known

    return replace(files, facts=facts, symbols=lambda path: None)


def run_loader(tree: Path, path: RootPath) -> LoadedProcess:
    """What the tree's own loader says."""
    result = trace_loader(tree, path)
    assert result.returncode == 0, f"{path}: {result.stdout}{result.stderr}"
    matches = [
        os.path.realpath(to_host_path(tree, RootPath(each)))
        for each in LISTED.findall(result.stdout)
    ]
    inside = ["/" + os.path.relpath(each, os.path.realpath(tree)) for each in matches]
    loaded = [each for each in inside if "/ld-linux-" not in each]
    return LoadedProcess(path, loaded, sorted(set(LOST.findall(result.stdout))))
