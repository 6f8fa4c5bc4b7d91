"""The other builders: which are here, how the others come here, and what they make."""

import os
import shutil
import stat
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import Bench, Run, run_timed
from minbuild.formats.initramfs import unpack_members

SCRIPTS = Path(__file__).parent / "peers"
SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True, slots=True)
class Result:
    """What a builder left."""

    files: int
    bytes: int
    packed: int
    """Bytes of what boots, the kernel included; 0: it makes a tree only."""


def count(tree: Path) -> Result:
    """Regular files of a tree and their bytes, hard links once."""
    seen: dict[tuple[int, int], int] = {}
    for top, _, names in os.walk(tree):
        for name in names:
            result = os.lstat(f"{top}/{name}")
            if stat.S_ISREG(result.st_mode):
                seen[(result.st_dev, result.st_ino)] = result.st_size
    return Result(len(seen), sum(seen.values()), 0)


@dataclass(frozen=True, slots=True)
class Peer:
    """One builder, run by a script of ours."""

    name: str
    script: str
    programs: tuple[str, ...]
    install: str
    """How to have it."""
    slow: bool = True
    """Measured once, not in every round."""
    result: Callable[[Path], Result] = count
    sudo: bool = False
    """True: it asks sudo for what only root may do."""

    def lacks(self) -> str:
        """Why it cannot be measured here; "" when it can."""
        absent = [name for name in self.programs if path_of(name) is None]
        if absent:
            return f"{', '.join(absent)} not here ({self.install})"
        if os.geteuid() == 0 or (self.sudo and path_of("sudo")):
            return ""
        return "needs root or sudo" if self.sudo else "needs root"

    def run(self, bench: Bench) -> tuple[Run, Result]:
        """Build once into a fresh directory."""
        tree = bench.work / "peers" / self.script.removesuffix(".sh")
        tree.parent.mkdir(parents=True, exist_ok=True)
        argv: list[str | Path] = [SCRIPTS / self.script, bench.mirror, tree]
        run = run_timed(argv, cwd=tree.parent, env=dict(os.environ) | {"PATH": _path()})
        return run, self.result(tree)


def count_tar(archive: Path) -> Result:
    """Regular files of a tar archive and their bytes; a hard link is no file of its own."""
    with tarfile.open(archive) as members:
        sizes = [one.size for one in members if one.isreg() and not one.islnk()]
    return Result(len(sizes), sum(sizes), 0)


def _initramfs(tree: Path) -> Result:
    """What dracut packed, and the kernel beside it."""
    packed = (tree / "boot/initrd.img").read_bytes()
    inside = [one for one in unpack_members(packed).values() if stat.S_ISREG(one.mode)]
    kernel = next((tree / "boot").glob("vmlinuz-*")).stat().st_size
    contents = {one.inode: len(one.content) for one in inside}
    size = sum(contents.values()) + kernel
    return Result(len(inside) + 1, size, len(packed) + kernel)


PIPELINE = Peer(
    "mmdebstrap, depmod, dracut",
    "dracut-pipeline.sh",
    ("mmdebstrap", "depmod"),
    "Debian 13: apt install mmdebstrap kmod",
    slow=False,
    result=_initramfs,
)
PEERS: Sequence[Peer] = (
    PIPELINE,
    Peer("mmdebstrap", "mmdebstrap.sh", ("mmdebstrap",), "Debian 13: apt install mmdebstrap"),
    Peer("debootstrap", "debootstrap.sh", ("debootstrap",), "apt install debootstrap"),
    Peer("mkosi", "mkosi.sh", ("mkosi", "apt-get"), "Debian 13: apt install mkosi"),
    Peer(
        "disk-image-create",
        "disk-image-create.sh",
        ("disk-image-create", "debootstrap"),
        "pip install diskimage-builder; apt install debootstrap qemu-utils kpartx",
        result=lambda tree: count_tar(tree / "host.tar"),
        sudo=True,
    ),
)


def path_of(program: str) -> str | None:
    """Where a program lies; MMDEBSTRAP=PATH and the like name another place for it."""
    named = os.environ.get(program.upper().replace("-", "_"), program)
    return shutil.which(named, path=_path())


def _path() -> str:
    """Programs of the system too, which an ordinary PATH may leave out."""
    first = str(Path(sys.executable).parent)
    return os.pathsep.join([os.environ.get("PATH", os.defpath), first, *SYSTEM])
