"""rpm itself, of Debian's packages, run without being installed: it builds packages and roots."""

import contextlib
import functools
import os
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from minbuild.cache.store import Store
from minbuild.manifest.model import Location, PackagePaths, Tool
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox
from tests.support.cache import cache_directory
from tests.support.real_archive import make_toolbox, open_real_archive

HERE = Location("test", 1, 1)
CONFIG = RootPath("/usr/lib/rpm")
PACKAGES = {
    "rpm": ("/usr/bin/rpm", "/usr/bin/rpmbuild"),
    "rpm-common": ("/usr/lib/rpm/**",),
}
TOOLS = tuple(
    Tool(
        name,
        name,
        RootPath(f"/usr/bin/{name}"),
        tuple(PackagePaths(package, paths, HERE) for package, paths in PACKAGES.items()),
        False,
        HERE,
    )
    for name in ("rpm", "rpmbuild")
)
DB_LOAD = Tool(
    "db5.3_load",
    "db5.3_load",
    RootPath("/usr/bin/db5.3_load"),
    (PackagePaths("db5.3-util", ("/usr/bin/db5.3_load",), HERE),),
    False,
    HERE,
)
SPEC = """\
Name: {name}
Version: 1.5
Release: 2
Summary: test
License: none
BuildArch: noarch
Provides: {name}-thing
AutoReqProv: no
%description
test
%files
{files}
"""
MACROS = ("_dbpath {db}", "_db_backend {backend}", "__os_install_post %{{nil}}", "debug_package %{{nil}}", "_binaries_in_noarch_packages_terminate_build 0",
          "_topdir {top}", "_tmppath {top}", "_fileattrsdir {top}/attrs", "__check_files %{{nil}}", "__transaction_audit %{{nil}}")  # fmt: skip


@functools.cache
def open_rpm_tools(*tools: Tool) -> Toolbox:
    """Programs of the archive that only tests need, run without being installed."""
    store = Store(cache_directory("tool"))
    return make_toolbox(tools, open_real_archive(store))


def install(top: Path, backend: str, **packages: Mapping[str, str | bytes]) -> Path:
    """Build packages of these files by rpmbuild, and install them below `top` by rpm.

    A file is text, bytes (a program), or `-> TARGET` of a link.
    """
    work = top.parent / f"{top.name}-work"
    (work / "attrs").mkdir(parents=True)
    (work / "attrs" / "none.attr").write_text("%__none_path ^/nothing$\n", encoding="utf-8")
    built = [_build(work, backend, name, files) for name, files in packages.items()]
    top.mkdir()
    _run("rpm", work, backend, "--root", top, "-i", "--nodeps", "--noscripts", *built)
    return top


def _build(work: Path, backend: str, name: str, files: Mapping[str, str | bytes]) -> Path:
    path = write_files(work / name, files)
    spec = work / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, files="\n".join(files)), encoding="utf-8")
    _run("rpmbuild", work, backend, "-bb", "--noclean", "--buildroot", path, spec)
    (result,) = (work / "RPMS").rglob(f"{name}-*.rpm")
    return result


def write_files(target: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a directory."""
    for path, content in files.items():
        file = target / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
            file.chmod(0o755)
        elif content.startswith("-> "):
            file.symlink_to(content.removeprefix("-> "))
        else:
            file.write_text(content, encoding="utf-8")
    return target


def _run(name: str, work: Path, backend: str, *args: str | Path) -> None:
    box = open_rpm_tools(*TOOLS)
    config = box.find_path(CONFIG)
    defined = [
        text.format(db="/usr/lib/sysimage/rpm", backend=backend, top=work) for text in MACROS
    ]
    argv = [
        *box.build_argv(name),
        *(word for text in defined for word in ("--define", text)),
        *args,
    ]
    env = box.build_environment() | {
        "PATH": "/usr/bin:/bin",
        "RPM_CONFIGDIR": str(config),
        "HOME": str(work),
    }
    root = [] if os.geteuid() == 0 else [shutil.which("unshare") or "unshare", "-Ur"]
    result = subprocess.run([*root, *argv], env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr + result.stdout


def convert_to_berkeley(top: Path) -> Path:
    """Rewrite the SQLite database of a root as a Berkeley DB hash, by Berkeley DB itself."""
    new = top / "usr/lib/sysimage/rpm"
    with contextlib.closing(sqlite3.connect(new / "rpmdb.sqlite")) as database:
        rows = database.execute("SELECT hnum, blob FROM Packages ORDER BY hnum").fetchall()
    # the key 0 holds the last number given. Source: rpm's lib/backend/db3.c
    pairs = [(0, struct.pack("=I", len(rows))), *rows]
    text = "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n"
    text += "".join(f" {struct.pack('=I', key).hex()}\n {data.hex()}\n" for key, data in pairs)
    old = top / "var/lib/rpm"
    old.mkdir(parents=True)
    box = open_rpm_tools(DB_LOAD)
    subprocess.run([*box.build_argv(DB_LOAD.name), old / "Packages"], input=f"{text}DATA=END\n",
                   text=True, check=True, env=box.build_environment())  # fmt: skip
    shutil.rmtree(new)
    return top
