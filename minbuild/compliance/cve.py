"""Open security issues of an image: those of files in it, and those of files that were trimmed.

Source: Debian security tracker, data/json; OSV schema 1.6.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from debian.debian_support import Version

from minbuild.archive.model import Lock, Package
from minbuild.compliance.built_image import BuiltImage, get_source
from minbuild.compliance.security_data import Advisory, read_advisories
from minbuild.facts.model import KernelConfig, PackageFiles
from minbuild.footprint.comparison import IssueChanges, OpenIssue, compare_issues
from minbuild.footprint.model import Footprint
from minbuild.paths import RootPath

KERNEL_FIX_TEXT = re.compile(r"the following vulnerability has been resolved:\s*(.+)", re.DOTALL)
SOURCE_SUFFIXES = (".c", ".h", ".S")
"""Files that the list of compiled sources names; of a Makefile or a table it says nothing."""
MODULE_PATH = re.compile(r"/usr/lib/modules/[^/]+/.*/([^/]+?)\.ko(?:\.xz|\.zst|\.gz)?")
PROGRAM_PATH = re.compile(r"/usr/(?:s?bin|lib/xen-[^/]+/(?:bin|boot))/([^/]{4,})")
"""Programs that an issue may name: those of a PATH, and where Debian has Xen's tools and firmware."""


@dataclass(frozen=True, slots=True)
class ImageIssue:
    """One open issue and what it means for an image."""

    advisory: Advisory
    packages: tuple[str, ...]
    """Of that source, those that have a file in the image."""
    trimmed: tuple[str, ...]
    """Files that the issue names, all of which were left out, or the option that this kernel is
    built without; () when it may touch the image."""
    not_compiled: bool = False
    """Whether `trimmed` are sources of the kernel, none of which was compiled."""


SUBSYSTEM_OPTIONS = {
    "wifi": "CFG80211", "drm": "DRM", "bluetooth": "BT", "alsa": "SND", "asoc": "SND",
    "media": "MEDIA_SUPPORT", "can": "CAN", "nfc": "NFC", "rdma": "INFINIBAND", "iio": "IIO",
    "mtd": "MTD", "staging": "STAGING", "fbdev": "FB", "hid": "HID", "usb": "USB",
    "thunderbolt": "USB4", "soundwire": "SOUNDWIRE", "comedi": "COMEDI",
}  # fmt: skip
"""What a fix of the kernel begins with → the option without which nothing of it is built.

Source: Linux, the subject lines of each subsystem, and the menu of its Kconfig.
"""


def assess_issues(
    built_image: BuiltImage,
    advisories: Iterable[Advisory],
    package_paths: Mapping[str, Iterable[str]],
    options: Mapping[str, str] | None = None,
) -> tuple[ImageIssue, ...]:
    """Say of every issue that is open for the versions in the image what it touches.

    `offered` gives every path of a package, chosen or not; `options` is the kernel's configuration,
    None where it is unknown. An issue counts as trimmed only when its text names files of the
    opened packages, and none of those is in the image, or a subsystem that this kernel is built
    without. Of a kernel that was built for the image, and an issue whose sources are known, these
    decide: one that was compiled or included, and the issue may touch the image.
    """
    image_issues = []
    for advisory, names in find_open_issues(built_image.packages, advisories):
        if built_image.compiled is not None and advisory.files:
            is_absent = _is_not_compiled(advisory.files, built_image.compiled)
            trimmed = advisory.files if is_absent else ()
            image_issues.append(ImageIssue(advisory, names, trimmed, not_compiled=is_absent))
            continue
        present = {row.path for name in names for row in built_image.files[name]}
        paths = {path for name in names for path in package_paths.get(name, ())}
        image_issues.append(
            ImageIssue(
                advisory,
                names,
                _find_trimmed_files(advisory, paths, present)
                or _find_unset_option(advisory, options),
            )
        )
    return tuple(image_issues)


def _is_not_compiled(files: Iterable[str], compiled: frozenset[str]) -> bool:
    """Tell whether no source was compiled or included; a file that is none may shape any of them."""
    return compiled.isdisjoint(files) and all(name.endswith(SOURCE_SUFFIXES) for name in files)


def find_kernel_options(
    footprint: Footprint, files: Iterable[PackageFiles]
) -> Mapping[str, str] | None:
    """The configuration of a kernel that was built, or from one of its packages; None without one."""
    if footprint.kernel_options:
        return {need.name: need.value for need in footprint.kernel_options}
    path = RootPath(f"/boot/config-{footprint.kernel}")
    for package_files in files:
        facts = package_files.facts(path) if path in package_files.entries else None
        if isinstance(facts, KernelConfig):
            return facts.options
    return None


def find_open_issues(
    packages: Iterable[Package], advisories: Iterable[Advisory]
) -> Iterator[tuple[Advisory, tuple[str, ...]]]:
    """Every issue that is open for these packages, with those of its source, sorted."""
    by_source: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    for package in packages:
        name, version = get_source(package)
        name = "linux" if name.startswith("linux-signed-") else name
        by_source.setdefault(name, []).append(package.name)
        versions[name] = package.version if name == "linux" else version
    for advisory in advisories:
        names = by_source.get(advisory.source)
        if names is None or (
            advisory.fixed and Version(versions[advisory.source]) >= Version(advisory.fixed)
        ):
            continue
        yield advisory, tuple(sorted(names))


def _find_trimmed_files(
    advisory: Advisory, package_paths: Iterable[str], image_paths: Iterable[str]
) -> tuple[str, ...]:
    names = _find_names(advisory)
    absent: list[str] = []
    present = set(image_paths)
    for path in sorted(package_paths):
        if _extract_name(path, advisory.source) in names:
            if path in present:
                return ()
            absent.append(path)
    return tuple(absent)


def _find_unset_option(advisory: Advisory, options: Mapping[str, str] | None) -> tuple[str, ...]:
    """The option of the subsystem that an issue is of, when this kernel is built without it."""
    match = KERNEL_FIX_TEXT.search(advisory.text)
    if advisory.source != "linux" or match is None or not options:
        return ()
    option = SUBSYSTEM_OPTIONS.get(re.split(r"[\s/:,-]", match[1].strip(), maxsplit=1)[0].lower())
    if option is None or options.get(option, "n") != "n":
        return ()
    return (f"CONFIG_{option}, which this kernel is built without",)


def _find_names(advisory: Advisory) -> frozenset[str]:
    """Names in an issue's text that could be of a file: for the kernel, the words before a fix.

    `drm/amdgpu: fix …` names amdgpu; the text below it names all sorts of things.
    """
    match = KERNEL_FIX_TEXT.search(advisory.text)
    if advisory.source == "linux":
        first = match[1].strip().partition("\n")[0] if match else ""
        head = first.rpartition(": ")[0]
        return frozenset(word.replace("-", "_") for word in re.split(r"[\s/:,]+", head) if word)
    return frozenset(re.findall(r"[A-Za-z][\w.+-]{3,}", advisory.text)) - {advisory.source}


def _extract_name(path: str, source: str) -> str:
    match = MODULE_PATH.fullmatch(path) if source == "linux" else PROGRAM_PATH.fullmatch(path)
    return match[1].replace("-", "_") if match and source == "linux" else match[1] if match else ""


def render_image_issues(issues: tuple[ImageIssue, ...]) -> str:
    """Print issues: those that may touch the image first, then those of trimmed files alone."""
    touching = [one for one in issues if not one.trimmed]
    trimmed = [one for one in issues if one.trimmed]
    lines = [f"open issues of files in the image: {len(touching)}"]
    lines += [f"  {_format_issue(one)}" for one in touching]
    lines += ["", f"open issues of files that are not in the image: {len(trimmed)}"]
    lines += [
        f"  {_format_issue(one)}; not {'compiled' if one.not_compiled else 'in the image'}: {one.trimmed[0]}"
        for one in trimmed
    ]
    return "\n".join(lines) + "\n"


def _format_issue(issue: ImageIssue) -> str:
    fixed = f"fixed in {issue.advisory.fixed}" if issue.advisory.fixed else "no fix yet"
    urgency = f", {issue.advisory.urgency}" if issue.advisory.urgency else ""
    name = "".join(c if c.isprintable() else "?" for c in issue.advisory.name)
    return f"{name}  {issue.advisory.source} ({', '.join(issue.packages)}): {fixed}{urgency}"


BINNMU_SUFFIX = re.compile(r"\+b\d+$")
"""What a rebuild of the same source adds to a package's version. Source: Debian Policy 3.2.2."""


def compare_cves(
    before: Sequence[Package],
    after: Sequence[Package],
    data: str,
    where: str,
    suites: tuple[str, str],
) -> IssueChanges:
    """Say which issues are open for one set of packages and not for the other.

    `suites`: Debian's release of each side: trixie. Raises: UsageError when the data are none.
    """
    sides = [
        _list_open_issues(packages, read_advisories(data, suite, where))
        for packages, suite in zip((before, after), suites, strict=True)
    ]
    return compare_issues(sides[0], sides[1])


def list_image_packages(footprint: Footprint, locks: Iterable[Lock]) -> tuple[Package, ...]:
    """The packages that have a file in a host, their sources as any of the locks knows them.

    A package of another version than in the locks keeps its source's name, and its source's version
    is its own without a rebuild's suffix; one that no lock knows is its own source.
    """
    locked_packages = {(one.name, one.version): one for lock in locks for one in lock.packages}
    sources = {name: one.source for (name, _), one in locked_packages.items()}
    packages = []
    for row in footprint.packages:
        if not (row.name and row.version and row.files):
            continue
        locked = locked_packages.get((row.name, row.version))
        source_version = BINNMU_SUFFIX.sub("", row.version)
        packages.append(
            locked
            or Package(
                name=row.name,
                version=row.version,
                arch=footprint.arch,
                root="",
                path="",
                size=0,
                sha256="",
                source=sources.get(row.name, _guess_source(row.name)),
                source_version=source_version if source_version != row.version else "",
            )
        )
    return tuple(packages)


def find_release(suites: Sequence[str]) -> str:
    """The Debian release that suites belong to: trixie-security is trixie's."""
    return next(iter(suites), "trixie").partition("-")[0]


def _guess_source(name: str) -> str:
    return "linux" if name.startswith("linux-image-") else ""


def _list_open_issues(
    packages: Sequence[Package], advisories: Iterable[Advisory]
) -> tuple[OpenIssue, ...]:
    return tuple(
        OpenIssue(one.source, one.name, one.fixed, names)
        for one, names in find_open_issues(packages, advisories)
    )
