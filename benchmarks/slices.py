"""Data files that people list by hand, beside those that minbuild finds in texts and by its rules.

    python -m benchmarks.slices DIRECTORY

DIRECTORY holds slice definitions as chisel's releases have them (slices/NAME.yaml: contents by
slice, and the slices that each needs). For each of PROGRAMS a manifest keeps the program and
follows its names; what its slice `bins` leads to by hand is the measure. Programs and libraries do
not count, nor what Debian's packages do not have under that name.
"""

import fnmatch
import json
import re
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from minbuild.errors import MinbuildError
from minbuild.pipeline.build import plan_build
from minbuild.pipeline.session import BuildRequest, Session, find_store_directory
from minbuild.progress import SilentProgress
from minbuild.resolve.model import NeedKind

PROGRAMS = {
    "apache2-bin": "/usr/sbin/apache2", "apt": "/usr/bin/apt-get", "bash": "/usr/bin/bash",
    "bind9": "/usr/sbin/named", "bind9-host": "/usr/bin/host", "cron": "/usr/sbin/cron",
    "curl": "/usr/bin/curl", "dash": "/usr/bin/dash", "dbus-daemon": "/usr/bin/dbus-daemon",
    "debianutils": "/usr/bin/run-parts", "dosfstools": "/usr/sbin/mkfs.fat", "dpkg": "/usr/bin/dpkg",
    "erlang-base": "/usr/bin/erl", "fdisk": "/usr/sbin/fdisk", "file": "/usr/bin/file",
    "fontconfig": "/usr/bin/fc-list", "gawk": "/usr/bin/gawk", "git": "/usr/bin/git",
    "gpg": "/usr/bin/gpg", "iproute2": "/usr/bin/ip", "iptables": "/usr/sbin/iptables",
    "iputils-ping": "/usr/bin/ping", "jq": "/usr/bin/jq", "less": "/usr/bin/less",
    "libcap2-bin": "/usr/sbin/getcap", "mosquitto": "/usr/sbin/mosquitto", "nano": "/usr/bin/nano",
    "nginx": "/usr/sbin/nginx", "openssh-client": "/usr/bin/ssh", "openssh-server": "/usr/sbin/sshd",
    "openssl": "/usr/bin/openssl", "passwd": "/usr/bin/passwd", "perl-base": "/usr/bin/perl",
    "procps": "/usr/bin/ps", "redis-server": "/usr/bin/redis-server", "rsync": "/usr/bin/rsync",
    "ruby3.3": "/usr/bin/ruby3.3", "squid": "/usr/sbin/squid", "sudo": "/usr/bin/sudo",
    "systemd": "/usr/lib/systemd/systemd", "tar": "/usr/bin/tar", "util-linux": "/usr/bin/lsblk",
    "wget": "/usr/bin/wget", "xz-utils": "/usr/bin/xz",
}  # fmt: skip
MANIFEST = """\
minbuild: 1
name: slice
kernel: {package: linux-image-cloud-amd64}
boot: {use: [init]}
keep: [{package: %(package)s, paths: [%(program)s]}]
paths: {%(program)s: follow}
"""
BASE = {"base-files", "base-passwd", "libc6", "libc-bin", "bash", "dash", "tzdata", "coreutils"}
"""Packages that are in every root by hand, whatever the program."""
CODE = re.compile(r"\.so\b|/s?bin/|/copyright$|/ld-[^/]*$")
"""Programs, libraries and papers: a slice's libs and bins, which needs find by themselves."""


@dataclass
class Row:
    """One program: how many data files, by who knows of them."""

    program: str
    by_hand: int = 0
    brought: int = 0
    """Of those by hand: brought in by following, or by a rule."""
    listed: int = 0
    """Of those by hand: listed by `plan` and not brought in."""
    beside: int = 0
    """Lines of `plan` and files brought in, not by hand for `bins`, but in another slice."""
    noise: int = 0
    """Such lines and files that are in no slice at all."""
    failed: str = ""
    missed: list[str] = field(default_factory=list)


class Named:
    """Paths and globs of slices, asked often."""

    def __init__(self, globs: set[str]) -> None:
        self._paths = {glob for glob in globs if "*" not in glob}
        rest = (fnmatch.translate(glob.replace("**", "*")) for glob in globs - self._paths)
        self._globs = re.compile("|".join(sorted(rest)))

    def has(self, path: str) -> bool:
        return path in self._paths or self._globs.match(path) is not None


class Slices:
    """The slice definitions of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, dict[str, Any]] = {}

    def package(self, name: str) -> dict[str, Any]:
        if name not in self._read:
            path = self._directory / f"{name}.yaml"
            self._read[name] = yaml.safe_load(path.read_text()) if path.is_file() else {}
        return self._read[name]

    def globs(self, name: str) -> Iterator[str]:
        """All that `bins` of a package leads to, of any package."""
        todo, result = [f"{name}_bins"], set[str]()
        while todo:
            one = todo.pop()
            if one in result:
                continue
            result.add(one)
            package, _, part = one.rpartition("_")
            if package in BASE and package != name:
                continue
            entry = self.package(package).get("slices", {}).get(part) or {}
            yield from entry.get("contents") or {}
            needs = entry.get("essential") or []
            todo += list(needs)

    def every(self) -> Named:
        """All that any slice names."""
        result: set[str] = set()
        for path in sorted(self._directory.glob("*.yaml")):
            for entry in (self.package(path.stem).get("slices") or {}).values():
                result.update((entry or {}).get("contents") or {})
        return Named(result)


def measure(
    name: str, program: str, slices: Slices, every: Named, session: Session, base: set[str]
) -> Row:
    """Resolve one program and hold it against its slice; `base` is listed without any program."""
    row = Row(name)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "slice.yaml")
        path.write_text(MANIFEST % {"package": name, "program": program})
        try:
            planned = plan_build(BuildRequest(manifest=path), session)
        except MinbuildError as error:
            row.failed = error.what
            return row
    offered = {path for one in planned.resolved.files for path in one.entries}
    hand = {path for glob in slices.globs(name) for path in _matching(glob, offered)}
    hand = {path for path in hand if not CODE.search(path)}
    added = {
        need.path
        for need in planned.resolved.closure.needs
        if need.kind in {NeedKind.STRING, NeedKind.DATA} and need.needed_by.startswith("/")
    }
    lines = {each.wanted for each in planned.footprint.possible_data} - base
    listed = {one for expected in lines for one in _below(expected, offered)}
    chosen = set(planned.resolved.closure.files)
    row.by_hand = len(hand)
    row.brought = len(hand & chosen)
    row.listed = len((hand & listed) - chosen)
    row.missed = sorted(hand - chosen - listed)
    lines = {one for one in lines if not hand.intersection(_below(one, offered))}
    more = {path for path in (added - hand) | lines if not CODE.search(path)}
    covered = {path for path in more if any(every.has(one) for one in _below(path, offered)[:9])}
    row.beside, row.noise = len(covered), len(more - covered)
    return row


def _listed_alone(session: Session) -> set[str]:
    """What `plan` lists for a host without any of the programs."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "base.yaml")
        path.write_text("".join(line for line in MANIFEST.splitlines(True) if "%" not in line))
        return {
            each.wanted
            for each in plan_build(BuildRequest(manifest=path), session).footprint.possible_data
        }


def _matching(glob: str, offered: Collection[str]) -> list[str]:
    if not re.search(r"[*?]", glob):
        return [glob] if glob in offered else []
    return [path for path in offered if _fits(glob, path)]


def _fits(glob: str, path: str) -> bool:
    return path == glob or ("*" in glob and fnmatch.fnmatchcase(path, glob.replace("**", "*")))


def _below(expected: str, offered: Collection[str]) -> list[str]:
    if re.search(r"[*?\[]", expected):
        return [path for path in offered if fnmatch.fnmatchcase(path, expected)]
    return [path for path in offered if path == expected or path.startswith(f"{expected}/")]


def main(directory: Path) -> None:
    """Print a row for each program, and the sums as JSON."""
    slices = Slices(directory)
    every = slices.every()
    session = Session(find_store_directory(), SilentProgress())
    rows = []
    base = _listed_alone(session)
    print(f"{'program':<18} {'by hand':>8} {'brought':>8} {'listed':>7} {'beside':>7} {'noise':>6}")
    for name, program in PROGRAMS.items():
        row = measure(name, program, slices, every, session, base)
        rows.append(row)
        numbers = (
            f"{row.by_hand:>8} {row.brought:>8} {row.listed:>7} {row.beside:>7} {row.noise:>6}"
        )
        output = row.failed or (f"missed: {', '.join(row.missed[:3])}" if row.missed else "")
        print(f"{name:<18} {numbers}  {output[:110]}", flush=True)
    keys = ("by_hand", "brought", "listed", "beside", "noise")
    print(json.dumps({key: sum(getattr(row, key) for row in rows) for key in keys}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
