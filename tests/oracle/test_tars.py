"""What is counted of tars and images made up at random, held against GNU tar and umoci."""

import contextlib
import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minbuild.errors import MinbuildError
from minbuild.manifest.model import PackagePaths, Tool
from minbuild.paths import RootPath, unescape_name
from minbuild.roots.model import RootSource
from minbuild.roots.oci import ANY_IMAGE, Container
from minbuild.roots.oci_blobs import BlobDirectory
from minbuild.roots.tarball import Tarball
from tests.dib.rpms import HERE, open_rpm_tools
from tests.support import images, tars

TARS, IMAGES = 300, 100
SEED = int(os.environ.get("MINBUILD_TARS_SEED", "14"))
TIMES = int(os.environ.get("MINBUILD_TARS_TIMES", "1"))
"""So many times more archives."""
UMOCI = Tool(
    "umoci", "unpack images", RootPath("/usr/bin/umoci"),
    (PackagePaths("umoci", ("/usr/bin/umoci",), HERE),), False, HERE,
)  # fmt: skip
MEMORY = Path("/dev/shm")
"""A tmpfs gives no inode number twice, which is how GNU tar knows the links that it makes last."""

pytestmark = pytest.mark.oracle
Tree = tuple[dict[bytes, tuple[str, int, bytes]], set[tuple[bytes, ...]]]
"""Path → kind, mode, content or text; the names of each file that has several."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    before = os.umask(0o022)
    try:
        yield path
    finally:
        os.umask(before)
        subprocess.run(["chmod", "-R", "u+rwX", path], check=True)
        shutil.rmtree(path)


def walk_tree(top: Path) -> Tree:
    """A tree as the kernel has it."""
    rows: dict[bytes, tuple[str, int, bytes]] = {}
    names: dict[int, list[bytes]] = {}
    start = os.fsencode(top)
    for at, directories, files in os.walk(start):
        for name in (*directories, *files):
            path = at + b"/" + name
            raw, result = os.path.relpath(path, start), os.lstat(path)
            mode, text = stat.S_IMODE(result.st_mode), b""
            if stat.S_ISLNK(result.st_mode):
                kind, text = "link", os.readlink(path)  # noqa: PTH115 - bytes
            elif stat.S_ISDIR(result.st_mode):
                kind = "directory"
            else:
                kind = "file"
                with open(path, "rb") as file:
                    text = file.read()
                names.setdefault(result.st_ino, []).append(raw)
            rows[raw] = (kind, mode, text)
    return rows, {tuple(sorted(each)) for each in names.values() if len(each) > 1}


def read_tree(source: RootSource) -> Tree:
    """A tree as it is counted."""
    rows: dict[bytes, tuple[str, int, bytes]] = {}
    names: dict[str, list[bytes]] = {}
    for one in source.walk():
        kind, raw, text = str(one.kind), os.fsencode(one.native_path), b""
        if kind == "link":
            text = unescape_name(one.target)
        elif kind in ("file", "hardlink"):
            text = source.read(one.native_path)
            names.setdefault(one.target if kind == "hardlink" else one.native_path, []).append(raw)
            kind = "file"
        rows[raw] = (kind, one.mode, text)
    return rows, {tuple(sorted(each)) for each in names.values() if len(each) > 1}


def try_read(source: Callable[[], RootSource]) -> tuple[Tree | None, str]:
    """What is counted, or why it is refused."""
    try:
        return read_tree(source()), ""
    except MinbuildError as error:
        return None, str(error)


def loses_links(rows: list[tars.Row]) -> bool:
    """Tell whether GNU tar would lose a link that it makes last, or modes above it.

    So it does when the link's name, or a directory above it, is given once more.
    """
    later: set[str] = set()
    for row in rows:
        name = repr(row.name.strip(b"./"))[2:-1]
        over = any(f"{name}/".startswith(one) or one.startswith(f"{name}/") for one in later)
        if over or (row.kind == "1" and f"{repr(row.target.strip(b'./'))[2:-1]}/" in later):
            return True
        if row.kind == "2" and (row.target.startswith(b"/") or b".." in row.target):
            later.add(f"{name}/")
    return False


def test_a_tar_is_counted_as_gnu_tar_unpacks_it() -> None:
    """What both take is the same tree; what GNU tar fails at is never counted as whole."""
    outcomes: Counter[str] = Counter()
    number = 0
    while outcomes["same"] + outcomes["both refuse"] < TARS * TIMES:
        number += 1
        rows = tars.random_members(random.Random(f"{SEED} {number}"))
        if loses_links(rows):
            continue
        with scratch() as path:
            (path / "a.tar").write_bytes(tars.tar(*rows))
            (path / "out").mkdir()
            ended = subprocess.run(
                ["tar", "-C", path / "out", "-xpf", path / "a.tar"],
                capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
            result, why = try_read(lambda: Tarball(path / "a.tar", path))
            if result is None:
                assert ended.returncode, f"{number}: only we refuse: {why}"
                outcomes["both refuse"] += 1
                continue
            assert not ended.returncode, f"{number}: only GNU tar refuses: {ended.stderr!r}"
            assert result == walk_tree(path / "out"), number
            outcomes["same"] += 1
    assert outcomes["same"] > TARS * TIMES // 5


@pytest.mark.mirror
def test_the_layers_of_an_image_are_counted_as_umoci_unpacks_them() -> None:
    umoci = open_rpm_tools(UMOCI)
    outcomes: Counter[str] = Counter()
    for number in range(IMAGES * TIMES):
        source = random.Random(f"{SEED} image {number}")
        layers = [
            tars.tar(*tars.random_members(source, most=7, layer=True))
            for _ in range(source.randrange(1, 4))
        ]
        with scratch() as path:
            images.write_blobs(images.oci(images.ContainerImage(layers)), path / "image")
            argv: list[str | Path] = [
                "unpack",
                "--rootless",
                "--image",
                f"{path}/image:latest",
                path / "out",
            ]
            refused = ""
            try:
                umoci.run("umoci", argv, purpose="unpacking")
            except MinbuildError as error:
                refused = f"{error.what} {error.where}"
            blobs = BlobDirectory(path / "image")
            result, why = try_read(lambda: Container("image", blobs, path, ANY_IMAGE))  # noqa: B023
            if result is None:
                assert refused, f"{number}: only we refuse: {why}"
                outcomes["both refuse"] += 1
                continue
            if refused:  # a hard link to itself, which umoci takes away first, or a loop of links
                known = ("no such file", "too many levels of symbolic links")
                assert any(one in refused for one in known), f"{number}: only umoci: {refused}"
                outcomes["itself"] += 1
                continue
            assert result == walk_tree(path / "out/rootfs"), number
            outcomes["same"] += 1
    assert outcomes["same"] > IMAGES * TIMES // 4
