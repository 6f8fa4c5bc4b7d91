"""Which elements an order of dib's really means, and which of their phases need a shell inside."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.shipped import shipped

INSIDE = ("pre-install.d", "install.d", "post-install.d", "finalise.d")
"""Phases that dib runs in a chroot, by bash. Source: diskimage-builder, "Developing Elements"."""
PACKAGES = "package-installs.yaml"
"""What package-installs installs, inside too."""
SHELL = "/usr/bin/bash"


@dataclass(frozen=True, slots=True)
class Element:
    name: str
    directory: Path
    inside: tuple[str, ...]
    """Its phases that run inside the root: install.d."""
    shipped_with_dib: bool


def search_path() -> str:
    """ELEMENTS_PATH: the user's, then ours; dib adds its own."""
    given = os.environ.get("ELEMENTS_PATH", "")
    return ":".join([*filter(None, given.split(":")), str(shipped("elements"))])


def expand(names: Sequence[str], path: str) -> tuple[Element, ...]:
    """Every element that `names` lead to, by dib's own rules; sorted by name.

    Raises: ToolError for an element that is not there, or two that exclude each other.
    """
    from diskimage_builder import element_dependencies, paths

    every = f"{path}:{paths.get_path('elements')}"
    try:
        found = element_dependencies.get_elements(names, every)
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
    own = Path(paths.get_path("elements"))
    return tuple(sorted((_element(name, Path(place), own) for name, place in found),
                        key=lambda element: element.name))  # fmt: skip


def fingerprint(names: Sequence[str]) -> str:
    """What tells that elements, or the variables that steer them, have changed.

    Raises: ToolError as `expand`.
    """
    parts = [f"{name}={text}" for name, text in os.environ.items() if name.startswith("DIB_")]
    for element in expand(["minbuild-root", *names], search_path()):
        for path in element.directory.rglob("*"):
            found = path.lstat()
            parts.append(f"{path} {found.st_mode} {found.st_size} {found.st_mtime_ns}")
    return "\n".join(sorted(parts))


def digests(names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of what each element holds: paths, modes and contents.

    Raises: ToolError as `expand`.
    """
    found = {}
    for element in expand(["minbuild-root", *names], search_path()):
        digest = hashlib.sha256()
        for path in sorted(element.directory.rglob("*")):
            kind = path.lstat().st_mode
            data = b""
            if stat.S_ISREG(kind):
                data = path.read_bytes()
            elif stat.S_ISLNK(kind):
                data = os.fsencode(path.readlink())
            name = path.relative_to(element.directory).as_posix()
            held = hashlib.sha256(data).hexdigest()
            digest.update(
                f"{name}\0{kind & 0o170111:o} {held}\n".encode("utf-8", "surrogateescape")
            )
        found[element.name] = digest.hexdigest()
    return found


def refuse_inside(elements: Sequence[Element], paths: Sequence[str]) -> None:
    """Accept elements that a root with these paths can run.

    Raises: ToolError for one that runs a phase inside a root without bash.
    """
    if SHELL in paths:
        return
    for element in elements:
        if element.inside:
            raise ToolError(
                f"the element {element.name} runs {', '.join(element.inside)} inside the root, "
                "and there is no bash to run it",
                where=str(element.directory),
                fix="keep it (keep: [{package: bash, paths: "
                f"[{SHELL}]}}]), and what dib and the element call: coreutils, find, grep, awk; "
                "leave the element out; or let it work on a distribution's root and trim that "
                "(minbuild-trim)",
            )


def _element(name: str, directory: Path, own: Path) -> Element:
    inside = [phase for phase in INSIDE if any((directory / phase).glob("*"))]
    inside += [PACKAGES] if (directory / PACKAGES).exists() else []
    return Element(name, directory, tuple(inside), directory.is_relative_to(own))
