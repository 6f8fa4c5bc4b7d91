"""A disk that holds an installed root rather than a UKI: its ext4 file system, file by file."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.kernel import kernel_config
from minbuild.facts.root.disk import Disk
from minbuild.facts.root.types import Found, Reach
from minbuild.footprint.types import DISK, Footprint
from minbuild.subject.measured import capability, newest_kernel, owned
from minbuild.subject.qcow2 import Stored
from minbuild.subject.seen import Origin, Seen, content, footprint

LARGEST = 1 << 30
"""Bytes of the largest file that is read whole."""


def read_root_disk(path: Path, raw: Path, kept: Stored, reach: Reach) -> Footprint:
    """Measure the largest ext2, ext3 or ext4 file system of a disk, whose raw form is `raw`.

    Its rows sum to the size of the file at `path`. Devices and sockets are left out.
    Raises: ToolError when there is none, it is damaged, or debugfs cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="minbuild-") as scratch:
        disk = Disk(raw, Path(scratch), reach().debugfs)
        return _measured(path, disk, kept, reach)


def _measured(path: Path, disk: Disk, kept: Stored, reach: Reach) -> Footprint:
    size = path.stat().st_size
    found = {one.raw: one for one in disk.walk() if one.raw}
    files = [raw for raw, one in found.items() if one.kind == "file"]
    programs = [raw for raw in files if found[raw].mode & 0o111]
    permitted = {raw: capability(data) for raw, data in disk.capabilities(programs).items()}
    seen = [_seen(one, found) for one in found.values() if one.kind != "file"]
    config: dict[str, bytes] = {}
    for raw, data in disk.contents([raw for raw in files if found[raw].size <= LARGEST]):
        one = replace(_seen(found[raw], found), capability=permitted.get(raw, ""))
        seen.append(content(one, data, sample=True))
        if raw.startswith("boot/config-"):
            config[raw] = data
    if len(seen) != len(found):
        raise UsageError(
            "a file on the disk is larger than what is read", where=str(path),
            fix="mount it and name its root directory",
        )  # fmt: skip
    if not kept.packed:
        seen = [replace(one, weight=one.size) for one in seen]
    weight = sum(one.weight for one in seen if one.type == "file")
    payload = (kept.data if kept.packed else min(kept.data, weight)) if weight else 0
    origin = Origin(
        name=path.name.partition(".")[0],
        kernel=newest_kernel(seen),
        payload=payload,
        packed={path.suffix.removeprefix(".") or "image": size},
        overhead={DISK: size - payload},
        capabilities=True,
        kconfig=dict(kernel_config(config[max(config)]).options) if config else None,
        owners=owned(found, disk.read, reach),
    )
    return footprint(seen, origin)


def _seen(one: Found, found: Mapping[str, Found]) -> Seen:
    target = one.target
    if one.kind == "hardlink":
        target = found[target].path
    return Seen(one.path, str(one.kind), one.mode, one.uid, one.gid, one.size, target=target)
