import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import deb
from tests.support.elf import LOADER, Elf, elf

WORLD = """
Package: world
Depends: x
/bin/main 0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=liba.so.1 rpath=$ORIGIN/../lib imports=afun
/lib/liba.so.1 elf soname=liba.so.1 needed=libb.so.1 runpath=$ORIGIN exports=afun imports=bfun@B_1,?weak versions=libb.so.1:B_1
/lib/libb.so.1 elf soname=libb.so.1 exports=bfun@B_1,plain
/lib/link -> liba.so.1
/lib/hard = /lib/libb.so.1
/lib/modules/a.ko.xz module name=a depends=b,c
"""


@pytest.mark.oracle
@pytest.mark.skipif(not Path(LOADER).exists(), reason="no x86-64 loader on this machine")
def test_the_real_loader_lists_our_files(tmp_path: Path) -> None:
    for member in deb.parse(WORLD)[0].members:
        place = tmp_path / member.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(member.data)
        place.chmod(0o755)
    done = subprocess.run([LOADER, "--list", tmp_path / "bin/main"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"liba.so.1 => {tmp_path}/bin/../lib/liba.so.1" in done.stdout
    assert "libb.so.1 => " in done.stdout


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this machine")
@pytest.mark.parametrize("compression", ["xz", "zst", "gz", "none"])
def test_dpkg_deb_unpacks_our_packages(tmp_path: Path, compression: str) -> None:
    (package,) = deb.write(
        tmp_path, WORLD.replace("Depends", f"Compression: {compression}\nDepends")
    )
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "out"], check=True, capture_output=True)
    out = tmp_path / "out"
    assert (out / "lib/link").readlink() == Path("liba.so.1")
    assert (out / "lib/hard").stat().st_ino == (out / "lib/libb.so.1").stat().st_ino
    assert (out / "bin/main").stat().st_mode & 0o777 == 0o755
    said = subprocess.run(["dpkg-deb", "-f", package, "Depends"], capture_output=True, text=True)
    assert said.stdout == "x\n"


def test_the_same_description_gives_the_same_bytes() -> None:
    assert deb.build(deb.parse(WORLD)[0]) == deb.build(deb.parse(WORLD)[0])
    assert elf(Elf(soname="x")) == elf(Elf(soname="x"))
