"""A compiled kernel as a Debian package: the form in which everything else here takes files."""

import io
import tarfile
from collections.abc import Mapping

from minbuild.kernel.model import CompiledKernel

SOURCES_FILE = "kernel-sources.txt"
"""The list of compiled sources, beside the images of a host whose kernel was built."""
_AR_HEADER = "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n"


def render_package(
    kernel: CompiledKernel, fields: Mapping[str, str], copyright_text: bytes, epoch: int
) -> bytes:
    """A .deb with image, configuration, built-in modules and the list of compiled sources.

    `fields` are those of its control file; `epoch`: seconds UTC of every file.
    Source: deb(5), deb-control(5).
    """
    modules = f"usr/lib/modules/{kernel.release}"
    sources = "".join(f"{name}\n" for name in kernel.sources).encode()
    files = {
        f"boot/config-{kernel.release}": kernel.config,
        f"boot/vmlinuz-{kernel.release}": kernel.image,
        f"{modules}/modules.builtin": kernel.modules_builtin,
        f"{modules}/modules.builtin.modinfo": kernel.modules_builtin_modinfo,
        f"{modules}/modules.order": b"",
        f"usr/share/doc/{fields['Package']}/copyright": copyright_text,
        locate_sources(kernel.release): sources,
    }
    control = "".join(f"{name}: {value}\n" for name, value in fields.items()).encode()
    members = {
        "debian-binary": b"2.0\n",
        "control.tar": _pack({"control": control}, epoch),
        "data.tar": _pack(files, epoch),
    }
    return b"!<arch>\n" + b"".join(
        _AR_HEADER.format(name, 0, 0, 0, "100644", len(data)).encode()
        + data
        + b"\n" * (len(data) % 2)
        for name, data in members.items()
    )


def locate_sources(release: str) -> str:
    """Where such a package has the list of compiled sources, one a line; without the first slash."""
    return f"usr/share/minbuild/kernel/sources-{release}"


def _pack(files: Mapping[str, bytes], epoch: int) -> bytes:
    """A tar of files and their directories, owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        made: set[str] = set()
        for path, data in sorted(files.items()):
            parts = path.split("/")[:-1]
            for end in range(1, len(parts) + 1):
                directory = "/".join(parts[:end])
                if directory not in made:
                    made.add(directory)
                    tar.addfile(_describe(f"./{directory}", tarfile.DIRTYPE, 0o755, epoch))
            info = _describe(f"./{path}", tarfile.REGTYPE, 0o644, epoch)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _describe(name: str, kind: bytes, mode: int, epoch: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, epoch
    info.uname = info.gname = "root"
    return info
