"""Build request and session, made from the options of a command."""

from collections.abc import Sequence
from pathlib import Path

import click

from minbuild.cli.options import BuildOptions, get_partition, get_remembered_text, is_offline
from minbuild.cli.terminal import Terminal
from minbuild.config import find_config_file, load_config
from minbuild.errors import UsageError
from minbuild.manifest.input_files import Trust
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline.session import BuildRequest, Session, find_store_directory


def build_request(manifest: str, build: BuildOptions) -> BuildRequest:
    """Make the request that a command line asks for.

    Raises: UsageError for a setting without `=`; ManifestError for a missing manifest;
    ArchiveError for an unreadable config file.
    """
    return BuildRequest(
        manifest=find_manifest(manifest),
        settings=parse_settings(build.settings),
        cell=build.variant,
        components=build.components,
        mirror=tuple(url for url in build.mirror if url),
        lock=build.lock,
        root=build.root,
        offline=build.offline,
        allow_downgrade=build.allow_downgrade,
        trust_lock=build.trust_lock,
        trust=make_trust(build.outside, code=build.code),
    )


def make_trust(outside: Sequence[Path] = (), *, code: bool = False) -> Trust:
    """What manifests may reach: what the command line allows, and the user's config file."""
    return Trust(load_config(find_config_file()).trusted, tuple(outside), code)


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """The variables that `--set NAME=VALUE` gives. Raises: UsageError for one without `=`."""
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (equals and name):
            raise UsageError(
                f"--set {setting} is not NAME=VALUE", fix="write it like --set hostname=edge1"
            )
        values[name] = value
    return values


def open_session(store: Path | None, terminal: Terminal) -> Session:
    """Open the session of a build: store, progress and caches; closed when the command ends."""
    session = Session(
        store or find_store_directory(),
        terminal,
        shared_store=get_remembered_text("store_remote"),
        offline=is_offline(),
        partition=get_partition(),
    )
    click.get_current_context().call_on_close(session.close)
    return session
