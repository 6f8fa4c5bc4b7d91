"""Our recommended settings against what kernel-hardening-checker asks for."""

import json
import subprocess
import sys
import tarfile

import pytest

from minbuild.footprint.hardening import RECOMMENDED_SETTINGS
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE
from tests.support.tars import unpack_own_tar

pytestmark = [pytest.mark.mirror, pytest.mark.oracle, pytest.mark.long]

MANIFEST = """\
minbuild: 1
name: checker
arch: amd64
archive: {suites: [forky], tools: [trixie], check-valid-until: false}
kernel: {package: linux-image-cloud-amd64}
keep: [{package: kernel-hardening-checker, paths: ["/usr/lib/python3/dist-packages/**"]}]
image: {formats: [tar], compression: zstd}
"""
RUN = "import kernel_hardening_checker as checker; checker.main()"
KINDS = {"config": "kconfig", "cmdline": "cmdline", "sysctl": "sysctl"}


@pytest.fixture(scope="module")
def checker_values(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], set[str]]:
    """Kind and name of a setting → the values that the checker asks for."""
    path = tmp_path_factory.mktemp("checker")
    (path / "checker.yaml").write_text(MANIFEST)
    result = minbuild("make", "checker.yaml", "--store", str(STORE), cwd=path)
    assert result.code == 0, result.err
    with tarfile.open(path / "build/checker/checker.tar") as tar:
        unpack_own_tar(tar, path)
    files = {
        "-c": "# Linux/x86_64 6.12.0 Kernel Configuration\n# Compiler: gcc 14\nCONFIG_X86_64=y\n"
        "CONFIG_GCC_VERSION=140200\nCONFIG_ARCH_MMAP_RND_BITS_MAX=32\n"
        'CONFIG_ARCH_MMAP_RND_COMPAT_BITS_MAX=16\nCONFIG_CC_VERSION_TEXT="gcc 14"\n',
        "-l": "console=ttyS0\n",
        "-s": "kernel.ostype = Linux\nkernel.arch = x86_64\n",
    }
    argv = [sys.executable, "-c", RUN, "-m", "json"]
    for option, text in files.items():
        (path / option[1:]).write_text(text)
        argv += [option, str(path / option[1:])]
    env = {"PYTHONPATH": str(path / "usr/lib/python3/dist-packages")}
    process = subprocess.run(argv, capture_output=True, text=True, env=env, cwd=path)
    values: dict[tuple[str, str], set[str]] = {}
    for row in json.loads(process.stdout):
        name = row["option_name"].removeprefix("CONFIG_")
        values.setdefault((row["type"], name), set()).add(row["desired_val"])
    return values


OURS_ALONE = {"core_pattern", "rp_filter", "nohibernate"}
"""Settings that the checker has by other names (COREDUMP, HIBERNATION) or not at all."""


def test_every_row_is_asked_for_by_the_checker_too(
    checker_values: dict[tuple[str, str], set[str]],
) -> None:
    assert len(checker_values) > 200
    for row in RECOMMENDED_SETTINGS:
        ways = [way for way in row.alternatives if not any(name in way for name in OURS_ALONE)]
        assert not ways or any(is_checked(way, checker_values) for way in ways), row.alternatives


def is_checked(way: str, asked: dict[tuple[str, str], set[str]]) -> bool:
    kind, _, request = way.partition(" ")
    name, _, value = request.partition("=")
    if kind != "sysctl":
        value = {"n": "is not set", "": "is present"}.get(value, value)
    return value in asked.get((KINDS[kind], name), set())
