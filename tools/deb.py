"""The Debian package, `make deb`: built and checked in a root of trixie's packages.

The sdist of `make dist` is unpacked into build/deb, with tools/debian as its `debian/`, a changelog
made of CHANGELOG.md, and the vendored wheels. Needs dpkg-deb, user namespaces, and no root.
"""

import email.utils
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from debian.deb822 import Deb822, PkgRelation

from minbuild import __version__
from minbuild.cache.store import Store
from minbuild.pipeline.session import find_store_directory
from tools.debian_root import open_packages, run_in_root, unpack_root
from tools.dist import TOP
from tools.man import find_release_date

DEBIAN = TOP / "tools" / "debian"
WORK = TOP / "build" / "deb"
CHECKERS = ("lintian",)
"""Packages of the root beside Build-Depends."""
PYTHON = "3.13"
"""The Python of trixie, which vendored wheels are for."""


def main(dist: Path = TOP / "dist", work: Path = WORK) -> int:
    """Build the package of the sdist in `dist`, and put it there; returns 1 when it has errors."""
    source = prepare_source(dist, work)
    root = work / "root"
    unpack_root(
        root, (*list_build_depends(), *CHECKERS), open_packages(Store(find_store_directory()))
    )
    binds = {source.parent: "/build"}
    build = f"cd /build/{source.name} && dpkg-buildpackage -d -b -us -uc"
    env = {"DEB_BUILD_OPTIONS": "noautodbgsym"}
    built = run_in_root(root, ["sh", "-c", build], binds=binds, env=env)
    if built.returncode:
        print(built.stdout[-4000:], built.stderr[-4000:], file=sys.stderr)
        return 1
    (deb,) = source.parent.glob("*.deb")
    argv = ["lintian", "--allow-root", "--fail-on", "error", "--tag-display-limit", "0"]
    checked = run_in_root(root, [*argv, f"/build/{deb.name}"], binds=binds)
    print(checked.stdout + checked.stderr, end="", file=sys.stderr)
    if checked.returncode:
        return 1
    shutil.copy(deb, dist / deb.name)
    print(f"{deb.name}: {deb.stat().st_size:,} bytes")
    return 0


def prepare_source(dist: Path, work: Path) -> Path:
    """Unpack the sdist, and put `debian/` and the vendored packages into it."""
    (sdist,) = dist.glob("*.tar.gz")
    parent = work / "source"
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True)
    with tarfile.open(sdist) as archive:
        # ours, and built a moment ago; Python 3.11.3 and older have no filters
        archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        archive.extractall(parent)
    source = parent / f"minbuild-{__version__}"
    shutil.copytree(DEBIAN, source / "debian")
    (source / "debian/changelog").write_text(render_changelog(), encoding="utf-8")
    install_vendored(source / "debian/vendored")
    return source


def install_vendored(directory: Path) -> None:
    """Unpack the wheels of vendored.txt for this machine's architecture, each with its digest."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--require-hashes", "--only-binary", ":all:", "--python-version", PYTHON,
            "--no-compile", "--target", directory, "--requirement", DEBIAN / "vendored.txt"]  # fmt: skip
    subprocess.run([str(word) for word in argv], check=True)


def render_changelog() -> str:
    """debian/changelog of this version, with the day that CHANGELOG.md says.

    Source: deb-changelog(5).
    """
    released = datetime.fromisoformat(find_release_date()).replace(tzinfo=UTC)
    return (
        f"minbuild ({__version__}) trixie; urgency=medium\n\n"
        "  * The changes are in /usr/share/doc/minbuild/changelog.gz.\n\n"
        f" -- {_read_source_control()['Maintainer']}  {email.utils.format_datetime(released)}\n"
    )


def list_build_depends() -> list[str]:
    """Names of the packages that the build needs; it compiles nothing, so no build-essential."""
    relations = PkgRelation.parse_relations(_read_source_control()["Build-Depends"])
    return [str(alternatives[0]["name"]) for alternatives in relations]


def _read_source_control() -> Deb822:
    with open(DEBIAN / "control", encoding="utf-8") as file:
        return next(Deb822.iter_paragraphs(file))


if __name__ == "__main__":
    sys.exit(main())
