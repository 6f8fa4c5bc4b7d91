"""Requirements of disk-image-create on the machine that it runs on, and what it may leave there."""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.manifest.image_settings import DibFormat, DibLayout
from minbuild.process import minimal_environment, run_program

_REQUIRED_PROGRAMS = (
    "bash",
    "tar",
    "awk",
    "losetup",
    "mkfs.ext4",
    "fstrim",
    "findmnt",
    "lsattr",
    "ps",
)
_LAYOUT_PROGRAMS = {DibLayout.PLAIN: (), DibLayout.GPT: ("kpartx", "sgdisk", "mkfs.vfat")}
_FORMAT_PROGRAMS = {DibFormat.QCOW2: "qemu-img", DibFormat.SQUASHFS: "mksquashfs"}
CAP_SYS_ADMIN, ALL_USERS = 21, str((1 << 32) - 1)
"""CAP_SYS_ADMIN; the users that the first user namespace has. Source: capabilities(7), user_namespaces(7)."""
SUDO_STUB = '#!/bin/bash\nwhile [[ "${1:-}" == -* ]]; do shift; done\nexec "$@"\n'
"""For root on machines without sudo: dib calls it for all."""


def list_missing_requirements(layout: DibLayout, formats: Sequence[DibFormat]) -> tuple[str, ...]:
    """What this machine lacks, a phrase each; () when dib can run here."""
    path = make_tool_path()
    programs = [
        *_REQUIRED_PROGRAMS,
        *_LAYOUT_PROGRAMS[layout],
        *(_FORMAT_PROGRAMS[one] for one in formats if one in _FORMAT_PROGRAMS),
    ]
    missing = [f"the program {name}" for name in programs if shutil.which(name, path=path) is None]
    missing += _check_mount_rights(path)
    if not Path("/dev/loop-control").exists():
        missing.append("loop devices")
    if layout is DibLayout.GPT and not Path("/dev/mapper/control").exists():
        missing.append("device mapper")
    systems = Path("/proc/filesystems").read_text(encoding="utf-8").split()
    if layout is DibLayout.GPT and "vfat" not in systems:
        missing.append("a kernel with vfat")
    return tuple(missing)


def _check_mount_rights(path: str) -> list[str]:
    """What keeps whoever runs this from mounting; a container's root has often no right to."""
    if os.geteuid():
        sudo = shutil.which("sudo", path=path)
        if sudo is None:
            return ["root, or sudo"]
        return [] if _can_run([sudo, "-n", "true"]) else ["root, or sudo that asks no password"]
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    permitted = int(status.partition("CapEff:")[2].split()[0], 16)
    has_all_users = Path("/proc/self/uid_map").read_text(encoding="utf-8").split() == [
        "0",
        "0",
        ALL_USERS,
    ]
    return (
        []
        if has_all_users and permitted & 1 << CAP_SYS_ADMIN
        else ["the right to mount file systems"]
    )


def make_tool_path() -> str:
    """PATH with the directories where file system tools lie."""
    return f"{os.environ.get('PATH', '')}:{minimal_environment()['PATH']}"


def list_mounts(below: Path) -> tuple[str, ...]:
    """What is mounted below a directory, the last one first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mount_points = [line.split(" ")[1] for line in lines]
    return tuple(
        mount_point for mount_point in reversed(mount_points) if mount_point.startswith(f"{below}/")
    )


def clean_up_mounts(below: Path) -> None:
    """Unmount, detach and remove what a dib that was ended has left below a directory."""
    env = {"PATH": make_tool_path()}
    sudo = ["sudo"] if os.geteuid() else []
    for mount_point in list_mounts(below):
        _run_ignoring_errors([*sudo, "umount", "-l", mount_point], env)
    if shutil.which("losetup", path=make_tool_path()):
        text = run_program(
            ["losetup", "-nO", "NAME,BACK-FILE"], purpose="listing loop devices", env=env
        )
        for line in text.decode("utf-8", "replace").splitlines():
            device, _, file = line.partition(" ")
            if file.strip().startswith(f"{below}/"):
                _run_ignoring_errors([*sudo, "losetup", "-d", device], env)
    leftovers = sorted((below / "tmp").glob("dib_*"))
    if leftovers and not list_mounts(below):
        _run_ignoring_errors(
            [*sudo, "rm", "-r", "-f", "--one-file-system", *map(str, leftovers)], env
        )


def _run_ignoring_errors(argv: Sequence[str], env: dict[str, str]) -> None:
    with contextlib.suppress(ToolError):  # the first error is the one to show
        run_program(argv, purpose="cleaning up after disk-image-create", env=env)


def _can_run(argv: Sequence[str]) -> bool:
    try:
        run_program(
            argv, purpose="looking for what disk-image-create needs", env={"PATH": make_tool_path()}
        )
    except ToolError:
        return False
    return True
