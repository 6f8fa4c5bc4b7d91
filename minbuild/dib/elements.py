"""Which elements an order of dib's really means, and which of their phases need a shell inside."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.data import data_directory
from minbuild.errors import ToolError

CHROOT_PHASES = ("pre-install.d", "install.d", "post-install.d", "finalise.d")
"""Phases that dib runs in a chroot, by bash. Source: diskimage-builder, "Developing Elements"."""
PACKAGE_INSTALLS = "package-installs.yaml"
"""What package-installs installs, inside too."""
BASH = "/usr/bin/bash"


@dataclass(frozen=True, slots=True)
class Element:
    name: str
    directory: Path
    chroot_phases: tuple[str, ...]
    """Its phases that run inside the root: install.d."""
    shipped_with_dib: bool


def make_elements_path() -> str:
    """ELEMENTS_PATH: the user's, then ours; dib adds its own."""
    given = os.environ.get("ELEMENTS_PATH", "")
    return ":".join([*filter(None, given.split(":")), str(data_directory("elements"))])


def expand_elements(names: Sequence[str], path: str) -> tuple[Element, ...]:
    """Every element that `names` lead to, by dib's own rules; sorted by name.

    Raises: ToolError for an element that is not there, or two that exclude each other.
    """
    from diskimage_builder import element_dependencies, paths

    full_path = f"{path}:{paths.get_path('elements')}"
    try:
        directories = element_dependencies.get_elements(names, full_path)
    except (
        element_dependencies.MissingElementException,
        element_dependencies.AlreadyProvidedException,
        element_dependencies.MissingOSException,
        element_dependencies.InvalidElementDir,
    ) as error:
        raise ToolError(
            f"dib cannot take these elements together: {error or ' '.join(names)}",
            where=f"ELEMENTS_PATH={path}",
            fix="correct the name, or add the directory that holds the element to ELEMENTS_PATH",
        ) from error
    dib_directory = Path(paths.get_path("elements"))
    return tuple(sorted((_make_element(name, Path(directory), dib_directory) for name, directory in directories),
                        key=lambda element: element.name))  # fmt: skip


def fingerprint_elements(names: Sequence[str]) -> str:
    """What tells that elements, or the variables that steer them, have changed.

    Raises: ToolError as `expand`.
    """
    parts = [f"{name}={text}" for name, text in os.environ.items() if name.startswith("DIB_")]
    for element in expand_elements(["minbuild-root", *names], make_elements_path()):
        for path in element.directory.rglob("*"):
            status = path.lstat()
            parts.append(f"{path} {status.st_mode} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(sorted(parts))


def digest_elements(names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of what each element holds: paths, modes and contents.

    Raises: ToolError as `expand`.
    """
    digest_by_name = {}
    for element in expand_elements(["minbuild-root", *names], make_elements_path()):
        digest = hashlib.sha256()
        for path in sorted(element.directory.rglob("*")):
            kind = path.lstat().st_mode
            data = b""
            if stat.S_ISREG(kind):
                data = path.read_bytes()
            elif stat.S_ISLNK(kind):
                data = os.fsencode(path.readlink())
            name = path.relative_to(element.directory).as_posix()
            content_digest = hashlib.sha256(data).hexdigest()
            digest.update(
                f"{name}\0{kind & 0o170111:o} {content_digest}\n".encode("utf-8", "surrogateescape")
            )
        digest_by_name[element.name] = digest.hexdigest()
    return digest_by_name


def refuse_chroot_phases(elements: Sequence[Element], paths: Sequence[str]) -> None:
    """Accept elements that a root with these paths can run.

    Raises: ToolError for one that runs a phase inside a root without bash.
    """
    if BASH in paths:
        return
    for element in elements:
        if element.chroot_phases:
            raise ToolError(
                f"the element {element.name} runs {', '.join(element.chroot_phases)} inside the root, "
                "and there is no bash to run it",
                where=str(element.directory),
                fix="keep it (keep: [{package: bash, paths: "
                f"[{BASH}]}}]), and what dib and the element call: coreutils, find, grep, awk; "
                "leave the element out; or let it work on a distribution's root and trim that "
                "(minbuild-trim)",
            )


def _make_element(name: str, directory: Path, dib_directory: Path) -> Element:
    chroot_phases = [phase for phase in CHROOT_PHASES if any((directory / phase).glob("*"))]
    chroot_phases += [PACKAGE_INSTALLS] if (directory / PACKAGE_INSTALLS).exists() else []
    return Element(name, directory, tuple(chroot_phases), directory.is_relative_to(dib_directory))
