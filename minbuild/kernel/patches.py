"""Patches of one's own, applied to a kernel's source before it is compiled."""

import os
from pathlib import Path

from minbuild.errors import MalformedFile, ManifestError
from minbuild.formats.unified_diff import FileChange, apply_hunks, parse_patch
from minbuild.manifest.model import KernelPatch


def apply_patch(source: Path, patch: KernelPatch) -> None:
    """Change a source tree; what is changed keeps its date, and a new file has the Makefile's.

    The dates are in what is compiled. Raises: ManifestError with the file that it does not fit.
    """
    try:
        changes = parse_patch(patch.content)
    except MalformedFile as error:
        raise _describe(patch, error.reason) from error
    for change in changes:
        try:
            _change_file(source, change)
        except MalformedFile as error:
            raise _describe(
                patch, f"{change.old_path or change.new_path}: {error.reason}"
            ) from error


def _change_file(source: Path, change: FileChange) -> None:
    old = source / change.old_path if change.old_path else None
    new = source / change.new_path if change.new_path else None
    for path in filter(None, (old, new)):
        if not path.resolve().is_relative_to(source.resolve()) or path.is_symlink():
            raise MalformedFile("it is a link")
    if old is not None and not old.is_file():
        raise MalformedFile("this source has no such file")
    if old is None and new is not None and new.exists():
        raise MalformedFile("this source has such a file already")
    data = apply_hunks(old.read_bytes() if old is not None else b"", change.hunks)
    dates = (old or source / "Makefile").stat().st_mtime_ns
    mode = old.stat().st_mode & 0o777 if old is not None else 0o644
    if old is not None and old != new:
        old.unlink()
    if new is not None:
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(data)
        new.chmod(mode)
        os.utime(new, ns=(dates, dates))
    elif data:
        raise MalformedFile("it is to be removed, and has more lines than the patch takes away")


def _describe(patch: KernelPatch, reason: str) -> ManifestError:
    return ManifestError(
        f"the patch {patch.name} cannot be applied: {reason}",
        where=str(patch.where),
        fix="make it of this very source, with diff -u or git diff, and without renames",
    )
