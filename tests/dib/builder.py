"""Running disk-image-create in a test: its own directories, no network, nothing left behind."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.data import data_directory
from tests.dib.elements import element
from tests.e2e.small_host import CommandResult

PROGRAMS = ("bash", "tar", "losetup", "mkfs.ext4", "fstrim", "findmnt", "lsattr", "ps")
SUDO = """\
#!/bin/bash
# root needs no sudo, and machines without users have none
while [[ "${1:-}" == -* ]]; do shift; done
exec "$@"
"""
PLAIN = """\
- local_loop:
    name: image0
    mkfs:
      name: mkfs_root
      type: ext4
      label: minbuild
      mount:
        mount_point: /
        fstab: {options: defaults, fsck-passno: 1}
"""
"""One file system over the whole image: needs no device mapper."""


def explain_missing() -> str:
    """What this machine lacks to run disk-image-create; "" when it can."""
    if os.geteuid():
        return "it mounts file systems and needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"there is no {', '.join(absent)}"
    free = subprocess.run(["losetup", "-f"], capture_output=True)
    if free.returncode:
        return "there is no loop device"
    mount = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    return "" if mount.returncode == 0 else "it may not mount"


@dataclass(frozen=True, slots=True)
class Builder:
    """disk-image-create of this Python, working below `directory`."""

    directory: Path

    @property
    def elements(self) -> Path:
        """Elements of the test's own."""
        return self.directory / "elements"

    def element(self, name: str, **files: str) -> None:
        """Write an element of the test's own."""
        element(self.elements, name, **files)

    def run(self, *argv: str, env: Mapping[str, str] | None = None) -> CommandResult:
        """Run `disk-image-create -n WORDS` in the directory; its images land there."""
        result = subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "disk-image-create", "-n", *argv],
            cwd=self.directory,
            env={**self._environment(), **(env or {})},
            capture_output=True,
            text=True,
        )
        return CommandResult(result.returncode, result.stdout, result.stderr)

    def list_leftovers(self) -> list[str]:
        """Mounts and loop devices that lie below the directory."""
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        loops = subprocess.run(["losetup", "-nO", "BACK-FILE"], capture_output=True, text=True)
        lines = [*mounts, *loops.stdout.splitlines()]
        return [line for line in lines if str(self.directory) in line]

    def _environment(self) -> dict[str, str]:
        programs = self.directory / "bin"
        programs.mkdir(exist_ok=True)
        self.elements.mkdir(exist_ok=True)
        if shutil.which("sudo") is None:
            (programs / "sudo").write_text(SUDO, encoding="utf-8")
            (programs / "sudo").chmod(0o755)
        layout = self.directory / "layout.yaml"
        layout.write_text(PLAIN, encoding="utf-8")
        places = {
            name: str(self.directory / name.lower())
            for name in ("TMP_DIR", "DIB_IMAGE_CACHE", "DIB_LOCKFILES")
        }
        for path in places.values():
            Path(path).mkdir(exist_ok=True)
        return {
            **places,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "USER": "root",
            "ELEMENTS_PATH": f"{self.elements}:{data_directory('elements')}",
            "DIB_MINBUILD": self._program(programs),
            "DIB_BLOCK_DEVICE_CONFIG": layout.as_uri(),
            "DIB_IMAGE_SIZE": "0.05",
            "DIB_JOURNAL_SIZE": "1",
            "DIB_NO_TMPFS": "1",
        }

    def _program(self, programs: Path) -> str:
        path = programs / "minbuild"
        path.write_text(f'#!/bin/bash\nexec {sys.executable} -m minbuild "$@"\n', encoding="utf-8")
        path.chmod(0o755)
        return str(path)
