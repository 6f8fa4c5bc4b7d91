"""A disk with a partition table, and the one partition that UEFI starts from."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.image.fat import ROOT_ENTRIES, SECTOR, Fat, fit
from minbuild.image.uefi import UEFI
from minbuild.toolbox.toolbox import Toolbox

START = 1 << 20
"""Bytes before the first partition: what every partition tool keeps to."""
TABLE = 34 * SECTOR
"""The second partition table, at the disk's end: 33 sectors (UEFI 2.10, 5.3.1), and one because
mkfs.fat counts in KiB and adds a file's odd last sector to the file system."""
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
"""Type of an EFI System Partition. Source: UEFI 2.10, 5.3.3."""
LABEL = "MINBUILD"


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifiers that follow from a lock: the same for the same build, other for any other."""

    seed: str

    def guid(self, name: str) -> str:
        """A GUID, version 8 (RFC 9562, 5.8)."""
        raw = bytearray(self._digest(name)[:16])
        raw[6] = raw[6] & 0x0F | 0x80
        raw[8] = raw[8] & 0x3F | 0x80
        return str(uuid.UUID(bytes=bytes(raw)))

    def volume(self, name: str) -> str:
        """A FAT volume id: 8 hexadecimal digits."""
        return self._digest(name)[:4].hex()

    def _digest(self, name: str) -> bytes:
        return hashlib.sha256(f"{self.seed}\0{name}".encode()).digest()


def make_raw(uki: Path, arch: str, identity: Identity, output: Path, toolbox: Toolbox) -> None:
    """Write a disk to `output` that starts `uki` on any UEFI machine.

    Raises: ToolError when a tool fails.
    """
    make_disk({f"EFI/BOOT/{UEFI[arch].default}": uki}, identity, output, toolbox)


def make_disk(
    files: Mapping[str, Path], identity: Identity, output: Path, toolbox: Toolbox
) -> None:
    """Write a GPT disk whose ESP holds `files`, by their place in it; sparse, no larger than needed.

    Raises: ToolError when a tool fails.
    """
    directories = _directories(files)
    fat = fit([path.stat().st_size for path in files.values()], len(directories))
    with output.open("wb") as disk:
        disk.truncate(START + fat.sectors * SECTOR + TABLE)
    _partition(fat, identity, output, toolbox)
    _format(fat, identity, output, toolbox)
    inside = ("-i", f"{output}@@{START}")
    if directories:
        names = [f"::{name}" for name in directories]
        toolbox.run("mmd", [*inside, *names], what="making the ESP's directories")
    for name, path in sorted(files.items()):
        # -Q: no question, an error; without -m the time is SOURCE_DATE_EPOCH
        toolbox.run("mcopy", [*inside, "-Q", path, f"::{name}"], what=f"filling the ESP: {name}")


def _directories(files: Mapping[str, Path]) -> Sequence[str]:
    """Every directory of these places, outer ones first."""
    found = set()
    for name in files:
        parts = name.split("/")[:-1]
        found |= {"/".join(parts[: n + 1]) for n in range(len(parts))}
    return sorted(found)


def _partition(fat: Fat, identity: Identity, output: Path, toolbox: Toolbox) -> None:
    script = (
        "label: gpt\n"
        f"label-id: {identity.guid('disk')}\n"
        "first-lba: 34\n"
        f"start={START // SECTOR}, size={fat.sectors}, type={ESP}, "
        f'uuid={identity.guid("esp")}, name="EFI System"\n'
    )
    words: list[str | Path] = ["--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", output]
    toolbox.run("sfdisk", words, what="writing the partition table", stdin=script.encode())


def _format(fat: Fat, identity: Identity, output: Path, toolbox: Toolbox) -> None:
    words: list[str | Path] = [
        "--invariant",
        "-a",
        *("-F", str(fat.bits)),
        *("-s", str(fat.cluster // SECTOR)),
        *("-S", str(SECTOR)),
        *(("-r", str(ROOT_ENTRIES)) if fat.bits == 16 else ()),
        *("-h", str(START // SECTOR)),
        *("-i", identity.volume("esp")),
        *("-n", LABEL),
        f"--offset={START // SECTOR}",
        output,
        str(fat.sectors * SECTOR // 1024),
    ]
    toolbox.run("mkfs.fat", words, what="formatting the ESP")
