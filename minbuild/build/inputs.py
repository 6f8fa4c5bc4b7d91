"""What a build was made from beside its lock, as its footprint keeps it: names and digests."""

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

from minbuild.build.request import Request
from minbuild.footprint.types import Input, Inputs
from minbuild.manifest.types import Manifest
from minbuild.shipped import shipped


def inputs_of(request: Request, manifest: Manifest) -> Inputs:
    """Every document, template and file that a manifest took, and what the command line said.

    Settings are kept as one digest: they may be secret. Keys are not named at all.
    """
    image = manifest.image
    return Inputs(
        arch=manifest.arch,
        cell=request.cell,
        compression=str(image.compression),
        formats=tuple(str(one) for one in image.formats),
        settings=settings_digest(request),
        files=tuple(sorted({*_documents(manifest), *_elements(manifest)})),
    )


def settings_digest(request: Request) -> str:
    """SHA-256 of what --set says, in one order."""
    text = json.dumps(dict(sorted(request.settings.items())), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _documents(manifest: Manifest) -> set[Input]:
    sign = manifest.image.sign
    secret = {sign.key, sign.module} if sign else set()
    return {
        Input(_name(Path(path), manifest), digest)
        for path, digest in manifest.inputs.items()
        if digest and path not in secret
    }


def _elements(manifest: Manifest) -> set[Input]:
    if not manifest.image.dib:
        return set()
    from minbuild.dib.elements import digests

    return {
        Input(f"urn:minbuild:element/{quote(name)}", digest)
        for wish in manifest.image.dib
        for name, digest in digests(wish.elements).items()
    }


def _name(path: Path, manifest: Manifest) -> str:
    """A document's name wherever it lies: minbuild's own, beside the manifest, or elsewhere."""
    top = Path(manifest.file).absolute().parent
    if path.is_relative_to(shipped("manifests")):
        own = path.relative_to(shipped("manifests")).as_posix()
        return f"urn:minbuild:manifests/{quote(own)}"
    place = path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name
    return f"file:{quote(place)}"
