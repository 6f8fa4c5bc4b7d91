"""Manifest of a build request, with what its command line overrides; few imports: a build without a
change needs no more of the pipeline than this.
"""

from dataclasses import replace

from minbuild.errors import UsageError
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest
from minbuild.manifest.templates import use_render_cache
from minbuild.pipeline.manifest_checks import check_scripts, drop_overridden_waivers
from minbuild.pipeline.session import BuildRequest, Session, digest_source_code


def load_manifest(request: BuildRequest, session: Session | None = None) -> Manifest:
    """Load the manifest of a request; with a session, its cache keeps what was rendered.

    Raises: ManifestError with every problem; UsageError for a manifest that requires --root.
    """
    if session is None:
        return _load(request)
    with use_render_cache(session.store, digest_source_code()):
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
