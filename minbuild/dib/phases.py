"""dib elements applied to a tree of ours: their phases outside the root, and what each one made."""

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

from minbuild.dib import archive, here
from minbuild.dib.elements import Element
from minbuild.errors import ToolError
from minbuild.paths import RootPath
from minbuild.run import run
from minbuild.tree.types import Node

OUTSIDE = ("extra-data.d", "post-root.d", "pre-finalise.d", "cleanup.d")
"""In dib's order. Source: diskimage-builder, lib/disk-image-create."""
STATIC = "install-static"
ALWAYS = (
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
State = tuple[int, int, int, int, str]


@dataclass(frozen=True, slots=True)
class Brought:
    """One path that an element made or changed."""

    element: str
    path: RootPath
    mode: int
    uid: int
    gid: int
    content: bytes = b""
    link: str = ""
    directory: bool = False


def apply(
    elements: Sequence[Element], nodes: Sequence[Node], content: Callable[[str], bytes], work: Path
) -> tuple[Brought, ...]:
    """Run the elements' phases over a copy of a tree in `work`; returns what they made, by path.

    Raises: ToolError when a script fails, or removes a file of the host.
    """
    root, hooks = work / "root", work / "hooks"
    root.mkdir()
    _lay(nodes, content, work / "tree.tar", root)
    for name in ALWAYS:
        (root / name).mkdir(parents=True, exist_ok=True)
    _copy_hooks(elements, hooks)
    env = _environment(elements, root, hooks, work)
    before = last = _states(root)
    owner: dict[str, str] = {}
    for element, step in _steps(elements, root, hooks, env):
        step()
        now = _states(root)
        owner |= {path: element for path, state in now.items() if last.get(path) != state}
        last = now
    gone = sorted(before.keys() - last.keys())
    if gone:
        raise ToolError(
            f"elements removed {gone[0]}, which the host needs",
            where=", ".join(element.name for element in elements),
            fix="drop it in the manifest with a reason (drop:), or leave that element out",
        )
    return tuple(_brought(owner[path], root, path) for path in sorted(owner.keys() & last.keys()))


def _steps(
    elements: Sequence[Element], root: Path, hooks: Path, env: Mapping[str, str]
) -> "list[tuple[str, Callable[[], object]]]":
    """Each element's part, in dib's order: static files first, then script by script."""
    steps: list[tuple[str, Callable[[], object]]] = []
    if any(element.name == STATIC for element in elements):
        for element in elements:
            place = element.directory / "static"
            if place.is_dir():
                steps.append((element.name, _static(place, root)))
    for phase in OUTSIDE:
        scripts = [
            (script.name, element.name)
            for element in elements
            for script in (element.directory / phase).glob("*")
            if os.access(script, os.X_OK) and script.is_file()
        ]
        for name, owner in sorted(scripts, key=_number):
            steps.append((owner, _script(hooks, phase, name, env)))
    return steps


def _static(place: Path, root: Path) -> Callable[[], object]:
    return lambda: shutil.copytree(place, root, symlinks=True, dirs_exist_ok=True)


def _script(hooks: Path, phase: str, name: str, env: Mapping[str, str]) -> Callable[[], object]:
    """One script by dib's own runner, which reads the elements' environment first."""

    def step() -> bytes:
        alone = hooks / f"{phase.removesuffix('.d')}-{name}.d"
        alone.mkdir()
        (alone / name).symlink_to(hooks / phase / name)
        argv: list[str | Path] = ["bash", Path(env["_LIB"]) / "dib-run-parts", alone]
        return run(argv, what=f"running {phase}/{name} of an element", env=env, cwd=hooks)

    return step


def _number(script: tuple[str, str]) -> tuple[int, str]:
    """sort -n: by the number in front, then by name."""
    found = re.match(r"\d+", script[0])
    return int(found[0]) if found else 0, script[0]


def _lay(nodes: Sequence[Node], content: Callable[[str], bytes], tar: Path, root: Path) -> None:
    with tar.open("wb") as out:
        archive.write(nodes, content, out)
    with tarfile.open(tar) as packed:
        # ours, and written a moment ago: links of it may well be absolute
        packed.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        packed.extractall(root)
    tar.unlink()


def _copy_hooks(elements: Sequence[Element], hooks: Path) -> None:
    """All elements' files in one directory, as dib lays them. Source: dib's generate_hooks."""
    for element in elements:
        shutil.copytree(element.directory, hooks, symlinks=True, dirs_exist_ok=True)


def _environment(
    elements: Sequence[Element], root: Path, hooks: Path, work: Path
) -> dict[str, str]:
    from diskimage_builder import paths

    programs = work / "bin"
    programs.mkdir()
    # a tree of ours is laid down as the user: nothing needs more rights
    (programs / "sudo").write_text(here.SUDO, encoding="utf-8")
    (programs / "sudo").chmod(0o755)
    listed = " ".join(f"[{element.name}]={element.directory}" for element in elements)
    return {
        **{name: value for name, value in os.environ.items() if name.startswith("DIB_")},
        "PATH": f"{programs}:{here.search_path()}",
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


def _states(root: Path) -> dict[str, State]:
    """What tells that a path has changed, for every path below the root."""
    found: dict[str, State] = {}
    for at, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(at) / name
            status = path.lstat()
            link = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else ""
            moved = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            found[str(path.relative_to(root))] = (status.st_mode, size, moved, status.st_uid, link)
    return found


def _brought(element: str, root: Path, name: str) -> Brought:
    path = root / name
    status = path.lstat()
    own = os.geteuid() == 0
    kind = stat.S_IFMT(status.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
        raise ToolError(
            f"the element {element} makes {name}, which is no file, link or directory",
            where=f"/{name}",
            fix="leave it out: the host makes its devices when it boots",
        )
    return Brought(
        element=element,
        path=RootPath(f"/{name}"),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid if own else 0,
        gid=status.st_gid if own else 0,
        content=path.read_bytes() if kind == stat.S_IFREG else b"",
        link=str(path.readlink()) if kind == stat.S_IFLNK else "",
        directory=kind == stat.S_IFDIR,
    )
