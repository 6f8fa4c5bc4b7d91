"""Options that several commands share, and how they become a request."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from minbuild.cli.terminal import Terminal

if TYPE_CHECKING:
    from minbuild.build.request import Doors, Request
    from minbuild.facts.root.container import Choice
    from minbuild.manifest.trust import Trust

Command = TypeVar("Command", bound=Callable[..., Any])


def build_options(command: Command) -> Command:
    """Give a command the options that say what to build, from where, and with which store."""
    for option in reversed(_BUILD):
        command = option(command)
    return command


def image_options(command: Command) -> Command:
    """Give a command `--platform` and `--tag`; `choice` tells what they say."""
    for option in reversed(_IMAGE):
        command = option(command)
    return command


def choice() -> "Choice":
    """Which image is meant of a file that holds several, as the running command's options say."""
    from minbuild.facts.root.container import Choice

    context = click.get_current_context(silent=True)
    told = context.meta.get(_CHOICE, {}) if context is not None else {}
    return Choice(platform=told.get("platform", ""), tag=told.get("tag", ""))


def _remember(context: click.Context, option: click.Parameter, value: str) -> None:
    context.meta.setdefault(_CHOICE, {})[option.name] = value


def store_option(command: Command) -> Command:
    """Give a command `--store`."""
    return _STORE(command)


def partition_option(command: Command) -> Command:
    """Give a command `--partition`, which `doors_of` looks for."""
    return _PARTITION_OPTION(command)


def _keep_partition(context: click.Context, _parameter: click.Parameter, value: int | None) -> None:
    context.meta[_PARTITION] = value


_PARTITION = "minbuild.partition"
_PARTITION_OPTION = click.option(
    "--partition",
    type=click.IntRange(min=0),
    metavar="N",
    expose_value=False,
    callback=_keep_partition,
    help="Of a disk, read this partition; 0: the disk itself is a file system.  "
    "[default: the one that boots]",
)

_STORE = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MINBUILD_STORE",
    help="Cache directory.  [default: $XDG_CACHE_HOME/minbuild]",
)

_CHOICE = "minbuild.image"
_IMAGE = (
    click.option("--platform", default="", metavar="OS/ARCH", expose_value=False,
                 callback=_remember, help="Of a container image for several platforms: the one to read."),
    click.option("--tag", default="", metavar="NAME", expose_value=False,
                 callback=_remember, help="Of several container images in one file: the one to read."),
)  # fmt: skip

_BUILD = (
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                 help="Give a variable of the manifest another value; may be repeated."),
    click.option("--cell", default="", metavar="NAME",
                 help="Take one combination of the manifest's matrix."),
    click.option("--components", multiple=True, type=click.Path(path_type=Path, file_okay=False, exists=True),
                 metavar="DIR", help="Look for components here first; may be repeated."),
    click.option("--mirror", multiple=True, metavar="URL",
                 help="Debian mirror; may be repeated: the next one is asked when one errs.  "
                 "[default: $MINBUILD_MIRROR, the config file, apt's sources]"),
    click.option("--lock", "lock", type=click.Path(path_type=Path, dir_okay=False),
                 help="Lock file.  [default: beside the manifest]"),
    click.option("--root", type=click.Path(path_type=Path, exists=True), metavar="PATH",
                 help="Take files from an installed root (directory, tar, container image, disk image)."),
    _PARTITION_OPTION,
    click.option("--allow-downgrade", is_flag=True,
                 help="Take a suite that is older than what the store has seen."),
    click.option("--trust-lock", is_flag=True,
                 help="Take what the lock pins though no signed index has it (any more)."),
    click.option("--allow-outside", "outside", type=click.Path(path_type=Path, exists=True), multiple=True,
                 metavar="PATH", help="Let the manifest take files below PATH; may be repeated."),
    click.option("--allow-code", "--allow-sign-module", "code", is_flag=True,
                 help="Let the manifest choose what runs here: modules, elements, tools, keys."),
    click.option("--offline", is_flag=True, help="Touch no network: use what the store holds."),
    _STORE,
)  # fmt: skip


def request_of(
    manifest: str,
    *,
    settings: Sequence[str],
    components: Sequence[Path],
    mirror: str | Sequence[str],
    lock: Path | None,
    offline: bool,
    allow_downgrade: bool = False,
    trust_lock: bool = False,
    outside: Sequence[Path] = (),
    code: bool = False,
    **more: Any,
) -> "Request":
    """Make the request that a command line asks for.

    Raises: UsageError for a setting without `=`; ManifestError for a manifest that is not there;
    ArchiveError for a config file that cannot be read.
    """
    from minbuild.build.request import Request
    from minbuild.manifest.find import manifest_file

    return Request(
        manifest=manifest_file(manifest),
        settings=pairs(settings),
        components=tuple(components),
        mirror=tuple(one for one in ([mirror] if isinstance(mirror, str) else mirror) if one),
        lock=lock,
        offline=offline,
        allow_downgrade=allow_downgrade,
        trust_lock=trust_lock,
        trust=trust_of(outside, code=code),
        **more,
    )


def trust_of(outside: Sequence[Path] = (), *, code: bool = False) -> "Trust":
    """What manifests may reach: what the command line allows, and the user's config file."""
    from minbuild.config import config_file, load_config
    from minbuild.manifest.trust import Trust

    return Trust(load_config(config_file()).trusted, tuple(outside), code)


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """The variables that `--set NAME=VALUE` gives. Raises: UsageError for one without `=`."""
    from minbuild.errors import UsageError

    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (equals and name):
            raise UsageError(
                f"--set {setting} is not NAME=VALUE", fix="write it like --set hostname=edge1"
            )
        found[name] = value
    return found


def doors_of(store: Path | None, terminal: Terminal) -> "Doors":
    """The doors that a build reaches the world through; they close when the command ends."""
    from minbuild.build.request import Doors, default_store

    context = click.get_current_context()
    partition = context.meta.get(_PARTITION)
    doors = Doors(store or default_store(), terminal, partition=partition)
    context.call_on_close(doors.close)
    return doors
