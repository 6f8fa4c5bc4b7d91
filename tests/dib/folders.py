"""Build folders of the small host, made without tools."""

import json
import struct
import tarfile
from pathlib import Path

from minbuild.footprint import document
from minbuild.image import tar_cpio
from tests.e2e.small_host import Small, minbuild


def build_folder(small: Small) -> Path:
    """What `minbuild make` leaves of the small host: its footprint, and an image that holds it."""
    from minbuild.dib.build_export import node_from_row

    small.write()
    target = small.directory / "build" / "small"
    target.mkdir(parents=True)
    plan = minbuild(*small.argv("plan", "small.yaml", "--json"), cwd=small.directory)
    assert plan.code == 0, plan.err
    (target / "footprint.json").write_text(plan.out, encoding="utf-8")
    export = minbuild(*small.argv("export", "small.yaml", "-o", "small.tar"), cwd=small.directory)
    assert export.code == 0, export.err
    contents = {}
    kernel = b""
    with tarfile.open(small.directory / "small.tar") as tar:
        files = {member.name[1:]: tar.extractfile(member) for member in tar if member.isreg()}
        bodies = {path: file.read() for path, file in files.items() if file is not None}
    for row in json.loads(plan.out)["files"]:
        if row["type"] == "file":
            contents[row["sha256"]] = bodies[row["path"]]
            kernel = bodies[row["path"]] if row["path"].startswith("/boot/vmlinuz") else kernel
    footprint = document.read_footprint(plan.out, "footprint.json")
    nodes = [
        node_from_row(row) for row in footprint.files if not row.path.startswith("/boot/vmlinuz")
    ]
    initrd = tar_cpio.encode_cpio(nodes, contents.__getitem__)
    (target / "small.efi").write_bytes(uki({".linux": kernel, ".initrd": initrd}))
    return target


def uki(sections: dict[str, bytes]) -> bytes:
    """A PE file of nothing but these sections. Source: Microsoft PE Format."""
    start = 64 + 24 + 40 * len(sections)
    table, body = b"", b""
    for name, data in sections.items():
        path = start + len(body)
        table += struct.pack("<8sIIII16x", name.encode(), len(data), 0, len(data), path)
        body += data
    head = b"MZ" + bytes(58) + struct.pack("<I", 64)
    return head + struct.pack("<4s2xH12xHxx", b"PE\0\0", len(sections), 0) + table + body
