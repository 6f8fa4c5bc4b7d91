"""Elements of diskimage-builder: which ones an order means, their phases, and what they made of a
tree of ours."""

import hashlib
import os
import pwd
import re
import shutil
import stat
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from minbuild.data import data_directory
from minbuild.dib import build_export, local_requirements
from minbuild.errors import ToolError
from minbuild.paths import RootPath
from minbuild.process import run_program
from minbuild.rootfs.model import RootfsNode

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


def _load_dib() -> tuple[ModuleType, ModuleType]:
    """dib's modules of dependencies and of paths: 50 ms, and few manifests name elements."""
    from diskimage_builder import element_dependencies, paths

    return element_dependencies, paths


def expand_elements(names: Sequence[str], path: str) -> tuple[Element, ...]:
    """Every element that `names` lead to, by dib's own rules; sorted by name.

    Raises: ToolError for an element that is not there, or two that exclude each other.
    """
    element_dependencies, paths = _load_dib()
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


HOST_PHASES = ("extra-data.d", "post-root.d", "pre-finalise.d", "cleanup.d")
"""In dib's order. Source: diskimage-builder, lib/disk-image-create."""
STATIC_ELEMENT = "install-static"
BASE_DIRECTORIES = (
    "dev",
    "etc",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/bin",
    "usr/lib",
    "usr/sbin",
    "var/log",
)
"""Directories that elements find in any root; they come into the host only with a file in them."""
PathState = tuple[int, int, int, int, str]


@dataclass(frozen=True, slots=True)
class ElementFile:
    """One path that an element made or changed."""

    element: str
    path: RootPath
    mode: int
    uid: int
    gid: int
    content: bytes = b""
    link: str = ""
    directory: bool = False


def run_elements(
    elements: Sequence[Element],
    nodes: Sequence[RootfsNode],
    content: Callable[[str], bytes],
    work: Path,
) -> tuple[ElementFile, ...]:
    """Run the elements' phases over a copy of a tree in `work`; returns what they made, by path.

    Raises: ToolError when a script fails, or removes a file of the host.
    """
    root, hooks = work / "root", work / "hooks"
    root.mkdir()
    _unpack_tree(nodes, content, work / "tree.tar", root)
    for name in BASE_DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    _copy_hooks(elements, hooks)
    env = _make_environment(elements, root, hooks, work)
    initial = previous = _snapshot(root)
    element_by_path: dict[str, str] = {}
    for element, step in _plan_steps(elements, root, hooks, env):
        step()
        current = _snapshot(root)
        element_by_path |= {
            path: element for path, state in current.items() if previous.get(path) != state
        }
        previous = current
    removed = sorted(initial.keys() - previous.keys())
    if removed:
        raise ToolError(
            f"elements removed {removed[0]}, which the host needs",
            where=", ".join(element.name for element in elements),
            fix="drop it in the manifest with a reason (drop:), or leave that element out",
        )
    return tuple(
        _read_element_file(element_by_path[path], root, path)
        for path in sorted(element_by_path.keys() & previous.keys())
    )


def _plan_steps(
    elements: Sequence[Element], root: Path, hooks: Path, env: Mapping[str, str]
) -> "list[tuple[str, Callable[[], object]]]":
    """Each element's part, in dib's order: static files first, then script by script."""
    steps: list[tuple[str, Callable[[], object]]] = []
    if any(element.name == STATIC_ELEMENT for element in elements):
        for element in elements:
            static_directory = element.directory / "static"
            if static_directory.is_dir():
                steps.append((element.name, _defer_static_copy(static_directory, root)))
    for phase in HOST_PHASES:
        scripts = [
            (script.name, element.name)
            for element in elements
            for script in (element.directory / phase).glob("*")
            if os.access(script, os.X_OK) and script.is_file()
        ]
        for name, owner in sorted(scripts, key=_make_sort_key):
            steps.append((owner, _defer_script(hooks, phase, name, env)))
    return steps


def _defer_static_copy(source: Path, root: Path) -> Callable[[], object]:
    return lambda: shutil.copytree(source, root, symlinks=True, dirs_exist_ok=True)


def _defer_script(
    hooks: Path, phase: str, name: str, env: Mapping[str, str]
) -> Callable[[], object]:
    """One script by dib's own runner, which reads the elements' environment first."""

    def run_script() -> bytes:
        script_directory = hooks / f"{phase.removesuffix('.d')}-{name}.d"
        script_directory.mkdir()
        (script_directory / name).symlink_to(hooks / phase / name)
        argv: list[str | Path] = ["bash", Path(env["_LIB"]) / "dib-run-parts", script_directory]
        return run_program(
            argv, purpose=f"running {phase}/{name} of an element", env=env, cwd=hooks
        )

    return run_script


def _make_sort_key(script: tuple[str, str]) -> tuple[int, str]:
    """sort -n: by the number in front, then by name."""
    match = re.match(r"\d+", script[0])
    return int(match[0]) if match else 0, script[0]


def _unpack_tree(
    nodes: Sequence[RootfsNode], content: Callable[[str], bytes], tar: Path, root: Path
) -> None:
    with tar.open("wb") as out:
        build_export.write_root_tar(nodes, content, out)
    with tarfile.open(tar) as packed:
        # ours, and written a moment ago: links of it may well be absolute
        packed.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        packed.extractall(root)
    tar.unlink()


def _copy_hooks(elements: Sequence[Element], hooks: Path) -> None:
    """All elements' files in one directory, as dib lays them. Source: dib's generate_hooks."""
    for element in elements:
        shutil.copytree(element.directory, hooks, symlinks=True, dirs_exist_ok=True)


def _make_environment(
    elements: Sequence[Element], root: Path, hooks: Path, work: Path
) -> dict[str, str]:
    _, paths = _load_dib()
    programs = work / "bin"
    programs.mkdir()
    # a tree of ours is laid down as the user: nothing needs more rights
    (programs / "sudo").write_text(local_requirements.SUDO_STUB, encoding="utf-8")
    (programs / "sudo").chmod(0o755)
    listed = " ".join(f"[{element.name}]={element.directory}" for element in elements)
    return {
        **{name: value for name, value in os.environ.items() if name.startswith("DIB_")},
        "PATH": f"{programs}:{local_requirements.make_tool_path()}",
        "LC_ALL": "C",
        "HOME": str(work),
        "USER": pwd.getpwuid(os.geteuid()).pw_name,
        "TMPDIR": str(work),
        "_LIB": paths.get_path("lib"),
        "DIB_PYTHON_EXEC": sys.executable,
        "ARCH": "amd64",
        "IMAGE_NAME": str(work / "image"),
        "IMAGE_ELEMENT": " ".join(element.name for element in elements),
        "TMP_BUILD_DIR": str(work),
        "TMP_HOOKS_PATH": str(hooks),
        "TMP_MOUNT_PATH": str(root),
        "TARGET_ROOT": str(root),
        "BASH_FUNC_get_image_element_array%%": f'() {{ echo "{listed}"; }}',
    }


def _snapshot(root: Path) -> dict[str, PathState]:
    """What tells that a path has changed, for every path below the root."""
    states: dict[str, PathState] = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory) / name
            status = path.lstat()
            link = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else ""
            mtime = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            states[str(path.relative_to(root))] = (status.st_mode, size, mtime, status.st_uid, link)
    return states


def _read_element_file(element: str, root: Path, name: str) -> ElementFile:
    path = root / name
    status = path.lstat()
    is_root = os.geteuid() == 0
    kind = stat.S_IFMT(status.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
        raise ToolError(
            f"the element {element} makes {name}, which is no file, link or directory",
            where=f"/{name}",
            fix="leave it out: the host makes its devices when it boots",
        )
    return ElementFile(
        element=element,
        path=RootPath(f"/{name}"),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid if is_root else 0,
        gid=status.st_gid if is_root else 0,
        content=path.read_bytes() if kind == stat.S_IFREG else b"",
        link=str(path.readlink()) if kind == stat.S_IFLNK else "",
        directory=kind == stat.S_IFDIR,
    )
