"""What Debian calls the architectures of machines."""

import platform

MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}
"""uname -m → Debian architecture."""


def machine_architecture() -> str:
    """The Debian architecture of this machine; "" for one that Debian has no packages for here."""
    return MACHINES.get(platform.machine(), "")
