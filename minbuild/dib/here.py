"""What disk-image-create needs of the machine that it runs on, and what it may leave there."""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.manifest.types import DibFormat, DibLayout
from minbuild.run import run, small_environment

_ALWAYS = ("bash", "tar", "awk", "losetup", "mkfs.ext4", "fstrim", "findmnt", "lsattr", "ps")
_LAYOUT = {DibLayout.PLAIN: (), DibLayout.GPT: ("kpartx", "sgdisk", "mkfs.vfat")}
_FORMAT = {DibFormat.QCOW2: "qemu-img", DibFormat.SQUASHFS: "mksquashfs"}
ADMIN, ALL = 21, str((1 << 32) - 1)
"""CAP_SYS_ADMIN; the users that the first user namespace has. Source: capabilities(7), user_namespaces(7)."""
SUDO = '#!/bin/bash\nwhile [[ "${1:-}" == -* ]]; do shift; done\nexec "$@"\n'
"""For root on machines without sudo: dib calls it for all."""


def lacking(layout: DibLayout, formats: Sequence[DibFormat]) -> tuple[str, ...]:
    """What this machine lacks, a phrase each; () when dib can run here."""
    path = search_path()
    programs = [*_ALWAYS, *_LAYOUT[layout], *(_FORMAT[one] for one in formats if one in _FORMAT)]
    lack = [f"the program {name}" for name in programs if shutil.which(name, path=path) is None]
    lack += _rights(path)
    if not Path("/dev/loop-control").exists():
        lack.append("loop devices")
    if layout is DibLayout.GPT and not Path("/dev/mapper/control").exists():
        lack.append("device mapper")
    systems = Path("/proc/filesystems").read_text(encoding="utf-8").split()
    if layout is DibLayout.GPT and "vfat" not in systems:
        lack.append("a kernel with vfat")
    return tuple(lack)


def _rights(path: str) -> list[str]:
    """What keeps whoever runs this from mounting; a container's root has often no right to."""
    if os.geteuid():
        sudo = shutil.which("sudo", path=path)
        if sudo is None:
            return ["root, or sudo"]
        return [] if _works([sudo, "-n", "true"]) else ["root, or sudo that asks no password"]
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    permitted = int(status.partition("CapEff:")[2].split()[0], 16)
    whole = Path("/proc/self/uid_map").read_text(encoding="utf-8").split() == ["0", "0", ALL]
    return [] if whole and permitted & 1 << ADMIN else ["the right to mount file systems"]


def search_path() -> str:
    """PATH with the directories where file system tools lie."""
    return f"{os.environ.get('PATH', '')}:{small_environment()['PATH']}"


def mounts(below: Path) -> tuple[str, ...]:
    """What is mounted below a directory, the last one first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    places = [line.split(" ")[1] for line in lines]
    return tuple(place for place in reversed(places) if place.startswith(f"{below}/"))


def sweep(below: Path) -> None:
    """Unmount, detach and remove what a dib that was ended has left below a directory."""
    env = {"PATH": search_path()}
    sudo = ["sudo"] if os.geteuid() else []
    for place in mounts(below):
        _try([*sudo, "umount", "-l", place], env)
    if shutil.which("losetup", path=search_path()):
        text = run(["losetup", "-nO", "NAME,BACK-FILE"], what="listing loop devices", env=env)
        for line in text.decode("utf-8", "replace").splitlines():
            device, _, file = line.partition(" ")
            if file.strip().startswith(f"{below}/"):
                _try([*sudo, "losetup", "-d", device], env)
    left = sorted((below / "tmp").glob("dib_*"))
    if left and not mounts(below):
        _try([*sudo, "rm", "-r", "-f", "--one-file-system", *map(str, left)], env)


def _try(argv: Sequence[str], env: dict[str, str]) -> None:
    with contextlib.suppress(ToolError):  # the first error is the one to show
        run(argv, what="cleaning up after disk-image-create", env=env)


def _works(argv: Sequence[str]) -> bool:
    try:
        run(argv, what="looking for what disk-image-create needs", env={"PATH": search_path()})
    except ToolError:
        return False
    return True
