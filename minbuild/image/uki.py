"""The Unified Kernel Image: one file of kernel, initramfs and command line that UEFI starts.

Source: UAPI group, Unified Kernel Image (UKI); ukify(1).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from minbuild.image.uefi import UEFI
from minbuild.toolbox.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Parts:
    """What a UKI is made of."""

    arch: str
    linux: Path
    initrd: Path
    cmdline: str
    osrel: bytes
    """The content of os-release."""
    uname: str
    """The kernel's release, as uname -r says it."""


def with_stub(args: Sequence[str], toolbox: Toolbox, arch: str) -> list[str]:
    """The user's words for ukify, with the toolbox's stub where they name none.

    ukify looks for it below this machine's /usr, where it seldom is. `arch`: this machine's.
    """
    if not any(word.startswith("--linux") for word in args):
        return [*args]
    if any(word.startswith("--stub") for word in args):
        return [*args]
    wanted = [word.partition("=")[2] for word in args if word.startswith("--efi-arch=")]
    wanted += [word for before, word in pairwise(args) if before == "--efi-arch"]
    names = wanted or [UEFI[arch].name]
    stub = next((one.stub for one in UEFI.values() if one.name == names[-1]), None)
    return [*args, f"--stub={toolbox.path(stub)}"] if stub is not None else [*args]


def make_uki(parts: Parts, output: Path, work: Path, toolbox: Toolbox) -> None:
    """Write the UKI to `output`; `work` is an empty directory for files that are needed for it.

    Raises: ToolError when ukify fails.
    """
    uefi = UEFI[parts.arch]
    osrel, cmdline = work / "os-release", work / "cmdline"
    osrel.write_bytes(parts.osrel)
    cmdline.write_text(parts.cmdline, encoding="utf-8")
    words = [
        "build",
        f"--config={os.devnull}",
        f"--efi-arch={uefi.name}",
        f"--stub={toolbox.path(uefi.stub)}",
        f"--linux={parts.linux}",
        f"--initrd={parts.initrd}",
        f"--cmdline=@{cmdline}",
        f"--os-release=@{osrel}",
        f"--uname={parts.uname}",
        f"--output={output}",
    ]
    what = f"building {output.name}"
    toolbox.run("ukify", words, what=what, cwd=work, env={"TMPDIR": str(work)})
