"""Commands that edit a manifest in place: add, remove."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from minbuild.cli.console import print_message
from minbuild.cli.options import complete
from minbuild.cli.output_options import json_option, render_json
from minbuild.cli.requests import make_trust, parse_settings
from minbuild.errors import UsageError
from minbuild.file_io import write_atomic
from minbuild.manifest.manifest_edits import ManifestEditor
from minbuild.manifest.shipped_manifests import find_only_manifest, find_shipped
from minbuild.pipeline.session import BuildRequest, locate_provisional_lock

Command = Callable[..., None]


def _edit_options(command: Command) -> Command:
    """Give a command the options of an edit."""
    for option in reversed(
        (
            click.option("-m", "--manifest", metavar="FILE", shell_complete=complete("manifests"),
                         type=click.Path(path_type=Path, dir_okay=False),
                         help="The manifest to edit.  [default: the only one here]"),
            click.option("--components", multiple=True, metavar="DIR",
                         type=click.Path(path_type=Path, file_okay=False, exists=True),
                         help="Look for components here first; may be repeated."),
            click.option("--dry-run", is_flag=True, help="Print the change, and write nothing."),
            json_option,
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="COMPONENT|PACKAGE/FILE...",
                shell_complete=complete("components"))  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Write the value of a variable below vars:; may be repeated.")  # fmt: skip
@_edit_options
def add(
    names: tuple[str, ...], settings: tuple[str, ...], manifest: Path | None,
    components: tuple[Path, ...], dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Add components to a manifest, or files of packages, and keep its comments.

    COMPONENT is ssh or services/ssh; PACKAGE/FILE is pciutils/lspci or pciutils/usr/bin/lspci. The
    manifest is read again before it is written: what would not build is an error.
    """
    editor = _open_editor(manifest, components)
    done = [editor.add(name) for name in names]
    for name, value in parse_settings(settings).items():
        editor.set_variable(name, value)
        done.append(f"set {name}")
    _finish(editor, done, dry_run=dry_run, as_json=as_json)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="COMPONENT|PACKAGE/FILE...",
                shell_complete=complete("components"))  # fmt: skip
@_edit_options
def remove(
    names: tuple[str, ...], manifest: Path | None, components: tuple[Path, ...], dry_run: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Take components or files of packages out of a manifest, and keep its comments.

    What an extended manifest uses is taken away by use: {remove: [NAME]}. A component that others
    need stays, and is an error.
    """
    editor = _open_editor(manifest, components)
    done = [editor.remove(name) for name in names]
    _finish(editor, done, dry_run=dry_run, as_json=as_json)


def _open_editor(manifest: Path | None, components: Sequence[Path]) -> ManifestEditor:
    path = manifest or find_only_manifest(Path())
    if not path.is_file():
        shipped = find_shipped(str(path))
        raise UsageError(
            "this manifest ships with minbuild and is not edited"
            if shipped
            else "no such manifest",
            where=str(path),
            fix=f"start one of your own from it: minbuild init --from {shipped.stem} my-host.yaml"
            if shipped
            else "write one: minbuild init",
        )
    return ManifestEditor(path, make_trust(), components)


def _finish(editor: ManifestEditor, done: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    """Check the edited manifest, write it, and tell what was done."""
    editor.check()
    is_changed = editor.data != editor.original
    if is_changed and not dry_run:
        file = editor.path.resolve()
        mode = file.stat().st_mode
        write_atomic(file, editor.data).chmod(mode & 0o777)
    lock = locate_provisional_lock(BuildRequest(editor.path))
    if as_json:
        document = render_json(
            "edit", manifest=editor.path, done=done, changed=is_changed,
            written=is_changed and not dry_run,
        )  # fmt: skip
        click.echo(document, nl=False)
        return
    for sentence in done:
        print_message(f"{editor.path}: {sentence}", err=False)
    if dry_run:
        click.echo(_render_change(editor), nl=False)
    elif is_changed and lock.exists():
        print_message(f"{lock} pins what was there before: minbuild lock {editor.path}", err=False)


def _render_change(editor: ManifestEditor) -> str:
    before, after = editor.original.decode("utf-8"), editor.data.decode("utf-8")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(editor.path),
        str(editor.path), n=1,
    )  # fmt: skip
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
