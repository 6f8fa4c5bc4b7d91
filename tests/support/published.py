"""A build as `make` leaves it, made by hand, to be published."""

import lzma
from collections.abc import Mapping
from pathlib import Path

from minbuild.archive.lockfile import render_lock
from minbuild.archive.model import Lock, LockedSuite
from minbuild.footprint.document import render_footprint
from minbuild.image.publish import open_outputs
from tests.oracle.cpios import archive, directory, file
from tests.support.measured_inputs import measure_input
from tests.support.uki import uki

FILES = archive([directory(b"usr"), file(b"usr/hello", b"hello", 0o755)])
DATE = 1_700_000_000
"""Of the newest Release in the lock: the version of a host without another one."""


def pack(data: bytes) -> bytes:
    """A segment as builds pack it."""
    out = lzma.compress(data, check=lzma.CHECK_CRC32)
    return out + bytes(-len(out) % 4)


def make_image(
    text: bytes = b"hello", *, kernel: bytes = b"K" * 6000, osrel: bytes = b"ID=minbuild\n"
) -> bytes:
    """A UKI of a stub, a kernel and an initramfs of three segments, one of which has `text`."""
    segments = [
        archive([directory(b"etc"), file(b"etc/name", text)]),
        pack(FILES),
        pack(archive([file(b"usr/other", bytes(range(256)) * 16)])),
    ]
    return uki(
        {
            ".text": b"stub" * 300, ".osrel": osrel, ".cmdline": b"quiet", ".uname": b"6.1",
            ".linux": kernel, ".initrd": b"".join(segments),
        }
    )  # fmt: skip


def write_build(
    path: Path,
    image: bytes,
    *,
    name: str = "rack",
    arch: str = "amd64",
    more: Mapping[str, bytes] | None = None,
) -> Path:
    """A directory with an image, its footprint, lock and sums, and more files beside them."""
    work = path.parent / f"{name}.efi"
    path.parent.mkdir(parents=True, exist_ok=True)
    work.write_bytes(image)
    footprint = render_footprint(measure_input(str(work)))
    work.unlink()
    lock = Lock(arch, (LockedSuite("trixie", "debian", DATE, "0" * 64),), (), ())
    with open_outputs(path) as outputs:
        outputs.path(f"{name}.efi").write_bytes(image)
        outputs.path(f"{name}.lock").write_text(render_lock(lock))
        outputs.path("footprint.json").write_text(footprint)
        outputs.publish()
    for file_name, data in (more or {}).items():
        (path / file_name).write_bytes(data)
    return path
