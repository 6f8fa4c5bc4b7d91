"""Manifest of a build request, with what its command line overrides, and the checks of the shell
scripts that it renders.

`quote` makes a word of any text only where the shell looks for words: within quotes, comments and
here-documents its own quotes mean something else. Each script is therefore parsed once with a mark
in place of every quoted value, and the mark must stand in a word, outside of quotes.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ManifestError, UsageError, combine
from minbuild.manifest import templates
from minbuild.manifest.components import OWN_COMPONENT
from minbuild.manifest.files import locate_line
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import (
    Location,
    Manifest,
    PackagePaths,
    RenderedFile,
    TemplateSource,
    VariableValue,
)
from minbuild.manifest.templates import use_render_cache
from minbuild.manifest.text_use import TextUse, classify_text
from minbuild.paths import RootPath, to_root_path
from minbuild.pipeline.session import BuildRequest, Session, digest_source_code
from minbuild.resolve import path_glob


def drop_overridden_waivers(manifest: Manifest) -> Manifest:
    """The manifest without the `drop` of an extended one for a path that it keeps itself.

    Raises: ManifestError for a path that one document keeps and drops, and for one that the
    manifest keeps and a glob of an extended one drops.
    """
    kept_paths = [
        (text, one)
        for part in manifest.components
        if part.name.endswith(f"/{OWN_COMPONENT}")
        for one in part.packages
        for text in one.paths
        if not path_glob.is_glob(text)
    ]
    problems: list[ManifestError] = []
    drop = []
    for waiver in manifest.drop:
        match = next(
            ((text, one) for text, one in kept_paths if _is_covered(waiver.path, text)), None
        )
        is_override = match is not None and _is_own_line(match[1].where, manifest)
        if match is None or (waiver.where.file != match[1].where.file and not is_override):
            drop.append(waiver)  # the later line holds: this one
        elif waiver.where.file == match[1].where.file or path_glob.is_glob(waiver.path):
            problems.append(_describe_conflict(match[0], match[1], waiver.path, f"{waiver.where}"))
    if problems:
        raise combine(problems)
    return manifest if len(drop) == len(manifest.drop) else replace(manifest, drop=tuple(drop))


def _is_own_line(location: Location, manifest: Manifest) -> bool:
    """Whether a line stands in the manifest itself, and in none that it extends."""
    return Path(location.file).absolute() == Path(manifest.file).absolute()


def _is_covered(glob: str, kept_path: str) -> bool:
    return path_glob.matches(to_root_path(glob), to_root_path(kept_path))


def _describe_conflict(path: str, keeper: PackagePaths, dropped: str, where: str) -> ManifestError:
    return ManifestError(
        f"{path} is kept, and drop: {dropped} at {where} leaves it out",
        where=f"{keeper.where}",
        fix="remove one of the two lines; a glob of an extended manifest is not undone for one path",
    )


def check_scripts(
    manifest: Manifest, store: Store, sourced: Collection[RootPath] | None = None
) -> None:
    """Make sure that every rendered script can be run as it is meant.

    `sourced`: look at these files alone, which scripts of the image read.
    Raises: ManifestError with every problem; ToolError without shfmt.
    """
    scripts = [
        _RenderedScript(file, file.template)
        for part in manifest.components
        for file in part.files
        if file.template is not None and file.template.text is not None
        and _is_script_to_check(file, file.template, sourced)
    ]  # fmt: skip
    problems = [
        one
        for text in scripts
        if sourced
        for one in _find_unquoted_values(text, manifest.variables)
    ]
    scripts_by_data = {script.render_with_marks(manifest.variables): script for script in scripts}
    unchecked = {
        data: script.file
        for data, script in scripts_by_data.items()
        if store.get(RecordKind.CHECKED_SCRIPT, _digest_script(data)) is None
    }
    if unchecked:
        # 30 ms: threads and a sandbox; most scripts were checked before
        from minbuild.pipeline.script_syntax import find_syntax_faults

        faults_by_data = find_syntax_faults(unchecked)
        problems += [one for faults in faults_by_data.values() for one in faults]
        store.put(
            RecordKind.CHECKED_SCRIPT,
            {_digest_script(data): b"" for data, faults in faults_by_data.items() if not faults},
        )
    if problems:
        raise combine(problems)


@dataclass(frozen=True, slots=True)
class _RenderedScript:
    """A script and what it was made from."""

    file: RenderedFile
    source: TemplateSource

    def render_with_marks(self, values: Mapping[str, VariableValue]) -> bytes:
        """The script with a mark for every quoted value."""
        return templates.render_template(
            self.source.text or "", values, TextUse.SHELL, marked=True
        ).encode()


def _digest_script(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_script_to_check(
    file: RenderedFile, source: TemplateSource, sourced: Collection[RootPath] | None
) -> bool:
    use = classify_text(str(file.path), source.text or "", file.mode, source.where.file)
    if sourced is not None:
        return use is TextUse.FILE and file.path in sourced
    return use is TextUse.SHELL


def _find_unquoted_values(
    script: _RenderedScript, values: Mapping[str, VariableValue]
) -> Iterator[ManifestError]:
    """Values without the filter, in a file of which only now is known that scripts read it."""
    for fault in templates.find_unquoted(script.source.text or "", values):
        location = locate_line(script.source, fault.line)
        yield ManifestError(fault.message, where=f"{location}", fix=fault.fix)


def load_manifest(request: BuildRequest, session: Session | None = None) -> Manifest:
    """Load the manifest of a request; with a session, its cache keeps what was rendered.

    Raises: ManifestError with every problem; UsageError for a manifest that requires --root.
    """
    if session is None:
        return _load(request)
    with use_render_cache(session.store, digest_source_code(session.store)):
        manifest = _load(request)
        check_scripts(manifest, session.store)
        return manifest


def _load(request: BuildRequest) -> Manifest:
    manifest = read_manifest(
        request.manifest,
        settings=request.settings,
        components=request.components,
        variant=request.cell,
        trust=request.trust,
    )
    if request.root is not None:
        archive = replace(manifest.archive, root=str(request.root), suites=("installed root",))
        manifest = replace(manifest, archive=archive)
    elif manifest.archive.requires_root_option:
        raise UsageError(
            "the manifest takes its files from a root, and none is given",
            where=str(request.manifest),
            fix="give it: --root PATH (a directory, a tar, a container image or a disk image)",
        )
    if manifest.drop:
        manifest = drop_overridden_waivers(manifest)
    default_compression = manifest.image.compression
    if request.compression in {None, default_compression}:
        return manifest
    image = replace(
        manifest.image, compression=request.compression, overridden_compression=default_compression
    )
    return replace(manifest, image=image)
