"""Open security issues of an image: those of files in it, and those of files that were trimmed.

Source: Debian security tracker, data/json; OSV schema 1.6.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minbuild.archive.types import Package
from minbuild.errors import UsageError
from minbuild.facts.types import Files, KernelConfig
from minbuild.paths import RootPath
from minbuild.supply.securitydata import Misshapen, check, is_osv
from minbuild.supply.shipment import Shipment, source_of

KERNEL_TEXT = re.compile(r"the following vulnerability has been resolved:\s*(.+)", re.DOTALL)
MODULE = re.compile(r"/usr/lib/modules/[^/]+/.*/([^/]+?)\.ko(?:\.xz|\.zst|\.gz)?")
PROGRAM = re.compile(r"/usr/s?bin/([^/]{4,})")


@dataclass(frozen=True, slots=True)
class Known:
    """One open issue of one source package, as the data say it."""

    name: str
    source: str
    fixed: str
    """The version that fixes it; "" when there is none yet."""
    urgency: str
    text: str


@dataclass(frozen=True, slots=True)
class Issue:
    """One open issue and what it means for an image."""

    known: Known
    packages: tuple[str, ...]
    """Of that source, those that have a file in the image."""
    trimmed: tuple[str, ...]
    """Files that the issue names, all of which were left out, or the option that this kernel is
    built without; () when it may touch the image."""


def read(text: str, suite: str, where: str) -> tuple[Known, ...]:
    """Read the tracker's JSON, or OSV's; sorted.

    `suite` is Debian's release: trixie.
    Raises: UsageError when it is neither, or says of an entry what cannot be read.
    """
    fix = "give Debian's security-tracker data/json, or a list of OSV entries"
    try:
        data = json.loads(text)
        check(data, suite)
        found = _osv(data) if is_osv(data) else _tracker(data, suite)
        return tuple(sorted(found, key=lambda one: (one.source, one.name)))
    except json.JSONDecodeError as error:
        why = f"no JSON at line {error.lineno}, column {error.colno}"
        why = f"{why} ({error.msg})" if text.strip() else "the file is empty"
        is_cut = error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip())
        if is_cut and text.strip():
            fix = f"fetch it again: it ends too early; or {fix}"
    except Misshapen as error:
        why = str(error)
    except RecursionError:
        why = "it is nested too deeply"
    raise UsageError(f"this is no security data: {why}", where=where, fix=fix)


def _tracker(data: Mapping[str, Any], suite: str) -> Iterator[Known]:
    for source, issues in data.items():
        for name, about in issues.items():
            state = about["releases"].get(suite)
            if state is None or state["status"] == "resolved":
                fixed = state and state.get("fixed_version")
                if not fixed or fixed == "0":
                    continue
            else:
                fixed = about["releases"].get("sid", {}).get("fixed_version", "")
            yield Known(name, source, str(fixed or ""), str((state or {}).get("urgency", "")),
                        str(about.get("description", "")))  # fmt: skip


def _osv(data: Any) -> Iterator[Known]:
    for entry in data if isinstance(data, list) else [data]:
        for affected in entry["affected"]:
            if not affected["package"]["ecosystem"].startswith("Debian"):
                continue
            events = [event for one in affected.get("ranges", ()) for event in one["events"]]
            fixed = next((event["fixed"] for event in events if "fixed" in event), "")
            text = str(entry.get("details") or entry.get("summary") or "")
            yield Known(str(entry["id"]), str(affected["package"]["name"]), str(fixed), "", text)


SUBSYSTEMS = {
    "wifi": "CFG80211", "drm": "DRM", "bluetooth": "BT", "alsa": "SND", "asoc": "SND",
    "media": "MEDIA_SUPPORT", "can": "CAN", "nfc": "NFC", "rdma": "INFINIBAND", "iio": "IIO",
    "mtd": "MTD", "staging": "STAGING", "fbdev": "FB", "hid": "HID", "usb": "USB",
    "thunderbolt": "USB4", "soundwire": "SOUNDWIRE", "comedi": "COMEDI",
}  # fmt: skip
"""What a fix of the kernel begins with → the option without which nothing of it is built.

Source: Linux, the subject lines of each subsystem, and the menu of its Kconfig.
"""


def judge(
    shipment: Shipment,
    known: Iterable[Known],
    offered: Mapping[str, Iterable[str]],
    options: Mapping[str, str] | None = None,
) -> tuple[Issue, ...]:
    """Say of every issue that is open for the versions in the image what it touches.

    `offered` gives every path of a package, chosen or not; `options` is the kernel's configuration,
    None where nobody has it. An issue counts as trimmed only when its text names files of the
    opened packages, and none of those is in the image, or a subsystem that this kernel is built
    without.
    """
    found = []
    for one, names in open_for(shipment.packages, known):
        there = {row.path for name in names for row in shipment.files[name]}
        paths = {path for name in names for path in offered.get(name, ())}
        found.append(Issue(one, names, _trimmed(one, paths, there) or _unbuilt(one, options)))
    return tuple(found)


def options_of(release: str, files: Iterable[Files]) -> Mapping[str, str] | None:
    """The configuration of a kernel, as one of its packages holds it; None when none does."""
    path = RootPath(f"/boot/config-{release}")
    for one in files:
        found = one.facts(path) if path in one.entries else None
        if isinstance(found, KernelConfig):
            return found.options
    return None


def open_for(
    packages: Iterable[Package], known: Iterable[Known]
) -> Iterator[tuple[Known, tuple[str, ...]]]:
    """Every issue that is open for these packages, with those of its source, sorted."""
    from debian.debian_support import Version

    by_source: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    for package in packages:
        name, version = source_of(package)
        name = "linux" if name.startswith("linux-signed-") else name
        by_source.setdefault(name, []).append(package.name)
        versions[name] = package.version if name == "linux" else version
    for one in known:
        names = by_source.get(one.source)
        if names is None or (one.fixed and Version(versions[one.source]) >= Version(one.fixed)):
            continue
        yield one, tuple(sorted(names))


def _trimmed(one: Known, offered: Iterable[str], there: Iterable[str]) -> tuple[str, ...]:
    words = _named(one)
    left_out: list[str] = []
    present = set(there)
    for path in sorted(offered):
        if _stem(path, one.source) in words:
            if path in present:
                return ()
            left_out.append(path)
    return tuple(left_out)


def _unbuilt(one: Known, options: Mapping[str, str] | None) -> tuple[str, ...]:
    """The option of the subsystem that an issue is of, when this kernel is built without it."""
    fix = KERNEL_TEXT.search(one.text)
    if one.source != "linux" or fix is None or not options:
        return ()
    option = SUBSYSTEMS.get(re.split(r"[\s/:,-]", fix[1].strip(), maxsplit=1)[0].lower())
    if option is None or options.get(option, "n") != "n":
        return ()
    return (f"CONFIG_{option}, which this kernel is built without",)


def _named(one: Known) -> frozenset[str]:
    """Names in an issue's text that could be a file's: for the kernel, what stands before a fix.

    `drm/amdgpu: fix …` names amdgpu; the text below it names all sorts of things.
    """
    kernel = KERNEL_TEXT.search(one.text)
    if one.source == "linux":
        first = kernel[1].strip().partition("\n")[0] if kernel else ""
        head = first.rpartition(": ")[0]
        return frozenset(word.replace("-", "_") for word in re.split(r"[\s/:,]+", head) if word)
    return frozenset(re.findall(r"[A-Za-z][\w.+-]{3,}", one.text)) - {one.source}


def _stem(path: str, source: str) -> str:
    found = MODULE.fullmatch(path) if source == "linux" else PROGRAM.fullmatch(path)
    return found[1].replace("-", "_") if found and source == "linux" else found[1] if found else ""


def as_text(issues: tuple[Issue, ...]) -> str:
    """Print issues: those that may touch the image first, then those of trimmed files alone."""
    touching = [one for one in issues if not one.trimmed]
    trimmed = [one for one in issues if one.trimmed]
    lines = [f"open issues of files in the image: {len(touching)}"]
    lines += [f"  {_line(one)}" for one in touching]
    lines += ["", f"open issues of files that are not in the image: {len(trimmed)}"]
    lines += [f"  {_line(one)}; not in the image: {one.trimmed[0]}" for one in trimmed]
    return "\n".join(lines) + "\n"


def _line(one: Issue) -> str:
    fixed = f"fixed in {one.known.fixed}" if one.known.fixed else "no fix yet"
    urgency = f", {one.known.urgency}" if one.known.urgency else ""
    name = "".join(c if c.isprintable() else "?" for c in one.known.name)
    return f"{name}  {one.known.source} ({', '.join(one.packages)}): {fixed}{urgency}"
