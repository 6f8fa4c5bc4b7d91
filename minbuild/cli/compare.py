"""Commands that compare: diff."""

from collections.abc import Callable, Mapping

import click

from minbuild.cli.outputs import Outputting, output_options, write


@click.command(cls=Outputting)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--top", default=20, show_default=True, help="Rows of each kind of change; 0: all.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when anything differs.")
@output_options("text", "md", "json", "csv", "html")
def diff(before: str, after: str, top: int, exit_code: bool, **given: str | None) -> int:
    """Say what differs between A and B, and why.

    A and B are what report takes (a build directory, an image, a tree, git:REF), or two locks.
    For each new file: the chain of needs that leads to it, with the need that is new in B.
    """
    if before.endswith(".lock") and after.endswith(".lock"):
        lines = _locks(before, after)
        write({"text": lambda: "\n".join(lines or ("nothing differs",)) + "\n"}, _text(given))
        return int(exit_code and bool(lines))
    from minbuild.footprint.diff import compare
    from minbuild.report import diff as shown
    from minbuild.subject.open import open_subject

    found = compare(open_subject(before), open_subject(after))
    renders: Mapping[str, Callable[[], str]] = {
        "text": lambda: shown.as_text(found, top=top),
        "md": lambda: shown.as_markdown(found),
        "json": lambda: shown.as_json(found),
        "csv": lambda: shown.as_csv(found),
        "html": lambda: _html(found.after, found.before),
    }
    write(renders, given)
    return int(exit_code and bool(found))


def _html(after: object, before: object) -> str:
    from minbuild.footprint.types import Footprint
    from minbuild.report.html import page

    assert isinstance(after, Footprint)
    assert isinstance(before, Footprint)
    return page(after, before)


def _locks(before: str, after: str) -> tuple[str, ...]:
    from pathlib import Path

    from minbuild.archive import lockfile
    from minbuild.archive.changes import changes

    return changes(lockfile.read(Path(before)), lockfile.read(Path(after)))


def _text(given: Mapping[str, str | None]) -> dict[str, str | None]:
    from minbuild.errors import UsageError

    wanted = [name for name, place in given.items() if place is not None and name != "out_text"]
    if wanted:
        raise UsageError("locks are compared as text only", fix="leave the format out")
    return {"out_text": given["out_text"]}


COMMANDS = (diff,)
