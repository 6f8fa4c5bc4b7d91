"""Image of a build directory, with its footprint, lock and packages, and the package URL of each.

Source: ECMA-427 (package-url), types deb, rpm and generic.
"""

import hashlib
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, Package
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.footprint.measure import find_hypervisor_path
from minbuild.footprint.model import FileRow, Footprint
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.uki import read_uki
from minbuild.kconfig.document import FILE_NAME as OPTIONS_FILE
from minbuild.kconfig.document import parse_options
from minbuild.kernel.package import SOURCES_FILE


def make_purl(package: Package) -> str:
    """A package's URL in its canonical form; the root's files of no package have one, too."""
    if package.installed_origin == ("", ""):
        return "pkg:generic/unowned"
    kind, distribution = package.installed_origin or ("deb", "debian")
    version, epoch = package.version, ""
    if kind == "rpm" and ":" in version:  # a part of deb's version, and none of rpm's
        epoch, _, version = version.partition(":")
    qualifiers = {
        "arch": package.arch,
        "distro": package.suite.partition("-")[0] or distribution,
        "epoch": epoch,
        "upstream": _format_upstream(package),
    }
    parts = (distribution, package.name, version)
    # a colon is never encoded
    vendor, name, version = (quote(part, safe=":") for part in parts)
    query = "&".join(
        f"{key}={quote(value, safe=':')}" for key, value in qualifiers.items() if value
    )
    return f"pkg:{kind}/{vendor}/{name}@{version}?{query}"


def _format_upstream(package: Package) -> str:
    """The source package where it has another name, with its version where that is another."""
    if package.source in ("", package.name):
        return ""
    return "@".join(filter(None, (package.source, package.source_version)))


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A footprint and its lock."""

    footprint: Footprint
    lock: Lock
    packages: tuple[Package, ...]
    """Those that have a file in the image, sorted by name."""
    files: Mapping[str, tuple[FileRow, ...]]
    """Package → its regular files in the image, sorted by path; "" for those made here or found
    in a root without a package."""
    compiled: frozenset[str] | None = None
    """Sources that a kernel built for the image was compiled from; None where a package has it."""
    kernel_evidence: Mapping[str, str] = field(default_factory=dict)
    """What the build wrote about that kernel: file beside the image, `patch:NAME` → SHA-256."""


def open_built_image(directory: Path) -> BuiltImage:
    """Read a build directory.

    Raises: UsageError without a footprint and a lock that belong together.
    """
    fix = "name a build directory: minbuild make writes footprint.json and the lock into it"
    locks = sorted(directory.glob("*.lock"))
    path = directory / "footprint.json"
    try:
        footprint = document.read_footprint(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("this is no build directory", where=str(directory), fix=fix) from error
    if len(locks) != 1:
        raise UsageError(f"{len(locks) or 'no'} locks lie there", where=str(directory), fix=fix)
    lock = lockfile.read_lock(locks[0])
    files: dict[str, list[FileRow]] = {}
    for row in footprint.files:
        if row.type == "file":
            files.setdefault(row.package, []).append(row)
    by_name = {package.name: package for package in lock.packages}
    for name in [one.name for one in lock.packages if one.installed_origin == ("", "")]:
        files.setdefault("", []).extend(files.pop(name, ()))
    unknown_packages = sorted(name for name in files if name and name not in by_name)
    if unknown_packages:
        raise UsageError(
            f"the lock does not know {', '.join(unknown_packages)}", where=str(locks[0]),
            fix="build the image again, so that lock and footprint belong together",
        )  # fmt: skip
    return BuiltImage(
        footprint,
        lock,
        tuple(by_name[name] for name in sorted(files) if name),
        {
            name: tuple(sorted(rows, key=lambda row: row.path))
            for name, rows in sorted(files.items())
        },
        _read_sources(directory / SOURCES_FILE),
        _collect_kernel_evidence(directory),
    )


def _collect_kernel_evidence(directory: Path) -> dict[str, str]:
    """Digests of what a build wrote about its kernel, and of the patches that went into that."""
    evidence = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in (OPTIONS_FILE, SOURCES_FILE)
        if (directory / name).is_file()
    }
    if OPTIONS_FILE in evidence:
        path = directory / OPTIONS_FILE
        options = parse_options(path.read_text("utf-8", "replace"), str(path))
        evidence |= {f"patch:{name}": digest for name, digest in options.patches}
    return evidence


def _read_sources(path: Path) -> frozenset[str] | None:
    """The list of compiled sources beside an image, if its kernel was built for it."""
    if not path.is_file():
        return None
    return frozenset(path.read_text("utf-8", "replace").splitlines())


def require_archive_packages(built_image: BuiltImage, purpose: str) -> None:
    """Accept an image whose packages an archive has; `asked`: what it is wanted for.

    Raises: UsageError for one that was made of an installed root.
    """
    if any(package.installed_origin for package in built_image.packages):
        raise UsageError(
            f"its packages come from an installed root, and no archive tells {purpose}",
            where=built_image.footprint.name,
            fix="look in that root (usr/share/doc, usr/share/licenses), or build from packages",
        )


def compute_sha1s(directory: Path, footprint: Footprint) -> dict[str, str]:
    """Path → SHA-1 of every file in the UKI of a build directory; empty without one."""
    images = sorted(directory.glob("*.efi"))
    if not images:
        return {}
    uki = read_uki(images[0].read_bytes(), str(images[0]))
    contents = {
        str(member.path): member.content
        for member in unpack_members(uki.initrd, where=str(images[0])).values()
        if stat.S_ISREG(member.mode)
    }
    contents[f"/boot/vmlinuz-{uki.uname}"] = uki.linux
    if uki.xen:
        contents[find_hypervisor_path(footprint)] = uki.xen
    return {
        path: hashlib.sha1(content, usedforsecurity=False).hexdigest()
        for path, content in contents.items()
    }


def get_source(package: Package) -> tuple[str, str]:
    """Name and version of a package's source. Source: Debian Policy 5.6.1."""
    return package.source or package.name, package.source_version or package.version


def list_sources(package: Package) -> tuple[tuple[str, str], ...]:
    """Every source that a package was built from: a signed kernel's own source only signs it.

    Source: Debian, linux-signed-ARCH 6.12.117+1 is built from linux 6.12.117-1 (Built-Using).
    """
    name, version = get_source(package)
    if name.startswith("linux-signed-") and "+" in version:
        before, _, after = version.rpartition("+")
        return (name, version), ("linux", f"{before}-{after}")
    return ((name, version),)


DEBIAN_SUPPLIER = "Debian"
INSTALL_HINT = "install the extra: pip install 'minbuild[sbom]'"
"""Fix of an error when a library of the extra is missing."""


def find_supplier(package: Package) -> str:
    """The supplier of a package: the distribution, by its own name."""
    distribution = package.installed_origin[1] if package.installed_origin else "debian"
    return DEBIAN_SUPPLIER if distribution == "debian" else distribution


def find_dependencies(built_image: BuiltImage) -> dict[str, set[str]]:
    """Each package → the packages that its files need; sorted by name."""
    owner = {row.path: row.package for row in built_image.footprint.files}
    dependencies: dict[str, set[str]] = {package.name: set() for package in built_image.packages}
    for need in built_image.footprint.edges:
        dependent, dependency = owner.get(need.needed_by, ""), owner.get(need.path, "")  # type: ignore[call-overload]
        if dependent in dependencies and dependency in dependencies and dependent != dependency:
            dependencies[dependent].add(dependency)
    return dependencies


def make_serial(built_image: BuiltImage) -> uuid.UUID:
    """A serial number that follows from the image: version 8 of RFC 9562."""
    parts = [f"{row.path} {row.sha256} {row.mode}" for row in built_image.footprint.files]
    raw = bytearray(hashlib.sha256("\n".join(parts).encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(raw))
