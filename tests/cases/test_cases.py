"""Scenarios of the whole resolver: from a manifest and packages as text to a tree or an error.

Each folder holds host.yaml (after `minbuild:`, `name:`, `archive:` are put before it),
packages.txt, and expected.txt, whole. MINBUILD_CASES=write writes expected.txt anew.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbuild.archive.index import open_index
from minbuild.archive.mirror import find_mirror
from minbuild.build.commands import closure_cautions, heeded, reader
from minbuild.build.growing import Market, grow
from minbuild.build.request import Doors
from minbuild.errors import MinbuildError
from minbuild.facts.rendered import rendered
from minbuild.facts.types import Files, Kind
from minbuild.manifest.load import load
from minbuild.manifest.rulebook import rulebook
from minbuild.manifest.types import Manifest
from minbuild.progress import Silent
from minbuild.resolve.explain import error
from minbuild.resolve.resolve import resolve
from minbuild.resolve.roots import roots
from minbuild.resolve.types import Caution, Closure
from minbuild.resolve.waivers import Waivers
from minbuild.resolve.why import chains
from tests.support.archive import Archive
from tests.support.server import serve
from tests.support.trees import needless

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/host.yaml"))
HEAD = """\
minbuild: 1
name: host
archive: {{suites: [trixie], signed-by: {certificate}}}
"""


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path) -> None:
    place = tmp_path / "host.yaml"
    archive = Archive(tmp_path)
    head = HEAD.format(certificate=archive.certificate)
    place.write_text(head + (HERE / name / "host.yaml").read_text())
    archive.publish("trixie", (HERE / name / "packages.txt").read_text())
    with serve(archive.directory) as server:
        said = outcome(place, f"{server.url}/debian", Doors(tmp_path / "store", Silent()))
    said = said.replace(f"{tmp_path}/", "")
    expected = HERE / name / "expected.txt"
    if os.environ.get("MINBUILD_CASES") == "write":
        expected.write_text(said)
    assert said == expected.read_text()


def outcome(place: Path, mirror: str, doors: Doors) -> str:
    """The tree and its reasons, or the error, as text."""
    try:
        manifest = load(place, settings={}, components=[])
        index = open_index(
            manifest.archive, "amd64", find_mirror(mirror), doors.store,
            offline=False, progress=doors.progress,
        )  # fmt: skip
        market = Market(index, find_mirror(mirror), doors)
        closure, warned = closed(manifest, market)
    except MinbuildError as problem:
        return "".join(shown(problem))
    return "".join([*listed(closure), *(f"{one.path}:{one.line}: {one.what}\n" for one in warned)])


def closed(manifest: Manifest, market: Market) -> tuple[Closure, tuple[Caution, ...]]:
    """The closure, the same for any order of packages, and warnings; each file of it is needed.

    Raises: ResolveError for what is missing.
    """
    own = rendered((file for one in manifest.components for file in one.files), market.doors.store)
    rules = rulebook(manifest.rules)
    grown = grow(
        roots(manifest), market, arch="amd64", rendered=[own],
        drop=manifest.drop, allow_missing=manifest.allow_missing, rulebook=rules,
    )  # fmt: skip
    files: list[Files] = [own, *grown.files]
    for seed in range(3):
        random.Random(seed).shuffle(files)
        again = resolve(
            roots(manifest), files, arch="amd64",
            drop=manifest.drop, allow_missing=manifest.allow_missing, rulebook=rules,
        )  # fmt: skip
        assert again.chosen == grown.closure.chosen
        assert again.needs == grown.closure.needs
    store = market.doors.store
    read = reader(grown.packages, store, market.bring)
    closure = heeded(grown.closure, files, manifest.allow_missing, read, store)
    if closure.missing or closure.unused:
        raise error(closure, files)
    spare = needless(
        grown.closure, files, arch="amd64", drop=manifest.drop,
        allow_missing=manifest.allow_missing,
    )  # fmt: skip
    assert list(spare) == []
    waivers = Waivers((), manifest.allow_missing)
    return closure, closure_cautions(closure, files, waivers, read, store)


def listed(closure: Closure) -> Iterator[str]:
    """One line for each path that is no directory, then the shortest chain to each."""
    paths = [path for path, one in closure.chosen.items() if one.entry.kind is not Kind.DIRECTORY]
    for path in paths:
        one = closure.chosen[path]
        link = f" -> {one.entry.target}" if one.entry.target else ""
        package = one.package or "-"
        yield f"{path}{link}  {one.entry.kind} {one.entry.mode:04o} {package} {one.component}\n"
    yield "\n"
    for path in paths:
        chain = chains(closure.needs, path, limit=1)[0]
        steps = " | ".join(f"{need.kind} {need.evidence}" for need in chain)
        yield f"{path}: {chain[0].by} | {steps}\n"
    for name, by in closure.builtin.items():
        yield f"built in: {name}, for {by}\n"
    for name, by in closure.absent.items():
        yield f"absent: {name}, for {by}\n"


def shown(problem: MinbuildError) -> Iterator[str]:
    for each in (problem, *problem.others):
        yield f"error: {each.what}\n  at: {each.where}\n  fix: {each.fix}\n"
