"""Commands that look at what was built: report, why, diff, check."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import compare, gate, supply
from minbuild.cli import completion as shell
from minbuild.cli.options import (
    build_options,
    choice,
    doors_of,
    image_options,
    partition_option,
    request_of,
)
from minbuild.cli.outputs import Explaining, Outputting, output_options, part, room, write
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.facts.root.types import Reach, Readers
    from minbuild.footprint.types import Footprint
    from minbuild.report.why import Answer


@click.command(cls=Outputting)
@click.argument("image", required=False, shell_complete=shell.images)
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Lines of a long table; 0: all.")  # fmt: skip
@click.option(
    "--by",
    type=click.Choice(["section", "component", "package", "directory", "kind", "file"]),
    default="section",
    show_default=True,
    help="What the table sums up.",
)
@click.option(
    "--sort",
    type=click.Choice(["bytes", "packed", "added", "files", "name"]),
    help="Order of the table's lines.  [default: bytes; sections in their own order]",
)
@click.option(
    "--baseline",
    metavar="IMAGE",
    shell_complete=shell.images,
    help="What the HTML page shows changes against.",
)
@partition_option
@image_options
@output_options("text", "md", "json", "csv", "html", "junit", "sarif", "dot")
def report(
    image: str | None, top: int, by: str, sort: str | None, baseline: str | None,
    **given: str | None,
) -> None:  # fmt: skip
    """Print the footprint of IMAGE.

    IMAGE is a build directory, a footprint.json, an image (host.efi, host.raw, qcow2, an
    initramfs: unpacked and measured anew), a root directory, a tar archive of one, a container
    image (docker save, OCI layout, also as a tar), or git:REF.
    Without IMAGE: the only build below ./build. Several formats may be written in one run.
    """
    from minbuild.report.formats import report_formats

    footprint = subject(image)
    before = subject(baseline) if baseline else None
    formats = report_formats(footprint, before, by=by, sort=sort or "", top=top, width=room(given))
    write(formats, given)


@click.command(cls=Explaining)
@click.argument("words", nargs=-1, required=True, metavar="[IMAGE|MANIFEST] PATH",
                shell_complete=shell.inside)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Every reason, not only the shortest.")
@click.option("--precise", is_flag=True, help="Say where the evidence of each need stands.")
@output_options("text", "json", "dot")
@image_options
@build_options
def why(words: tuple[str, ...], every: bool, precise: bool, store: Path | None,
        **more: Any) -> int:  # fmt: skip
    """Say why PATH is in IMAGE: the chain of needs from a component down to it, with evidence.

    IMAGE is what report takes; without it, the newest build below ./build. A manifest is resolved
    and not built. A name without a slash stands for every path that ends with it; a glob ('*.ko*',
    '/usr/bin/*') for every path that it matches.
    Exits with 1 when PATH is not in the image, and says what leaves it out, which package of the
    lock or which component would bring it, and what has a similar name.
    """
    from minbuild.report import why as reasons

    given, build = part(more)
    if len(words) > 2:
        raise UsageError(
            "why takes one image and one path", fix="minbuild why build/host /usr/bin/vm"
        )
    image = words[0] if len(words) == 2 else str(_newest_build())
    found = reasons.answers(measured(image, store, build), words[-1], every=every)
    found = tuple(
        _with_places(one, Path(image), store, build["components"]) if one.row is None else one
        for one in found
    )
    write(
        {
            "text": lambda: "\n".join(
                reasons.as_text(one, precise=precise, width=room(given)) for one in found
            ),
            "json": lambda: reasons.as_json(*found),
            "dot": lambda: reasons.as_dot(*found),
        },
        given,
    )
    return 0 if any(one.chains for one in found) else 1


def _with_places(
    answer: "Answer", image: Path, store: Path | None, components: tuple[Path, ...]
) -> "Answer":
    """Add where the path could come from; the lock lies with the image, or with the manifest."""
    from minbuild.build.elsewhere import elsewhere
    from minbuild.resolve.pattern import is_pattern

    if is_pattern(answer.path):  # of every package that there is something would match
        return answer
    build = image if image.is_dir() else image.parent
    locks = {path.name: path for path in build.glob("*.lock")}
    lock = locks.get(f"{answer.image}.lock")
    found = elsewhere(answer.path, lock, doors_of(store, Terminal()).store, components)
    return replace(answer, elsewhere=found)


def measured(word: str | None, store: Path | None, build: dict[str, Any]) -> "Footprint":
    """The footprint of an image, or of what a manifest would make of it."""
    if word is not None and (word.endswith((".yaml", ".yml")) or not Path(word).exists()):
        from minbuild.build.booting import is_manifest

        if is_manifest(word):
            from minbuild.build import life

            terminal = Terminal()
            planned = life.plan(request_of(word, **build), doors_of(store, terminal))
            terminal.done()
            return planned.footprint
    return subject(word, store)


def subject(word: "str | Path | None", store: Path | None = None) -> "Footprint":
    """The footprint of what a word names; without a word, of the only build there is.

    `store` keeps the toolbox's programs that some need to be read; None for the usual one.
    """
    from minbuild.subject.open import open_subject

    terminal = Terminal()
    try:
        return open_subject(
            str(word if word is not None else _only_build()), _reach(store, terminal), choice()
        )
    finally:
        terminal.done()


def _reach(store: Path | None, terminal: Terminal) -> "Reach":
    """The toolbox's programs, fetched when one is needed."""

    @functools.cache
    def found() -> "Readers":
        from minbuild.build.rooted import readers

        return readers(doors_of(store, terminal))

    return found


def _newest_build() -> Path:
    """The only build below ./build; of several the newest, and a note says which."""
    found = sorted(Path("build").glob("*/footprint.json"), key=lambda path: path.stat().st_mtime_ns)
    if len(found) < 2:
        return _only_build()
    Terminal().note(f"of the builds below ./build this is about the newest, {found[-1].parent}")
    return found[-1]


def _only_build() -> Path:
    found = sorted(Path("build").glob("*/footprint.json"))
    if len(found) == 1:
        return found[0]
    raise UsageError(
        "there are several builds below ./build" if found else "there is no build below ./build",
        fix="name one of " + ", ".join(str(path.parent) for path in found)
        if found
        else "build one first (minbuild make host.yaml), or name its directory",
    )


COMMANDS = (report, why, *compare.COMMANDS, *gate.COMMANDS, *supply.COMMANDS)
