"""What a host lacks is named with the package and the component that have it."""

import re
from collections import Counter
from pathlib import Path

import pytest

from minbuild.errors import ResolveError
from minbuild.pipeline.build import plan_build
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from tests.e2e.small_host import PACKAGES, Small, minbuild, serve_small_host

LISTS = {
    "main/Contents-amd64": "usr/bin/python3  python/python3-minimal\nusr/bin/jq  utils/jq\n"
    "usr/lib/x86_64-linux-gnu/libodd.so.7  libs/odd-library\n"
    "usr/lib/modules/6.1-amd64/kernel/e1000e.ko.xz  kernel/linux-image-6.1-amd64\n",
    "non-free-firmware/Contents-all": "usr/lib/firmware/linked  x/kernel/firmware-link\n"
    "usr/lib/firmware/radio.bin  x/kernel/firmware-radio\n",
}
MORE = """
Package: linux-image-amd64
Version: 6.1
Depends: linux-image-6.1-amd64

Package: odd
Version: 1
Depends: libc6
/usr/bin/odd 0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=libodd.so.7

Package: odd-library
Version: 1
/usr/lib/x86_64-linux-gnu/libodd.so.7 elf soname=libodd.so.7

Package: radio
Version: 1
/usr/lib/modules/6.1-cloud-amd64/kernel/radio.ko.xz module name=radio firmware=radio.bin
/usr/lib/modules/6.1-cloud-amd64/kernel/other.ko.xz module name=other firmware=nowhere.bin firmware=linked/one.bin
"""


def run_plan(small: Small, more: str, *argv: str) -> str:
    path = small.write(more)
    return minbuild(*small.argv("plan", path.name, *argv), cwd=small.directory).err


def test_an_error_names_package_and_component(tmp_path: Path) -> None:
    with serve_small_host(tmp_path, PACKAGES + MORE) as small:
        small.archive.publish("trixie", PACKAGES + MORE, lists=LISTS)
        files = "files: {/usr/bin/x: {content: \"#!/usr/bin/python3\\n\", mode: '0755'}}\n"
        err = run_plan(small, files)
        assert (
            "python3-minimal has it (keep: [{package: python3-minimal, paths: [/usr/bin/python3]}])"
            in err
        )
        err = run_plan(small, "  - {package: odd, paths: [/usr/bin/odd]}\n")
        assert err == "" or "odd" not in err  # found by the list, though its name tells nothing
        keep = "  - {package: radio, paths: [/usr/lib/modules/6.1-cloud-amd64/kernel/*]}\n"
        err = run_plan(small, keep)
        assert (
            "firmware radio.bin is in firmware-radio, in non-free-firmware, which `archive.components` "
            "does not list" in err
        )
        assert "archive: {components: [main, non-free-firmware]}" in err
        assert "firmware nowhere.bin is in no package of trixie\n" in err
        # a directory that is a link: the lists name it, and no path below
        assert "firmware linked/one.bin is in firmware-link, in non-free-firmware, which" in err
        path = small.write()
        path.write_text(
            path.read_text().replace("amd64}", "amd64, modules: [e1000e]}"), encoding="utf-8"
        )
        err = minbuild(*small.argv("plan", path.name), cwd=small.directory).err
        assert "linux-image-amd64 has it (kernel: {package: …})" in err


def test_offline_says_what_was_not_looked_up(tmp_path: Path) -> None:
    with serve_small_host(tmp_path, PACKAGES) as small:
        small.archive.publish("trixie", PACKAGES, lists=LISTS)
        assert "error" not in run_plan(small, "")
        err = run_plan(
            small,
            "files: {/usr/bin/x: {content: \"#!/usr/bin/jq\\n\", mode: '0755'}}\n",
            "--offline",
        )
        assert "which package has it was not looked up: --offline" in err


KERNELS = ("linux-image-amd64", "linux-image-cloud-amd64", "linux-image-rt-amd64")
ALL = "main, contrib, non-free-firmware, non-free"


@pytest.mark.long
@pytest.mark.mirror
@pytest.mark.parametrize("components", ["main", ALL])
@pytest.mark.parametrize("kernel", KERNELS)
def test_all_firmware_of_a_kernel_is_found_or_named(
    kernel: str, components: str, tmp_path: Path
) -> None:
    """Every module of a kernel: each firmware= file is there, or the error says where it is."""
    path = tmp_path / "host.yaml"
    path.write_text(
        f"minbuild: 1\narchive: {{components: [{components}]}}\n"
        f"kernel: {{package: {kernel}, modules: ['kernel/**']}}\n", encoding="utf-8",
    )  # fmt: skip
    session = Session(Path.home() / ".cache/minbuild", SilentProgress())
    kinds: Counter[str] = Counter()
    try:
        plan_build(BuildRequest(path), session)
    except ResolveError as error:
        for one in (error, *error.also):
            kinds[_kind(one.what)] += 1
    print(f"{kernel} with {components}: {dict(sorted(kinds.items()))}")
    assert kinds["nowhere known"] == 0
    assert kinds["other"] == 0
    if components == ALL:
        assert kinds["in another component"] == 0


def _kind(text: str) -> str:
    if not text.startswith("firmware "):
        return "other"
    if "in none of the packages" in text:
        return "nowhere known"
    if re.search(r" is in \S.*, in \S+, which `archive.components` does not list", text):
        return "in another component"
    if re.search(r" is in \S.*, which nothing asks for$", text):
        return "in a package to keep"
    return "in no package" if " is in no package of " in text else "other"
