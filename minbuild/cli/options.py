"""Options that several commands share, and their values as one typed object."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., object])
Result = TypeVar("Result")
Value = TypeVar("Value", bound=str | int | None)
Completable = Literal[
    "manifests", "shipped", "images", "sources", "paths", "components", "probes", "tools", "files"
]


def complete(
    kind: Completable,
) -> Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]:
    """Complete an argument or option as cli/completion.py does for `kind`."""
    return functools.partial(_complete_word, kind)


def _complete_word(
    kind: Completable, ctx: click.Context, param: click.Parameter, start: str
) -> "list[CompletionItem]":
    from minbuild.cli.completion import COMPLETERS  # only while a shell completes

    return COMPLETERS[kind](ctx, param, start)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Values of the options that say what to build, from where, and with which store.

    `build_options` gives them to a command as its parameter `build`; each field is the option of
    that name, those with another name say which.
    """

    settings: tuple[str, ...] = ()
    """`--set`, each NAME=VALUE."""
    variant: str = ""
    """One variant of the manifest's matrix; "" for the manifest itself."""
    components: tuple[Path, ...] = ()
    mirror: tuple[str, ...] = ()
    lock: Path | None = None
    root: Path | None = None
    allow_downgrade: bool = False
    trust_lock: bool = False
    outside: tuple[Path, ...] = ()
    """`--allow-outside`."""
    code: bool = False
    """`--allow-code`."""
    offline: bool = False
    store: Path | None = None


class GatheringCommand(click.Command):
    """A command with options that become one parameter, as those of `build_options` do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:  # while a shell completes, options may have no value yet
            for gather in vars(self.callback).get(_GATHERERS, ()):
                gather(ctx.params)
        return rest


_GATHERERS = "gatherers"
Gather = Callable[[dict[str, Any]], None]


def add_gatherer(command: Callable[..., object], gather: Gather) -> None:
    """Have a GatheringCommand change the values of its options before it calls `command`."""
    vars(command).setdefault(_GATHERERS, []).append(gather)


def build_options(command: Command) -> Command:
    """Give a GatheringCommand the options of `BuildOptions`, as its parameter `build`."""
    for option in reversed(_BUILD_OPTIONS):
        command = option(command)
    add_gatherer(command, _gather_build_options)
    return command


def _gather_build_options(values: dict[str, Any]) -> None:
    names = [field.name for field in fields(BuildOptions)]
    values["build"] = BuildOptions(**{name: values.pop(name) for name in names})


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Values of `--mirror`, `--offline` and `--store`: the archive of a build that is there."""

    mirror: tuple[str, ...] = ()
    offline: bool = False
    store: Path | None = None


def archive_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command the options of `ArchiveOptions`, and their values as `archive`."""

    @functools.wraps(command)
    def call(
        *, mirror: tuple[str, ...], offline: bool, store: Path | None, **others: object
    ) -> Result:
        return command(archive=ArchiveOptions(mirror, offline, store), **others)

    for option in reversed(_ARCHIVE_OPTIONS):
        call = option(call)
    return call


def image_options(command: Command) -> Command:
    """Give a command `--platform` and `--tag`, which `get_image_choice` returns."""
    for option in reversed(_IMAGE_OPTIONS):
        command = option(command)
    return command


def store_option(command: Command) -> Command:
    """Give a command `--store`."""
    return _STORE_OPTION(command)


def store_remote_option(command: Command) -> Command:
    """Give a command `--store-remote`, which `open_session` reads."""
    return _STORE_REMOTE_OPTION(command)


def partition_option(command: Command) -> Command:
    """Give a command `--partition`, which `open_session` reads."""
    return _PARTITION_OPTION(command)


def variant_option(help_text: str) -> Callable[[Command], Command]:
    """Make the option `--variant`, which was called `--cell`."""
    return click.option(
        "--variant", "--cell", "variant", default="", metavar="NAME", help=help_text
    )


def _remember(context: click.Context, option: click.Parameter, value: Value) -> Value:
    """Keep the value of an option in the context: not every command has a parameter for it."""
    context.meta[f"minbuild.{option.name}"] = value
    return value


def get_remembered_text(name: str) -> str:
    """The value of `--platform`, `--tag` or `--store-remote` of the running command; "" without one."""
    context = click.get_current_context(silent=True)
    return str(context.meta.get(f"minbuild.{name}") or "") if context is not None else ""


def is_offline() -> bool:
    """Tell whether the running command has `--offline`."""
    return bool(click.get_current_context().meta.get("minbuild.offline"))


def get_partition() -> int | None:
    """The value of `--partition` of the running command."""
    value: int | None = click.get_current_context().meta.get("minbuild.partition")
    return value


_PARTITION_OPTION = click.option(
    "--partition",
    type=click.IntRange(min=0),
    metavar="N",
    expose_value=False,
    callback=_remember,
    help="Of a disk, read this partition; 0: the disk itself is a file system.  "
    "[default: the one that boots]",
)

_STORE_OPTION = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MINBUILD_STORE",
    help="Cache directory.  [default: $XDG_CACHE_HOME/minbuild]",
)

_STORE_REMOTE_OPTION = click.option(
    "--store-remote",
    metavar="URL",
    expose_value=False,
    callback=_remember,
    help="Store that several machines share: a directory, s3://BUCKET/PREFIX, any URL of fsspec.",
)

_OFFLINE_OPTION = click.option(
    "--offline",
    is_flag=True,
    envvar="MINBUILD_OFFLINE",
    callback=_remember,
    help="Use no network, only what the store has.",
)

_IMAGE_OPTIONS = (
    click.option("--platform", default="", metavar="OS/ARCH", expose_value=False,
                 callback=_remember, help="Of a container image for several platforms: the one to read."),
    click.option("--tag", default="", metavar="NAME", expose_value=False,
                 callback=_remember, help="Of several container images in one file: the one to read."),
)  # fmt: skip

_ARCHIVE_OPTIONS = (
    click.option("--mirror", multiple=True, metavar="URL", help="Debian mirror; may be repeated."),
    _OFFLINE_OPTION,
    _STORE_OPTION,
    _STORE_REMOTE_OPTION,
)

_BUILD_OPTIONS = (
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                 help="Set a variable of the manifest; may be repeated."),
    variant_option("Build one variant of the manifest's matrix."),
    click.option("--components", multiple=True, type=click.Path(path_type=Path, file_okay=False, exists=True),
                 metavar="DIR", help="Look for components here first; may be repeated."),
    click.option("--mirror", multiple=True, metavar="URL",
                 help="Debian mirror; may be repeated: the next one is tried when one fails.  "
                 "[default: $MINBUILD_MIRROR, the config file, apt's sources]"),
    click.option("--lock", "lock", type=click.Path(path_type=Path, dir_okay=False),
                 help="Lock file.  [default: beside the manifest]"),
    click.option("--root", type=click.Path(path_type=Path, exists=True), metavar="PATH",
                 help="Take files from an installed root (directory, tar, container image, disk image)."),
    _PARTITION_OPTION,
    click.option("--allow-downgrade", is_flag=True,
                 help="Accept a suite that is older than one already seen."),
    click.option("--trust-lock", is_flag=True,
                 help="Accept packages of the lock that no signed index lists (any more)."),
    click.option("--allow-outside", "outside", type=click.Path(path_type=Path, exists=True), multiple=True,
                 metavar="PATH", help="Let the manifest read files below PATH; may be repeated."),
    click.option("--allow-code", "--allow-sign-module", "code", is_flag=True,
                 help="Let the manifest choose what runs here: modules, elements, tools, keys."),
    _OFFLINE_OPTION,
    _STORE_OPTION,
    _STORE_REMOTE_OPTION,
)  # fmt: skip
