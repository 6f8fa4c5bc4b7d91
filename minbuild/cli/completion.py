"""What a shell completes: manifests, images, paths inside them, components, probes, tools.

Source: click, "Shell Completion"; the shell asks by running minbuild with `_MINBUILD_COMPLETE`.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_MINBUILD_COMPLETE"
PROGRAM = "minbuild"
SHELLS = ("bash", "zsh", "fish")
MANIFESTS = (".yaml", ".yml")
IMAGES = (".efi", ".raw", ".json", ".qcow2", ".vhdx", ".vmdk", ".iso", ".tar", ".cpio")
FOOTPRINT = "footprint.json"
LARGEST = 64 << 20
"""Bytes of the largest footprint whose paths are completed."""

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, manifests, images and their paths.

    For bash: eval "$(minbuild completion bash)" in ~/.bashrc; for zsh the same with zsh in
    ~/.zshrc; for fish: minbuild completion fish > ~/.config/fish/completions/minbuild.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(f"click has no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(ShellComplete.source(kind(root, {}, PROGRAM, VARIABLE)))


def answer(root: click.Command) -> int | None:
    """Answer a shell that asks what to complete; None when nobody asks."""
    asked = os.environ.get(VARIABLE)
    if not asked:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(root, {}, PROGRAM, VARIABLE, asked)


def manifests(_ctx: click.Context, _param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Manifests in a directory, and those that ship."""
    return _items(start, [*_shipped(), *_files(start, MANIFESTS)])


def shipped_names(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> "list[CompletionItem]":
    """Manifests that ship, without their ending."""
    return _items(start, [name.removesuffix(".yaml") for name in _shipped()])


def images(_ctx: click.Context, _param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Builds below ./build, images, footprints."""
    return _items(start, [*_builds(), *_files(start, IMAGES)])


def either(_ctx: click.Context, _param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Images or manifests."""
    return _items(start, [*_builds(), *_shipped(), *_files(start, (*MANIFESTS, *IMAGES))])


def inside(ctx: click.Context, param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Of [IMAGE] PATH: a path or name inside the image that is typed, or an image."""
    typed = [str(word) for word in ctx.params.get("words") or ()]
    if typed:
        return _items(start, _paths(Path(typed[0]), start))
    newest = max(map(Path, _builds()), key=lambda path: path.stat().st_mtime_ns, default=None)
    within = _paths(newest, start) if newest is not None and start else []
    found = _items(start, [*within, *_builds(), *_shipped(), *_files(start, (*MANIFESTS, *IMAGES))])
    return found or either(ctx, param, start)


def components(_ctx: click.Context, _param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Components that ship, and those in ./components; mistaken ones are left out."""
    from minbuild.manifest.components import asked_for

    beside = Path("components")
    return _items(start, sorted(asked_for([beside] if beside.is_dir() else [])))


def probes(ctx: click.Context, _param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Probes of the image or manifest that is to be booted."""
    from minbuild.lab.probes import standard

    target = str(ctx.params.get("target") or "")
    build = Path(target) if Path(target).is_dir() else Path("build") / Path(target).stem
    asked = _document(build).get("probes")
    named = [one.get("name") for one in asked if isinstance(one, dict)] if isinstance(asked, list) else []  # fmt: skip
    return _items(start, [str(name) for name in named] or [one.name for one in standard()])


def tools(_ctx: click.Context, _param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Tools of the toolbox."""
    from minbuild.manifest.tools import load_tools

    return _items(start, ["list", *(one.name for one in load_tools())])


def files(_ctx: click.Context, _param: click.Parameter, start: str) -> "list[CompletionItem]":
    """Whatever the shell finds itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(start, type="file")]


def _items(start: str, words: Iterable[str]) -> "list[CompletionItem]":
    """Those that begin so, once each; directories alone are left to the shell, which goes on there.

    What a terminal would obey is left out: names come from images that others made.
    """
    from click.shell_completion import CompletionItem

    found = [word for word in dict.fromkeys(words) if word.startswith(start) and word.isprintable()]
    found = [word for word in found if not (word.endswith("/") and word[:-1] in found)]
    if found and all(word.endswith("/") for word in found):
        return [CompletionItem(start, type="file")]
    return [CompletionItem(word) for word in found]


def _files(start: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Directories, and files with one of these endings, where `start` is in a directory."""
    directory = start.rpartition("/")[0] + "/" if "/" in start else ""
    try:
        there = sorted(Path(directory or ".").iterdir())
    except OSError:
        return
    for path in there:
        if path.name.startswith(".") and not start.rpartition("/")[2].startswith("."):
            continue
        if path.name.endswith(endings):
            yield f"{directory}{path.name}"
        elif path.is_dir():
            yield f"{directory}{path.name}/"


def _shipped() -> list[str]:
    from minbuild.shipped import shipped

    return sorted(path.name for path in shipped("manifests").glob("*.yaml"))


def _builds() -> list[str]:
    return sorted(str(path.parent) for path in Path("build").glob(f"*/{FOOTPRINT}"))


def _paths(image: Path, start: str) -> list[str]:
    """Paths of a build that begin so; their last names where no slash is typed."""
    rows = _document(image).get("files")
    paths = [str(row.get("path")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []  # fmt: skip
    return paths if "/" in start else sorted({path.rpartition("/")[2] for path in paths})


def _document(image: Path) -> dict[str, object]:
    """A build's footprint, as it stands there; empty where there is none that can be read."""
    place = image if image.name.endswith(".json") else image / FOOTPRINT
    if not image.is_dir() and image.with_name(FOOTPRINT).is_file():
        place = image.with_name(FOOTPRINT)
    try:
        if not place.is_file() or place.stat().st_size > LARGEST:
            return {}
        read = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


COMMANDS = (completion,)
