"""The small footprint of `tests.support.footprints`, changed in named ways."""

from collections.abc import Sequence
from dataclasses import replace

from minbuild.footprint.measure import with_totals
from minbuild.footprint.model import FileRow, Footprint
from minbuild.resolve.model import Need
from tests.support.footprints import tiny


def find_row(path: str, footprint: Footprint | None = None) -> FileRow:
    """One row by its path."""
    return next(one for one in (footprint or tiny()).files if one.path == path)


def change_footprint(
    rows: Sequence[FileRow] = (),
    *,
    without: Sequence[str] = (),
    needs: Sequence[Need] = (),
    versions: dict[str, str] | None = None,
) -> Footprint:
    """The small footprint with rows replaced or added, some paths gone, and more needs."""
    base = tiny()
    by_path = {one.path: one for one in base.files if one.path not in without}
    by_path |= {one.path: one for one in rows}
    versions_by_name = {one.name: one.version for one in base.packages} | (versions or {})
    edges = [one for one in base.edges if one.path not in without and one.needed_by not in without]
    return with_totals(
        replace(
            base,
            files=tuple(by_path[path] for path in sorted(by_path)),
            edges=tuple(sorted([*edges, *needs])),
        ),
        versions_by_name,
        {"image": 5_000},
    )
