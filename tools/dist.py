"""Check of what `make dist` built: every file of the package is in the wheel, and nothing else.

With --wheelhouse: download what the wheel needs, for `Containerfile`.
"""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

TOP = Path(__file__).parents[1]
SHARED = {"manifests": "minbuild/share/manifests", "elements": "minbuild/share/elements"}
"""Directories of the tree → where a wheel has them. Source: pyproject.toml, force-include."""
CONTAINER_PYTHON = "3.13"
"""Python of the image that Containerfile begins with."""
SOURCES = (".ci", ".github", "templates", ".pre-commit-hooks.yaml", "Containerfile", "mkdocs.yml")
"""What tests and pages in an sdist refer to, beside the package."""
MAN_PAGES = {"docs/man": "share/man/man1"}
"""The same of what a wheel puts beside the package. Source: pyproject.toml, shared-data."""


def main(directory: Path = TOP / "dist") -> int:
    """Compare the wheel and the sdist in `directory` with the tree; returns 1 when they differ."""
    (wheel,), (sdist,) = directory.glob("*.whl"), directory.glob("*.tar.gz")
    problems = [*_compare("wheel", read_wheel(wheel), list_package_files()),
                *_compare("sdist", read_sdist(sdist), list_package_files(of_sdist=True))]  # fmt: skip
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, {len(read_wheel(wheel))} files")
    return int(bool(problems))


def list_package_files(*, of_sdist: bool = False) -> set[str]:
    """The files that users need, as a wheel names them; of an sdist as the tree does.

    A lock beside a manifest is what a build in this tree wrote, and belongs to nobody else.
    """
    files = set()
    for name, place in {"minbuild": "minbuild", **SHARED, **MAN_PAGES}.items():
        for path in (TOP / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".lock":
                inside = path.relative_to(TOP / name).as_posix()
                files.add(f"{name if of_sdist else place}/{inside}")
    for name in SOURCES if of_sdist else ():
        paths = (TOP / name).rglob("*") if (TOP / name).is_dir() else [TOP / name]
        files |= {path.relative_to(TOP).as_posix() for path in paths if path.is_file()}
    return files


def read_wheel(path: Path) -> set[str]:
    """The files of a wheel as they are installed, without its metadata. Source: PEP 427."""
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    return {name.partition(".data/data/")[2] or name for name in names}


def read_sdist(path: Path) -> set[str]:
    """The files of the package in an sdist, without its top directory. Source: PEP 625."""
    with tarfile.open(path) as sdist:
        names = [member.name.partition("/")[2] for member in sdist if member.isfile()]
    tops = tuple(f"{name}/" for name in ("minbuild", *SHARED, *MAN_PAGES, *SOURCES))
    return {name for name in names if name.startswith(tops) or name in SOURCES}


def _compare(kind: str, built: set[str], expected: set[str]) -> list[str]:
    missing = [f"the {kind} lacks {name}" for name in sorted(expected - built)]
    return missing + [
        f"the {kind} has {name}, which the tree has not" for name in sorted(built - expected)
    ]


def fill_wheelhouse(directory: Path = TOP / "dist") -> int:
    """Put the wheel in `directory`, and every wheel that it needs, into its `wheelhouse`."""
    (wheel,) = directory.glob("*.whl")
    house = directory / "wheelhouse"
    shutil.rmtree(house, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--only-binary", ":all:", "--python-version", CONTAINER_PYTHON, "--dest", str(house), str(wheel)]  # fmt: skip
    return subprocess.run(argv, check=False).returncode


if __name__ == "__main__":
    sys.exit(fill_wheelhouse() if "--wheelhouse" in sys.argv[1:] else main())
