"""A root of Debian packages, unpacked and not configured, and programs run in it without root.

Packages come from the archive as those of a host do: signed, and through the same store. For tools
that have to be installed to run, such as debhelper and a shell with its functions; what writes
images is taken by file, see minbuild/toolbox.
"""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from minbuild.archive.download import fetch_packages
from minbuild.archive.index import Index, open_index
from minbuild.archive.mirror import Mirror, find_mirror
from minbuild.archive.model import Package, detect_machine_architecture
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.manifest.model import Archive
from minbuild.progress import SilentProgress

TRIXIE = Archive(suites=("trixie", "trixie-updates", "trixie-security"))
BASE = ("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip",
        "hostname", "libc-bin", "mount", "sed", "tar", "util-linux")  # fmt: skip
"""What every root has. base-files goes first: /bin, /lib and /sbin are its links."""
ENTER = """\
root=$1 old=$1/mnt binds=$2
shift 2
mount --rbind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
printf '%s' "$binds" | while read -r from to; do
    mkdir -p "$root$to"
    mount --rbind "$from" "$root$to"
done
cd "$root"
pivot_root . "$old"
cd /
umount -l /mnt
exec "$@"
"""
"""Not chroot, in which no process may make a user namespace. Source: unshare(2), pivot_root(8)."""
FOREIGN = ("http_proxy", "https_proxy", "no_proxy", "MINBUILD_MIRROR", "TERM")
"""Variables that a program in the root sees."""


@dataclass(frozen=True, slots=True)
class PackageOffers:
    """Where the packages of roots come from."""

    index: Index
    mirror: Mirror
    store: Store


def open_packages(store: Store, archive: Archive = TRIXIE) -> PackageOffers:
    """The archive on the machine's mirror, for this machine's architecture."""
    mirror = find_mirror("")
    arch = detect_machine_architecture()
    index = open_index(archive, arch, mirror, store, offline=False, progress=SilentProgress())
    return PackageOffers(index, mirror, store)


def resolve_dependencies(names: Iterable[str], index: Index) -> tuple[Package, ...]:
    """Packages and all that they depend on, in the order in which they were met.

    Of alternatives the first that the archive has, or its first provider, unless another one is
    there already. Versions are not compared: a suite is consistent with itself.
    Raises: ArchiveError for a package that the archive has not.
    """
    chosen: dict[str, Package] = {}
    waiting: list[tuple[str, ...]] = [(name,) for name in names]
    while waiting:
        alternatives = waiting.pop(0)
        if not chosen.keys().isdisjoint(alternatives):
            continue
        package = next(_find_candidates(alternatives, index), None)
        if package is None:
            raise ArchiveError(
                f"no package is {' or '.join(alternatives)}", where=index.name, fix="name another"
            )
        if package.name not in chosen:
            chosen[package.name] = package
            waiting += index.find_depends(package.name)
    return tuple(chosen.values())


def _find_candidates(alternatives: Sequence[str], index: Index) -> Iterator[Package]:
    for name in alternatives:
        for candidate in (name, *index.find_providers(name)):
            package = index.find_package(candidate)
            if package is not None:
                yield package


def unpack_root(directory: Path, names: Sequence[str], offers: PackageOffers) -> None:
    """Unpack packages and their dependencies, unless the same are there already.

    dpkg finds them installed. The root is whole once DIRECTORY.packages lists what is in it.
    """
    packages = resolve_dependencies((*BASE, *names), offers.index)
    stamp = directory.with_name(f"{directory.name}.packages")
    content = "".join(f"{one.name} {one.version} {one.sha256}\n" for one in packages)
    if stamp.is_file() and stamp.read_text("utf-8") == content:
        return
    fetch_packages(packages, offers.mirror, offers.store, offline=False, progress=SilentProgress())
    stamp.unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for package in packages:
        deb = offers.store.find_verified(package.sha256)
        assert deb is not None, package.name
        unpack_package(deb, directory)
    _configure(directory)
    stamp.write_text(content, encoding="utf-8")


def unpack_package(deb: Path, directory: Path) -> None:
    """Unpack a .deb by dpkg-deb and enter it into dpkg's database; no script of it runs.

    Source: dpkg-deb(1); deb-control(5); dpkg's doc of /var/lib/dpkg: status, info/NAME.list.
    """
    listed = subprocess.run(["dpkg-deb", "-vx", deb, directory], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(_read_control_archive(deb))) as archive:
        files = {
            member.name.removeprefix("./"): file.read()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }
    control = files.pop("control").decode()
    fields = Deb822(control)
    is_same = fields.get("Multi-Arch") == "same"
    name = f"{fields['Package']}:{fields['Architecture']}" if is_same else fields["Package"]
    database = directory / "var/lib/dpkg"
    (database / "info").mkdir(parents=True, exist_ok=True)
    (database / "info/format").write_text("1\n")
    with open(database / "status", "a", encoding="utf-8") as status:
        status.write(f"{control.rstrip()}\nStatus: install ok installed\n\n")
    paths = (
        line.removeprefix(".").rstrip("/") or "/." for line in listed.stdout.decode().split("\n")
    )
    files["list"] = "".join(f"{path}\n" for path in paths if path.startswith("/")).encode()
    for kind, content in files.items():
        (database / "info" / f"{name}.{kind}").write_bytes(content)


def _read_control_archive(deb: Path) -> bytes:
    argv = ["dpkg-deb", "--ctrl-tarfile", str(deb)]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def _configure(directory: Path) -> None:
    """What maintainer scripts would have done, as far as the programs need it."""
    for name in ("dev", "mnt", "proc", "root", "tmp"):
        (directory / name).mkdir(exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(directory / f"usr/share/base-passwd/{name}.master", directory / f"etc/{name}")
    for name, target in {"usr/bin/awk": "mawk", "etc/dpkg/origins/default": "debian"}.items():
        link = directory / name
        if (link.parent / target).exists() and not link.exists():
            link.symlink_to(target)
    certificates = sorted((directory / "usr/share/ca-certificates").rglob("*.crt"))
    if certificates:
        bundle = directory / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(b"".join(path.read_bytes() for path in certificates))
    resolver = Path("/etc/resolv.conf")
    if resolver.is_file():
        shutil.copy(resolver, directory / "etc/resolv.conf")


def run_in_root(
    directory: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[Path, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program as the root of a user namespace, with `directory` as its file system.

    `binds`: directories of this machine → where the program sees them, writable. /tmp is empty.
    """
    lines = "".join(f"{source.resolve()} {place}\n" for source, place in (binds or {}).items())
    namespaces = ("--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
    enter = ("sh", "-ec", ENTER, "enter", str(directory.resolve()), lines)
    assignments = [f"{name}={value}" for name, value in (env or {}).items()]
    kept = {name: os.environ[name] for name in FOREIGN if name in os.environ}
    environment = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "LANG": "C.UTF-8"} | kept
    return subprocess.run(
        ["unshare", *namespaces, *enter, "env", *assignments, *argv],
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
