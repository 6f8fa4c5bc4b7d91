"""Packages, their suites, and the lock that pins them: frozen data."""

import platform
import re
from dataclasses import dataclass
from enum import Enum

PACKAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,255}")
"""dpkg accepts more than Debian's policy: capitals and underscores."""
PACKAGE_VERSION = re.compile(r"(?:[0-9]{1,9}:)?[A-Za-z0-9.+:~_-]{1,255}")
ARCHITECTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}
"""uname -m → Debian architecture."""


def detect_machine_architecture() -> str:
    """Return the Debian architecture of this machine; "" for an unsupported one."""
    return MACHINES.get(platform.machine(), "")


INSTALLED = "installed"
"""First part of the path of a package from an installed root."""


class ProviderGuess(Enum):
    """Way to guess which package has what another one needs."""

    DEPENDENCY = "dependency"
    """Any package that the needing one depends on."""
    LIBRARY = "library"
    """By the soname."""
    MODULE = "module"
    FIRMWARE = "firmware"
    FILE = "file"
    """By the path of a program or other file."""


@dataclass(frozen=True, slots=True)
class Package:
    """One .deb of an archive, or a package of an installed root."""

    name: str
    version: str
    arch: str
    """amd64, or all."""
    root: str
    """Repository of the mirror: "debian", "debian-security"; "" for a local file."""
    path: str
    """In the repository: pool/main/b/busybox/busybox_1.37.0-6_amd64.deb; for an installed root
    its package format and distribution: installed/deb/debian."""
    size: int
    sha256: str
    suite: str = ""
    source: str = ""
    """Source package, if it has another name."""
    source_version: str = ""
    """Version of the source package, if it differs (binNMU)."""

    @property
    def installed_origin(self) -> tuple[str, str] | None:
        """Package format and distribution of an installed root's package; None for an archive's.

        ("", "") for files of the root that belong to no package.
        """
        top, _, rest = self.path.partition("/")
        kind, _, distribution = rest.partition("/")
        return (kind, distribution) if top == INSTALLED and not self.root else None


@dataclass(frozen=True, slots=True)
class LockedSuite:
    """The Release file of one suite at the time of the lock."""

    name: str
    """trixie-security."""
    root: str
    date: int
    """Seconds UTC, from the Release's Date."""
    sha256: str
    """Of the InRelease file."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Every package that a build can use, for the host and for the toolbox."""

    arch: str
    suites: tuple[LockedSuite, ...]
    packages: tuple[Package, ...]
    """For the host, sorted by name."""
    toolbox: tuple[Package, ...]
    """For the build machine's tools, sorted by name."""

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of everything built from this lock: the newest Release's date."""
        return max((suite.date for suite in self.suites), default=0)
