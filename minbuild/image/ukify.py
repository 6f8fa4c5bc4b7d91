"""Unified Kernel Image (UKI): kernel, initramfs and command line in one EFI file; and its signature.

Source: UAPI group, Unified Kernel Image (UKI); ukify(1).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from minbuild.formats.xen_image import join_xen_image, render_config
from minbuild.manifest.image_settings import SigningSettings
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox

SIGN_TOOL = "sbsign"
ENGINE_DIRECTORY = "engines-3"
"""Directory of OpenSSL's engines in its library directory."""
STEERING_PREFIXES = ("LD_", "OPENSSL_", "PKCS11_", "GLIBC_")
"""Variables of the user's environment that a signing tool does not get."""


def sign_uki(uki: Path, spec: SigningSettings, work: Path, toolbox: Toolbox) -> None:
    """Sign a UKI in place; only the signature depends on the time.

    Source: UEFI 2.10, 32.2, "Authenticode"; sbsign(1).
    Raises: ToolError when the key or the certificate cannot be used.
    """
    signed = work / f"{uki.name}.signed"
    args: list[str | Path] = ["--key", spec.key, "--cert", spec.certificate]
    if spec.module:
        args = ["--engine", "pkcs11", *args]
    env = _make_token_environment(spec, toolbox) if spec.module else {}
    toolbox.run(SIGN_TOOL, [*args, "--output", signed, uki], purpose=f"signing {uki.name}", env=env)
    signed.replace(uki)


def _make_token_environment(spec: SigningSettings, toolbox: Toolbox) -> Mapping[str, str]:
    """Build the environment of a signing token: the user's, with the toolbox's engine."""
    ours = {
        "OPENSSL_ENGINES": str(
            toolbox.find_path(RootPath(f"{toolbox.libraries}/{ENGINE_DIRECTORY}"))
        ),
        "PKCS11_MODULE_PATH": spec.module,
    }
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(STEERING_PREFIXES)
    }
    return {**inherited, **toolbox.build_environment(), **ours}


@dataclass(frozen=True, slots=True)
class UefiNames:
    """UEFI's names of one architecture."""

    name: str
    """Name of the architecture in systemd's stub and ukify: x64."""
    boot_file: str
    """The file below EFI/BOOT that firmware starts from a disk without a boot entry."""

    @property
    def stub(self) -> RootPath:
        """systemd's stub, the EFI program at the start of a UKI."""
        return RootPath(f"/usr/lib/systemd/boot/efi/linux{self.name}.efi.stub")

    @property
    def loader(self) -> RootPath:
        """systemd-boot, which starts one of several UKIs."""
        return RootPath(f"/usr/lib/systemd/boot/efi/systemd-boot{self.name}.efi")


UEFI_NAMES: Mapping[str, UefiNames] = {
    "amd64": UefiNames("x64", "BOOTX64.EFI"),
    "arm64": UefiNames("aa64", "BOOTAA64.EFI"),
    "riscv64": UefiNames("riscv64", "BOOTRISCV64.EFI"),
}
"""Debian architecture → names. Source: UEFI 2.10, 3.5.1.1, Removable Media Boot Behavior."""


@dataclass(frozen=True, slots=True)
class UkiParts:
    """The parts of a UKI."""

    arch: str
    """Debian architecture."""
    linux: Path
    """The kernel image."""
    initrd: Path
    """The initramfs."""
    cmdline: str
    osrel: bytes
    """The content of os-release."""
    uname: str
    """The kernel's release, as printed by uname -r."""
    microcode: Path | None = None
    """The archive that the kernel reads before the initramfs; None for none."""
    xen: Path | None = None
    """The hypervisor that starts the kernel; None for none."""
    xen_cmdline: str = ""


def add_stub_argument(args: Sequence[str], toolbox: Toolbox, arch: str) -> list[str]:
    """Add the toolbox's stub to a user's arguments for ukify, unless they name one.

    ukify searches it below this machine's /usr, where it is rarely installed. `arch`: this
    machine's.
    """
    if not any(word.startswith("--linux") for word in args):
        return [*args]
    if any(word.startswith("--stub") for word in args):
        return [*args]
    architectures = [word.partition("=")[2] for word in args if word.startswith("--efi-arch=")]
    architectures += [word for before, word in pairwise(args) if before == "--efi-arch"]
    names = architectures or [UEFI_NAMES[arch].name]
    stub = next((one.stub for one in UEFI_NAMES.values() if one.name == names[-1]), None)
    return [*args, f"--stub={toolbox.find_path(stub)}"] if stub is not None else [*args]


def build_xen_image(parts: UkiParts, xen: Path, output: Path) -> None:
    """Write Xen's unified image: no tool but the linker's could, ukify refuses Xen's own sections.

    Raises: ToolError when `xen` is no EFI program.
    """
    config = render_config(parts.xen_cmdline, parts.cmdline)
    early = parts.microcode.read_bytes() if parts.microcode is not None else b""
    initrd = early + parts.initrd.read_bytes()
    content = join_xen_image(xen.read_bytes(), config, parts.linux.read_bytes(), initrd, xen.name)
    output.write_bytes(content)


def build_uki(parts: UkiParts, output: Path, work: Path, toolbox: Toolbox) -> None:
    """Write the UKI to `output`; `work` is an empty directory for temporary files.

    Raises: ToolError when ukify fails.
    """
    uefi = UEFI_NAMES[parts.arch]
    osrel, cmdline = work / "os-release", work / "cmdline"
    osrel.write_bytes(parts.osrel)
    cmdline.write_text(parts.cmdline, encoding="utf-8")
    args = [
        "build",
        f"--config={os.devnull}",
        f"--efi-arch={uefi.name}",
        f"--stub={toolbox.find_path(uefi.stub)}",
        f"--linux={parts.linux}",
        f"--initrd={parts.initrd}",
        f"--cmdline=@{cmdline}",
        f"--os-release=@{osrel}",
        f"--uname={parts.uname}",
        f"--output={output}",
    ]
    if parts.microcode is not None:
        args.append(f"--microcode={parts.microcode}")
    purpose = f"building {output.name}"
    toolbox.run("ukify", args, purpose=purpose, cwd=work, env={"TMPDIR": str(work)})
