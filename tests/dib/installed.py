"""Installed roots of every form, made from packages as text, as an installer would leave them."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from tests.support.deb import Deb, Member, parse, tar, with_parents
from tests.support.disks import Part, ext4, gpt

INFO = "./var/lib/dpkg/info"
START = 1 << 20
Json = dict[str, object]


def install(text: str, top: Path) -> Path:
    """Lay packages down in a directory, with the database that dpkg keeps of them."""
    top.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(as_tar(text))) as archive:
        # our own members; Python before 3.11.4 has no argument for it
        archive.extraction_filter = lambda member, _: member
        archive.extractall(top)
    return top


def as_tar(text: str) -> bytes:
    """The same root as a tar."""
    debs = parse(text)
    members = [
        Member("./"),
        *_directories(),
        *(m for deb in debs for m in with_parents(deb.members)),
    ]
    members += [Member(f"./{name}", b"2", target=f"usr/{name}") for name in ("bin", "lib", "lib64")]
    members.append(_file("./var/lib/dpkg/status", "\n".join(map(_status, debs))))
    for deb in debs:
        paths = [member.path.removeprefix(".") for member in with_parents(deb.members)]
        members.append(_file(f"{INFO}/{deb.name}.list", "\n".join(["/.", *paths]) + "\n"))
    unique = {member.path.rstrip("/"): member for member in members}
    return tar([unique[path] for path in sorted(unique)])


def as_layout(top: Path, *layers: bytes, arch: str = "amd64") -> Path:
    """An OCI image layout of these layers."""
    blobs = top / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
    rows = [_blob(blobs, gzip.compress(layer, mtime=0)) for layer in layers]
    manifest = _blob(blobs, json.dumps({"schemaVersion": 2, "layers": rows}).encode())
    index = {"manifests": [{**manifest, "platform": {"architecture": arch, "os": "linux"}}]}
    (top / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return top


def as_disk(top: Path, path: Path, *, table: bool) -> Path:
    """A disk image with an ext4 file system, whole or in a partition of a GPT."""
    whole = ext4(top, path, "12M")
    if table:
        path.write_bytes(gpt([Part(whole.read_bytes())]))
    return path


def paths(top: Path) -> set[str]:
    """Every file and link below a directory."""
    return {
        str(Path(at) / name).removeprefix(str(top))
        for at, directories, files in os.walk(top)
        for name in (*files, *directories)
        if not (Path(at) / name).is_dir() or (Path(at) / name).is_symlink()
    }


def _directories() -> list[Member]:
    names = ("usr", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var", "var/lib",
             "var/lib/dpkg", "var/lib/dpkg/info", "etc", "tmp")  # fmt: skip
    return [Member(f"./{name}/", b"5", 0o755) for name in names]


def _status(deb: Deb) -> str:
    head, _, rest = deb.control.partition("\n")
    return f"{head}\nStatus: install ok installed\n{rest}"


def _file(path: str, text: str) -> Member:
    return Member(path, data=text.encode())


def _blob(blobs: Path, data: bytes) -> Json:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}
