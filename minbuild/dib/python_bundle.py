"""Python files that the builder machine gets from this one: dib and what it imports, compiled."""

import hashlib
import importlib.metadata
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Protocol

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.formats.root_entry import FileType
from minbuild.rootfs.model import RootfsNode

DISTRIBUTIONS = ("diskimage-builder", "networkx", "pbr", "PyYAML", "stevedore")
"""What disk-image-create imports, each of it usable without a compiled part."""
SITE_DIRECTORY = "job/python"
"""Where they lie in the builder machine, relative to its top."""
BYTECODE_DIRECTORY = "job/pyc"
"""PYTHONPYCACHEPREFIX there."""
COMPILE_PROGRAM = """\
import pathlib, py_compile, sys
top, out = map(pathlib.Path, sys.argv[1:])
for path in sorted(top.rglob("*.py")):
    inside = path.relative_to(top)
    made = out / inside.with_suffix(f".{sys.implementation.cache_tag}.pyc")
    try:
        py_compile.compile(path, made, f"/{inside}", doraise=True,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        pass  # some are examples of bad Python
"""
"""Compiles all below one directory to another, as if it lay at the top."""

BundleFiles = Mapping[str, tuple[bytes, int]]
"""Path below the top → content and mode."""


class PythonRunner(Protocol):
    """The toolbox, as far as it is needed here."""

    def run(
        self, name: str, args: Sequence[str | Path], *, purpose: str, env: Mapping[str, str]
    ) -> bytes:
        """Run a tool to its end and return its stdout."""
        ...


def bundle_python(
    nodes: Sequence[RootfsNode],
    content: Callable[[str], bytes],
    toolbox: PythonRunner,
    store: Store,
) -> Path:
    """A tar of dib's files, with the bytecode of these and of the builder's own Python.

    Without bytecode each start of dib's Python takes a minute under emulation. It is made once for
    the same files and kept in the store. `nodes`: the builder's tree.
    Raises: ToolError when dib is not installed as its distribution has it.
    """
    dib_files = dict(_list_dib_files())
    library = [
        node
        for node in nodes
        if node.kind is FileType.FILE
        and node.path.startswith("/usr/lib/python3")
        and _is_python_source(node)
    ]
    key = _digest_sources(dib_files, library)
    record = store.get(RecordKind.BUILDER_PYTHON, key)
    path = store.find_verified(record.decode()) if record is not None else None
    if path is None:
        library_files = {
            node.path.lstrip("/"): (content(node.sha256), node.mode) for node in library
        }
        sha256 = store.add(
            _write_tar({**dib_files, **_compile({**dib_files, **library_files}, toolbox, store)})
        )
        store.put(RecordKind.BUILDER_PYTHON, {key: sha256.encode()})
        path = store.find_verified(sha256)
    assert path is not None
    return path


def _is_python_source(node: RootfsNode) -> bool:
    return node.path.endswith(".py")


def _list_dib_files() -> Iterator[tuple[str, tuple[bytes, int]]]:
    for name in DISTRIBUTIONS:
        for path, source in list_distribution_files(importlib.metadata.distribution(name)):
            if source.suffix in {".so", ".pyc"} or not {"..", "tests"}.isdisjoint(path.parts):
                continue
            yield f"{SITE_DIRECTORY}/{path}", (source.read_bytes(), source.stat().st_mode & 0o777)


def list_distribution_files(
    distribution: importlib.metadata.Distribution,
) -> list[tuple[PurePosixPath, Path]]:
    """The files of an installed distribution: relative to its directory, and where they are.

    Those of its RECORD; packages of Linux distributions have none, so there those of the modules
    that top_level.txt names, and its metadata.
    Source: PyPA, "Recording installed projects".
    Raises: ToolError when neither says what belongs to it.
    """
    if distribution.files:
        return [(PurePosixPath(one), Path(str(one.locate()))) for one in distribution.files]
    names = (distribution.read_text("top_level.txt") or "").split()
    if not names:
        raise ToolError(
            f"{distribution.name} is installed without a list of its files, so it cannot be taken along",
            where="the Python that runs minbuild",
            fix=f"install it by pip: pip install {distribution.name}",
        )
    site = Path(str(distribution.locate_file("")))
    metadata = f"{re.sub('[-_.]+', '_', distribution.name)}-{distribution.version}.*-info"
    tops = [site / name for name in names] + [site / f"{name}.py" for name in names]
    tops += [path for path in site.iterdir() if fnmatch(path.name.lower(), metadata.lower())]
    files = (file for top in tops for file in (top, *top.rglob("*")) if file.is_file())
    return [(PurePosixPath(file.relative_to(site)), file) for file in sorted(files)]


def _digest_sources(dib_files: BundleFiles, library: Sequence[RootfsNode]) -> str:
    lines = [f"{path} {mode:o} {hashlib.sha256(data).hexdigest()}"
             for path, (data, mode) in sorted(dib_files.items())]  # fmt: skip
    lines += [f"{node.path} {node.sha256}" for node in library]
    return hashlib.sha256("\n".join([COMPILE_PROGRAM, *lines]).encode()).hexdigest()


def _compile(sources: BundleFiles, toolbox: PythonRunner, store: Store) -> BundleFiles:
    with store.create_temp_dir() as work:
        top, out = work / "top", work / "out"
        for path, (data, _) in sources.items():
            if path.endswith(".py"):
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_bytes(data)
        toolbox.run("python", ["-P", "-S", "-s", "-c", COMPILE_PROGRAM, top, out],
                    purpose="compiling dib", env={"PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
        return {
            f"{BYTECODE_DIRECTORY}/{path.relative_to(out)}": (path.read_bytes(), 0o644)
            for path in out.rglob("*.pyc")
        }


def _write_tar(files: BundleFiles) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, (data, mode) in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
