"""Packages that unpack to far more than they are, and a process that may not take much."""

import gzip
import io
import lzma
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.deb import ar

MEMORY = 1 << 30
STREAM = 64 << 20


def deb(data: bytes, ending: str, name: str = "hello", version: str = "1.0") -> bytes:
    """A package of any name around any bytes."""
    control = io.BytesIO()
    with tarfile.open(fileobj=control, mode="w:xz") as tar:
        text = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n".encode()
        member = tarfile.TarInfo("./control")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    members = [("debian-binary", b"2.0\n"), ("control.tar.xz", control.getvalue())]
    return ar([*members, (f"data.tar{ending}", data)])


def bomb(ending: str, size: int) -> bytes:
    """A tar of one file of zeros, packed as small as can be."""
    head = tarfile.TarInfo("./usr/bin/hello")
    head.size = size
    start = head.tobuf()
    if ending == ".zst":
        return _zstd(start, size)
    if ending == ".xz":  # one stream, as dpkg wants it: no reader gets to its end
        return lzma.compress(start + bytes(min(size, 1 << 29)), preset=0)
    return gzip.compress(start) + gzip.compress(bytes(STREAM)) * (size // STREAM)  # may be joined


def _zstd(start: bytes, size: int) -> bytes:
    """A frame whose blocks each say "128 KiB of zeros" in four bytes. Source: RFC 8878, 3.1.1."""
    block = 128 << 10
    head = b"\x28\xb5\x2f\xfd\xc0\x38" + (len(start) + size).to_bytes(8, "little")
    raw = (len(start) << 3).to_bytes(3, "little") + start
    zeros = (block << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    end = b"\1\0\0"
    return head + raw + zeros * (size // block) + end


def run_limited(cwd: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with a gigabyte of memory and a minute of processor time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    return subprocess.run(
        [sys.executable, "-m", "minbuild", *argv],
        cwd=cwd,
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
