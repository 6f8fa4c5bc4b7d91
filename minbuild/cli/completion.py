"""Shell completion of manifests, images, paths inside them, components, probes and tools.

Source: click, "Shell Completion"; the shell asks by running minbuild with `_MINBUILD_COMPLETE`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    get_completion_class,
    shell_complete,
)

from minbuild.cli.command_index import Completer, IndexedGroup, list_default_probes
from minbuild.cli.console import COMPLETION_VARIABLE
from minbuild.data import MANIFEST_SUFFIXES, data_directory

PROGRAM = "minbuild"
SHELLS = ("bash", "zsh", "fish")
IMAGE_ENDINGS = (".efi", ".raw", ".json", ".qcow2", ".vhdx", ".vmdk", ".iso", ".tar", ".cpio")
FOOTPRINT = "footprint.json"
RULES = "rules"
"""Directory beside the sections of components; it has none."""
MAX_BYTES = 64 << 20
"""Bytes of the largest footprint whose paths are completed."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, manifests, images and their paths.

    For bash: eval "$(minbuild completion bash)" in ~/.bashrc; for zsh the same with zsh in
    ~/.zshrc; for fish: minbuild completion fish > ~/.config/fish/completions/minbuild.fish
    """
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise LookupError(f"click has no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(ShellComplete.source(completion_class(root, {}, PROGRAM, COMPLETION_VARIABLE)))


def answer_shell(root: click.Command, instruction: str) -> int:
    """Answer a shell that asks what to complete; returns the exit code."""
    return shell_complete(
        IndexedGroup(root, COMPLETERS), {}, PROGRAM, COMPLETION_VARIABLE, instruction
    )


def complete_manifests(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Manifests in a directory, and those that ship."""
    return _make_items(start, [*_list_shipped(), *_list_files(start, MANIFEST_SUFFIXES)])


def complete_shipped_names(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Manifests that ship, without their ending."""
    return _make_items(start, [name.removesuffix(".yaml") for name in _list_shipped()])


def complete_images(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Builds below ./build, images, footprints."""
    return _make_items(start, [*_list_builds(), *_list_files(start, IMAGE_ENDINGS)])


def complete_sources(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Images or manifests."""
    return _make_items(
        start,
        [
            *_list_builds(),
            *_list_shipped(),
            *_list_files(start, (*MANIFEST_SUFFIXES, *IMAGE_ENDINGS)),
        ],
    )


def complete_paths(ctx: click.Context, param: click.Parameter, start: str) -> list[CompletionItem]:
    """Of [IMAGE] PATH: a path or name inside the image that is typed, or an image."""
    typed_words = [str(word) for word in ctx.params.get("words") or ()]
    if typed_words:
        return _make_items(start, _list_paths(Path(typed_words[0]), start))
    newest = max(map(Path, _list_builds()), key=lambda path: path.stat().st_mtime_ns, default=None)
    paths = _list_paths(newest, start) if newest is not None and start else []
    items = _make_items(
        start,
        [
            *paths,
            *_list_builds(),
            *_list_shipped(),
            *_list_files(start, (*MANIFEST_SUFFIXES, *IMAGE_ENDINGS)),
        ],
    )
    return items or complete_sources(ctx, param, start)


def complete_components(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Components that ship, and those in ./components; by their names alone, too, once one begins."""
    directories = (Path("components"), data_directory("manifests") / "components")
    files = (path for directory in directories for path in directory.glob("*/*.yaml"))
    names = {f"{path.parent.name}/{path.stem}" for path in files if path.parent.name != RULES}
    shorts = {name.partition("/")[2] for name in names} if start else set()
    return _make_items(start, [*sorted(names), *sorted(shorts)])


def complete_probes(
    ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Probes of the image or manifest that is to be booted."""
    target = str(ctx.params.get("target") or "")
    build = Path(target) if Path(target).is_dir() else Path("build") / Path(target).stem
    probe_rows = _read_footprint(build).get("probes")
    names = [one.get("name") for one in probe_rows if isinstance(one, dict)] if isinstance(probe_rows, list) else []  # fmt: skip
    return _make_items(start, [str(name) for name in names] or list_default_probes())


def complete_tools(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Tools of the toolbox, by the names of their files."""
    files = (data_directory("manifests") / "toolbox").glob("*.yaml")
    return _make_items(start, ["list", *sorted(path.stem for path in files)])


def complete_files(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Files, which the shell completes itself."""
    return [CompletionItem(start, type="file")]


def _make_items(start: str, candidates: Iterable[str]) -> list[CompletionItem]:
    """The candidates with this prefix, once each; the shell completes directories itself.

    Names with control characters are omitted: they come from images of others.
    """
    matches = [
        word for word in dict.fromkeys(candidates) if word.startswith(start) and word.isprintable()
    ]
    matches = [word for word in matches if not (word.endswith("/") and word[:-1] in matches)]
    if matches and all(word.endswith("/") for word in matches):
        return [CompletionItem(start, type="file")]
    return [CompletionItem(word) for word in matches]


def _list_files(start: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Directories, and files with one of these endings, where `start` is in a directory."""
    directory = start.rpartition("/")[0] + "/" if "/" in start else ""
    try:
        entries = sorted(Path(directory or ".").iterdir())
    except OSError:
        return
    for path in entries:
        if path.name.startswith(".") and not start.rpartition("/")[2].startswith("."):
            continue
        if path.name.endswith(endings):
            yield f"{directory}{path.name}"
        elif path.is_dir():
            yield f"{directory}{path.name}/"


def _list_shipped() -> list[str]:
    return sorted(path.name for path in data_directory("manifests").glob("*.yaml"))


def _list_builds() -> list[str]:
    return sorted(str(path.parent) for path in Path("build").glob(f"*/{FOOTPRINT}"))


def _list_paths(image: Path, start: str) -> list[str]:
    """Paths of a build; their last names where no slash is typed."""
    rows = _read_footprint(image).get("files")
    paths = [str(row.get("path")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []  # fmt: skip
    return paths if "/" in start else sorted({path.rpartition("/")[2] for path in paths})


def _read_footprint(image: Path) -> dict[str, object]:
    """The footprint of a build as JSON; empty when it cannot be read."""
    path = image if image.name.endswith(".json") else image / FOOTPRINT
    if not image.is_dir() and image.with_name(FOOTPRINT).is_file():
        path = image.with_name(FOOTPRINT)
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return {}
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


COMPLETERS: Mapping[str, Completer] = {
    "manifests": complete_manifests,
    "shipped": complete_shipped_names,
    "images": complete_images,
    "sources": complete_sources,
    "paths": complete_paths,
    "components": complete_components,
    "probes": complete_probes,
    "tools": complete_tools,
    "files": complete_files,
}
"""What an argument or option names → what completes it."""
