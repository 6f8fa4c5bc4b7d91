"""Whether a footprint's numbers are those of its files: a document may say anything."""

from collections.abc import Iterator, Sequence

from minbuild.footprint.measure import counts, rows
from minbuild.footprint.types import FileRow, FindingKind, Footprint, PackageRow, Row

BITS = {FindingKind.SETUID: 0o4000, FindingKind.SETGID: 0o2000}
TABLES = ("section", "component", "package")


def faults(footprint: Footprint) -> Iterator[str]:
    """Say what does not add up: sums, sizes below zero, a path twice, programs left out."""
    files = footprint.files
    if len({row.path for row in files}) != len(files):
        yield "a path is listed twice"
    if any(min(row.size, row.packed, row.mode) < 0 for row in files):
        yield "a file has a size below zero"
    spare = set()
    for name in TABLES:
        table: Sequence[Row | PackageRow] = getattr(footprint, f"{name}s")
        found = list(_table(files, name, table))
        yield from found
        owners = {getattr(row, name) for row in files}
        spare.add(sum(row.packed for row in table if row.name not in owners))
    if len(spare) > 1:
        yield "its tables differ in what belongs to no file"
    packed = sum(row.packed for row in files) + max(spare)
    totals = counts(files)
    for field in ("files", "links", "directories", "bytes"):
        if getattr(totals, field) != getattr(footprint.totals, field):
            yield f"its {field} are not those of the paths that it lists"
    if packed != footprint.totals.packed:
        yield "its packed size is not the sum of its rows"
    yield from _left_out(footprint)


def _table(files: Sequence[FileRow], name: str, table: Sequence[Row | PackageRow]) -> Iterator[str]:
    known = {row.name: row for row in table}
    if len(known) != len(table):
        yield f"a {name} is listed twice"
    for row in rows(files, lambda row: str(getattr(row, name))):
        said = known.pop(row.name, None)
        if said is None or (said.files, said.bytes, said.packed) != (
            row.files,
            row.bytes,
            row.packed,
        ):
            yield f"the {name} {row.name or '(none)'} is not the sum of its files"
    if any(row.files or row.bytes or row.packed < 0 for row in known.values()):
        yield f"a {name} has files that are not listed"


def _left_out(footprint: Footprint) -> Iterator[str]:
    """Modes say what is set-user-ID, whatever the findings do."""
    if footprint.surface is None:
        return
    told = {(one.kind, one.subject) for one in footprint.surface.findings}
    for row in footprint.files:
        for kind, bit in BITS.items():
            runs = row.type == "file" and row.mode & bit and row.mode & 0o111
            if runs and (kind, row.path) not in told:
                yield f"its findings leave out {row.path}, which is {kind}"
