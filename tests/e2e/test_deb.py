"""The Debian package: built in a root of trixie, installed in another one, and run there."""

import subprocess
import sys
from pathlib import Path

import pytest
from debian.deb822 import PkgRelation

from minbuild import __version__
from minbuild.archive.mirror import find_mirror
from minbuild.cache.store import Store
from minbuild.cli.completion import SHELLS
from tests.support.cache import cache_directory
from tools import deb
from tools.debian_root import open_packages, run_in_root, unpack_package, unpack_root
from tools.dist import TOP

pytestmark = [pytest.mark.long, pytest.mark.mirror, pytest.mark.xdist_group("deb")]
ROOTS = cache_directory("roots")
"""Roots that are kept between runs, without the package."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb of this tree; lintian has no error."""
    dist = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "build", "--sdist", "--outdir", str(dist), str(TOP)]
    subprocess.run(argv, check=True, capture_output=True)
    assert deb.main(dist, ROOTS / "build") == 0
    (found,) = dist.glob("*.deb")
    return found


@pytest.fixture(scope="module")
def root(package: Path) -> Path:
    """A root with the package, all that it depends on, the three shells, and man."""
    argv: list[str | Path] = ["dpkg-deb", "--field", package, "Depends"]
    depends = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    names = [str(alternatives[0]["name"]) for alternatives in PkgRelation.parse_relations(depends)]
    directory = ROOTS / "run"
    (ROOTS / "run.packages").unlink(missing_ok=True)  # it may have an older minbuild
    offers = open_packages(Store(cache_directory("tool")))
    unpack_root(directory, [*names, *SHELLS, "bash-completion", "man-db"], offers)
    unpack_package(package, directory)
    return directory


def run(root: Path, script: str) -> str:
    """Run a script in the root; returns its stdout."""
    env = {"MINBUILD_MIRROR": find_mirror("").debian}
    done = run_in_root(
        root, ["bash", "-ec", script], binds={cache_directory("tool"): "/store"}, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_the_package_builds_the_host(root: Path) -> None:
    out = run(
        root,
        "cd /tmp; minbuild --version; minbuild make --store /store host.yaml; ls -l build/host",
    )
    assert f"minbuild, version {__version__}\n" in out
    assert "host.efi" in out


def test_a_script_is_read_by_the_shfmt_of_the_package(root: Path) -> None:
    found = "from minbuild.facts.shell.shfmt import find_shfmt; print(find_shfmt())"
    program = f"cat > /tmp/x; sed -e 's/^main()$//' /usr/bin/minbuild > /tmp/m; echo '{found}' >> /tmp/m; python3 -EsP /tmp/m"
    assert run(root, program) == "/usr/lib/minbuild/bin/shfmt\n"


def test_what_the_builder_machine_of_diskimage_builder_gets_is_there(root: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, '/usr/lib/minbuild')\n"
        "from importlib.metadata import distribution\n"
        "from minbuild.dib.python_bundle import DISTRIBUTIONS, list_distribution_files\n"
        "for name in DISTRIBUTIONS: print(name, len(list_distribution_files(distribution(name))))"
    )
    counts = dict(line.split() for line in run(root, f'python3 -c "{program}"').splitlines())
    assert all(int(count) > 5 for count in counts.values())
    assert int(counts["diskimage-builder"]) > 500


def test_nothing_of_the_user_reaches_the_program(root: Path) -> None:
    script = (
        "mkdir -p /tmp/own; echo 'raise SystemExit(3)' > /tmp/own/click.py; cd /tmp/own; "
        "PYTHONPATH=/tmp/own minbuild --version"
    )
    assert __version__ in run(root, script)


def test_man_finds_a_page_of_each_command(root: Path) -> None:
    pages = sorted(path.name for path in (TOP / "docs/man").iterdir())
    out = run(
        root,
        f"cd /usr/share/man/man1; ls {' '.join(f'{name}.gz' for name in pages)}; man -w minbuild-why",
    )
    assert out.endswith("/usr/share/man/man1/minbuild-why.1.gz\n")


def test_bash_and_fish_complete_without_being_told(root: Path) -> None:
    asked = (
        ". /usr/share/bash-completion/bash_completion; _comp_load minbuild; "
        "COMP_WORDS=(minbuild che); COMP_CWORD=1; _minbuild_completion minbuild; echo ${COMPREPLY[*]}"
    )
    assert run(root, asked) == "check check-tree\n"
    assert "check-tree" in run(root, "fish -c 'complete -C \"minbuild che\"'")
