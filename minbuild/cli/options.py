"""Options that several commands share, and how they become a request."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from minbuild.cli.console import Terminal
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.manifest.input_files import Trust
    from minbuild.pipeline.session import BuildRequest, Session
    from minbuild.roots.oci import ImageChoice


Command = TypeVar("Command", bound=Callable[..., Any])


def build_options(command: Command) -> Command:
    """Give a command the options that say what to build, from where, and with which store."""
    for option in reversed(_BUILD_OPTIONS):
        command = option(command)
    return command


def image_options(command: Command) -> Command:
    """Give a command `--platform` and `--tag`; `choice` tells what they say."""
    for option in reversed(_IMAGE_OPTIONS):
        command = option(command)
    return command


def get_image_choice() -> "ImageChoice":
    """Which image is meant of a file that holds several, as the running command's options say."""
    from minbuild.roots.oci import ImageChoice

    context = click.get_current_context(silent=True)
    values = context.meta.get(_CHOICE_KEY, {}) if context is not None else {}
    return ImageChoice(platform=values.get("platform", ""), tag=values.get("tag", ""))


def _remember_choice(context: click.Context, option: click.Parameter, value: str) -> None:
    context.meta.setdefault(_CHOICE_KEY, {})[option.name] = value


def store_option(command: Command) -> Command:
    """Give a command `--store`."""
    return _STORE_OPTION(command)


def partition_option(command: Command) -> Command:
    """Give a command `--partition`, which `doors_of` looks for."""
    return _PARTITION_OPTION(command)


def _remember_partition(
    context: click.Context, _parameter: click.Parameter, value: int | None
) -> None:
    context.meta[_PARTITION_KEY] = value


_PARTITION_KEY = "minbuild.partition"
_PARTITION_OPTION = click.option(
    "--partition",
    type=click.IntRange(min=0),
    metavar="N",
    expose_value=False,
    callback=_remember_partition,
    help="Of a disk, read this partition; 0: the disk itself is a file system.  "
    "[default: the one that boots]",
)

_STORE_OPTION = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MINBUILD_STORE",
    help="Cache directory.  [default: $XDG_CACHE_HOME/minbuild]",
)

_CHOICE_KEY = "minbuild.image"
_IMAGE_OPTIONS = (
    click.option("--platform", default="", metavar="OS/ARCH", expose_value=False,
                 callback=_remember_choice, help="Of a container image for several platforms: the one to read."),
    click.option("--tag", default="", metavar="NAME", expose_value=False,
                 callback=_remember_choice, help="Of several container images in one file: the one to read."),
)  # fmt: skip

_BUILD_OPTIONS = (
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
    _STORE_OPTION,
)  # fmt: skip


def build_request(
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
    **fields: Any,
) -> "BuildRequest":
    """Make the request that a command line asks for.

    Raises: UsageError for a setting without `=`; ManifestError for a manifest that is not there;
    ArchiveError for a config file that cannot be read.
    """
    from minbuild.manifest.shipped_manifests import find_manifest
    from minbuild.pipeline.session import BuildRequest

    return BuildRequest(
        manifest=find_manifest(manifest),
        settings=parse_settings(settings),
        components=tuple(components),
        mirror=tuple(one for one in ([mirror] if isinstance(mirror, str) else mirror) if one),
        lock=lock,
        offline=offline,
        allow_downgrade=allow_downgrade,
        trust_lock=trust_lock,
        trust=make_trust(outside, code=code),
        **fields,
    )


def make_trust(outside: Sequence[Path] = (), *, code: bool = False) -> "Trust":
    """What manifests may reach: what the command line allows, and the user's config file."""
    from minbuild.config import find_config_file, load_config
    from minbuild.manifest.input_files import Trust

    return Trust(load_config(find_config_file()).trusted, tuple(outside), code)


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """The variables that `--set NAME=VALUE` gives. Raises: UsageError for one without `=`."""
    from minbuild.errors import UsageError

    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (equals and name):
            raise UsageError(
                f"--set {setting} is not NAME=VALUE", fix="write it like --set hostname=edge1"
            )
        values[name] = value
    return values


def open_session(store: Path | None, terminal: Terminal) -> "Session":
    """The doors that a build reaches the world through; they close when the command ends."""
    from minbuild.pipeline.session import Session, find_store_directory

    context = click.get_current_context()
    partition = context.meta.get(_PARTITION_KEY)
    session = Session(store or find_store_directory(), terminal, partition=partition)
    context.call_on_close(session.close)
    return session


def read_input(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"cannot read it: {reason}", where=str(path), fix="name a file that is there"
        ) from error
