"""Container images of every form, made of layers."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OCI = "application/vnd.oci.image"
Blobs = dict[str, bytes]


@dataclass(frozen=True)
class ContainerImage:
    """One image."""

    layers: Sequence[bytes]
    arch: str = "amd64"
    variant: str = ""
    tag: str = "latest"

    @property
    def platform(self) -> Mapping[str, str]:
        platform = {"architecture": self.arch, "os": "linux", "variant": self.variant}
        return {key: value for key, value in platform.items() if value}


def oci(*images: ContainerImage, tell: bool = True) -> Blobs:
    """An OCI image layout: name → bytes. `tell`: the index has each image's platform."""
    blobs: Blobs = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    rows = []
    for image in images:
        layers = [
            _add_blob(blobs, gzip.compress(layer, mtime=0), f"{OCI}.layer.v1.tar+gzip")
            for layer in image.layers
        ]
        config = _add_blob(blobs, json.dumps(_config(image)).encode(), f"{OCI}.config.v1+json")
        manifest = {
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": config, "layers": layers,
        }  # fmt: skip
        row = _add_blob(blobs, json.dumps(manifest).encode(), f"{OCI}.manifest.v1+json")
        row["annotations"] = {"org.opencontainers.image.ref.name": image.tag}
        rows.append(row | ({"platform": image.platform} if tell else {}))
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": rows}).encode()
    return blobs


def docker_archive(*images: ContainerImage) -> Blobs:
    """What `docker save` writes without an OCI layout, before version 25."""
    blobs: Blobs = {}
    rows = []
    for image in images:
        config = json.dumps(_config(image)).encode()
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        blobs[name] = config
        places = []
        for layer in image.layers:
            path = f"{hashlib.sha256(layer + config).hexdigest()}/layer.tar"
            blobs[path] = layer
            places.append(path)
        rows.append({"Config": name, "RepoTags": [f"t:{image.tag}"], "Layers": places})
    blobs["manifest.json"] = json.dumps(rows).encode()
    return blobs


def skopeo_directory(image: ContainerImage) -> Blobs:
    """What `skopeo copy … dir:` writes."""
    blobs = oci(image)
    names = {name.rpartition("/")[2]: data for name, data in blobs.items() if "/" in name}
    row = json.loads(blobs["index.json"])["manifests"][0]
    manifest = names.pop(row["digest"].partition(":")[2])
    return {**names, "manifest.json": manifest, "version": b"Directory Transport Version: 1.1\n"}


def write_blobs(blobs: Blobs, top: Path) -> Path:
    """The parts as files in a directory."""
    for name, data in blobs.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


def pack_blobs(blobs: Blobs, path: Path) -> Path:
    """The parts as members of a tar."""
    with tarfile.open(path, "w") as out:
        for name, data in blobs.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def _config(image: ContainerImage) -> dict[str, object]:
    plain = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in image.layers]
    return {**image.platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": plain}}


def _add_blob(blobs: Blobs, data: bytes, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    blobs[f"blobs/sha256/{digest}"] = data
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}
