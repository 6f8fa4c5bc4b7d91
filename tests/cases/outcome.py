"""What `plan` says of a case: its tree and reasons, or its error, as text.

A case is a folder below tests/cases; README.md there says what lies in it.
`python -m tests.cases.outcome DIRECTORY MIRROR STORE` prints the outcome of every case that was
laid out below DIRECTORY, as JSON: tests run it under another hash seed.
"""

import json
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minbuild.errors import MinbuildError
from minbuild.explain.why import find_chains
from minbuild.footprint.model import FileRow
from minbuild.pipeline.build import Plan, plan_build
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from minbuild.resolve.model import NeedKind
from minbuild.resolve.policy import ResolvePolicy
from tests.support.archive import Archive
from tests.support.deb import Deb, parse
from tests.support.trees import find_needless

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/host.yaml"))
HEAD = """\
minbuild: 1
name: host
archive: {suites: [trixie], signed-by: ../archive-key.asc}
"""
OWN = ("host.yaml", "packages.txt", "contents.txt", "expected.txt")
"""Files of a case that are not laid beside its manifest as they are."""


@dataclass
class NoteCollector(SilentProgress):
    """Progress that keeps what the user should read."""

    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)


def lay_out(name: str, directory: Path, archive: Archive, *, seed: int = 0) -> None:
    """Write a case's manifest and publish its packages below directory/NAME.

    `seed`: another one lays the same packages and files in another order; 0 for the written one.
    """
    case, target = HERE / name, directory / name
    (target / "debian").mkdir(parents=True, exist_ok=True)
    (target / "host.yaml").write_text(HEAD + (case / "host.yaml").read_text())
    shutil.copytree(case, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*OWN))
    archive.directory = target
    archive.publish("trixie", read_packages(case, seed), lists=read_lists(case))


def read_lists(case: Path) -> dict[str, str]:
    """The archive's lists of files: contents.txt, each list behind a line with its name."""
    result: dict[str, str] = {}
    text = (case / "contents.txt").read_text() if (case / "contents.txt").exists() else ""
    for row in text.splitlines(keepends=True):
        if "/Contents-" in row:
            result[row.strip()] = ""
        else:
            result[[*result][-1]] += row
    return result


def read_packages(case: Path, seed: int) -> list[Deb]:
    """The packages that a case is offered: its own, and those of base.txt that it does not replace."""
    own = case / "packages.txt"
    by_name = {deb.name: deb for deb in parse((HERE / "base.txt").read_text())}
    by_name |= {deb.name: deb for deb in parse(own.read_text() if own.exists() else "")}
    debs = list(by_name.values())
    if seed:
        random.Random(seed).shuffle(debs)
    return debs


def describe_outcome(target: Path, mirror: str, store: Path) -> str:
    """The tree and its reasons, or the error, as text; `place` is a case that was laid out."""
    noting = NoteCollector()
    session = Session(store, noting)
    try:
        request = BuildRequest(target / "host.yaml", mirror=(mirror,))
        planned = plan_build(request, session)
        text = "".join((*list_paths(planned), *list_needless(planned)))
    except MinbuildError as problem:
        text = "".join(format_error(problem))
    finally:
        session.close()
    text += "".join(f"note: {note}\n" for note in noting.notes)
    return text.replace(f"{target}/", "")


def list_paths(planned: Plan) -> Iterator[str]:
    """One line for each path, the shortest chain to each, then what is told beside.

    Directories of the usual mode and owner are left out.
    """
    footprint, closure = planned.footprint, planned.resolved.closure
    usual = ("directory", 0o755, 0, 0)
    rows = [row for row in footprint.files if (row.type, row.mode, row.uid, row.gid) != usual]
    yield from (f"{format_row(row)}\n" for row in rows)
    yield "\n"
    for row in rows:
        chain = find_chains(footprint.edges, row.path, limit=1)[0]
        steps = " | ".join(f"{need.kind} {need.evidence}" for need in chain)
        yield f"{row.path}: {chain[0].needed_by} | {steps}\n"
    for name, by in closure.builtin_modules.items():
        yield f"built in: {name}, for {by}\n"
    for name, by in closure.skipped_softdeps.items():
        yield f"absent: {name}, for {by}\n"
    for possible in footprint.possible_data:
        yield f"{possible.priority}: {possible.wanted}, for {possible.by} ({possible.evidence})\n"
    for path, names in footprint.possible_dlopens.items():
        yield f"may open: {', '.join(names)}, for {path}\n"
    for caution in footprint.warnings:
        yield f"{caution.path}:{caution.line}: {caution.what}\n"


def list_needless(planned: Plan) -> Iterator[str]:
    """A line for each file that nothing would miss; a case is wrong that has one.

    What a text names is not proved, and no loader asks for the module index or a cache.
    """
    manifest, workspace = planned.resolved.manifest, planned.resolved
    unproved = {NeedKind.STRING, NeedKind.GENERATED}
    named = {need.path for need in workspace.closure.needs if need.kind in unproved}
    for path in find_needless(
        workspace.closure, workspace.files, arch=manifest.arch,
        policy=ResolvePolicy(manifest.drop, manifest.allow_missing, manifest.dlopen),
    ):  # fmt: skip
        if path not in named:
            yield f"needed by nothing: {path}\n"


def format_row(row: FileRow) -> str:
    """A file as a line: path, target, type, mode, owner unless it is root, package, component."""
    link = f" -> {row.target}" if row.target else ""
    owner = f" {row.uid}:{row.gid}" if (row.uid, row.gid) != (0, 0) else ""
    of = f"{row.package or '-'} {row.component}"
    return f"{row.path}{link}  {row.type} {row.mode:04o}{owner} {of}"


def format_error(problem: MinbuildError) -> Iterator[str]:
    """An error and all that are told with it."""
    for error in (problem, *problem.also):
        yield f"error: {error.what}\n  at: {error.where}\n  fix: {error.fix}\n"


if __name__ == "__main__":
    directory, mirror, store = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    found = {
        name: describe_outcome(directory / name, f"{mirror}/{name}/debian", store) for name in CASES
    }
    json.dump(found, sys.stdout)
