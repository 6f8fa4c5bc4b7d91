"""Building once more under other conditions, and what the first difference means."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.types import Lock
from minbuild.build.request import Doors, Request
from minbuild.build.vouching import VOUCHED, words_for
from minbuild.errors import MinbuildError, Verdict
from minbuild.image import unpack
from minbuild.image.disk import START
from minbuild.image.outputs import SUMS
from minbuild.lab.uki import sections
from minbuild.run import run
from minbuild.store import Store

_CHILD = (
    "import os, sys; os.umask(0o077); "
    "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    "from minbuild.cli.main import run; code = run(sys.argv[1:]); "
    "sys.exit(0 if code == 1 else code)"
)
"""A budget that is exceeded (1) is the first build's to tell."""
MOST_WORDS = 4000
"""Bytes of diffoscope's report that are shown."""
CONDITIONS = (
    "another home, working directory, output directory, umask, time zone, locale, hash seed "
    "and time; one core; a store with nothing but the packages"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two builds first differ."""

    file: str
    offset: int
    """In the file, in bytes; -1 when only one of the builds has it."""
    meaning: str


def reproduce(request: Request, name: str, directory: Path, doors: Doors) -> None:
    """Build again, apart from all that the first build could have leaned on, and compare.

    `name` is the manifest's; its outputs stand in `directory`.
    Raises: Verdict for the first difference; what the second build raises, as ToolError.
    """
    doors.progress.step("building again under other conditions")
    lock = directory / f"{name}.lock"
    with doors.store.work() as work:
        store = _cold(lockfile.read(lock), doors.store, work / "store")
        again = work / "elsewhere" / "out"
        (work / "home").mkdir()
        again.parent.mkdir()
        run(
            [sys.executable, "-c", _CHILD, *_words(request, lock, store.directory, again)],
            what="building again under other conditions",
            cwd=again.parent,
            env=_environment(work / "home"),
        )
        found = first_difference(directory, again)
        if found is not None:
            raise _verdict(found, directory, again)


def first_difference(one: Path, other: Path) -> Difference | None:
    """The first file, by name, that differs between two output directories; None for none.

    Only files that the first one's SHA256SUMS names count.
    """
    lines = (one / SUMS).read_text(encoding="ascii").splitlines()
    for name in sorted(line.partition("  ")[2] for line in lines):
        if not (other / name).exists():
            return Difference(name, -1, "only one of the builds wrote it")
        first, second = (one / name).read_bytes(), (other / name).read_bytes()
        if first != second:
            offset = _offset(first, second)
            return Difference(name, offset, _meaning(Path(name), first, second, offset))
    return None


def _words(request: Request, lock: Path, store: Path, output: Path) -> list[str]:
    words = ["make", str(request.manifest.absolute()), "--locked", "--offline"]
    words += ["--lock", str(lock.absolute()), "--store", str(store), "--output", str(output)]
    for setting in sorted(request.settings.items()):
        words += ["--set", "=".join(setting)]
    for place in request.components:
        words += ["--components", str(place.absolute())]
    if request.compression is not None:
        words += ["--compression", str(request.compression)]
    return words


def _environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "LC_ALL": "tr_TR.UTF-8",
        "PATH": os.environ.get("PATH", ""),
        "PYTHONHASHSEED": "4711",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(home),
        "TZ": "Pacific/Kiritimati",
    }


def _cold(lock: Lock, warm: Store, place: Path) -> Store:
    """A new store that holds the packages of a lock and nothing else."""
    store = Store(place)
    with warm.work() as work:
        for package in {one.sha256: one for one in (*lock.packages, *lock.toolbox)}.values():
            path = warm.sound(package.sha256)
            if path is None:
                continue  # neither build needs it, or the second one says what it lacks
            try:
                os.link(path, work / package.sha256)
            except OSError:
                shutil.copyfile(path, work / package.sha256)
            store.adopt(work / package.sha256, package.sha256)
    store.put(VOUCHED, words_for((*lock.packages, *lock.toolbox), warm))
    return store


def _verdict(found: Difference, one: Path, other: Path) -> Verdict:
    more = ""
    if found.offset >= 0 and (tool := shutil.which("diffoscope")):
        more = "\n" + in_depth(tool, one / found.file, other / found.file)
    place = f" from byte {found.offset} on" if found.offset >= 0 else ""
    return Verdict(
        f"two builds of one lock differ: {found.file}{place}: {found.meaning}{more}",
        where=str(one / found.file),
        fix="report this with the manifest and its lock: it is a bug in minbuild",
    )


def in_depth(tool: str, one: Path, other: Path) -> str:
    """What diffoscope says of two files that differ. Source: diffoscope(1)."""
    with tempfile.TemporaryDirectory() as work:
        report = Path(work, "report")
        words: list[str | Path] = [
            tool,
            "--max-text-report-size",
            str(MOST_WORDS),
            "--text",
            report,
            one,
            other,
        ]
        try:
            run(words, what="comparing in depth")
        except MinbuildError as error:  # it ends with 1 when files differ; its stderr has warnings
            return report.read_text("utf-8", "replace") if report.exists() else error.what
    return ""


def _offset(one: bytes, other: bytes) -> int:
    """The first byte that differs; found by halves."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high) // 2
        if one[low : middle + 1] == other[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def _meaning(name: Path, one: bytes, other: bytes, offset: int) -> str:
    explain = _MEANINGS.get(name.suffix, _bytes)
    try:
        return explain(one, other, offset)
    except MinbuildError as error:
        return f"its parts cannot be told apart ({error.what})"


def _uki(one: bytes, other: bytes, offset: int) -> str:
    first, second = sections(one, "first"), sections(other, "second")
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            inside = _initramfs(first[name], second[name]) if name == ".initrd" else ""
            return f"section {name}{inside}"
    return f"a header before its sections, or what lies between them (byte {offset})"


def _initramfs(one: bytes, other: bytes) -> str:
    first, second = unpack.members(one), unpack.members(other)
    for raw in sorted(first.keys() | second.keys()):
        if first.get(raw) != second.get(raw):
            return f": {(second | first)[raw].path} in the initramfs"
    return ": the same files, packed otherwise or in another order"


def _raw(one: bytes, other: bytes, offset: int) -> str:
    if offset < START:
        return "the partition table"
    if min(len(one), len(other)) - offset < START // 32:
        return "the second partition table, at the disk's end"
    return f"a partition: byte {offset - START} after the first one's start"


def _lines(one: bytes, other: bytes, offset: int) -> str:
    number = one.count(b"\n", 0, offset) + 1
    rows = (data.splitlines()[number - 1 : number] for data in (one, other))
    said = (row[0].decode("utf-8", "replace").strip()[:120] if row else "" for row in rows)
    return f"line {number}: " + " / ".join(said)


def _bytes(one: bytes, other: bytes, offset: int) -> str:
    return f"{one[offset : offset + 8].hex()} / {other[offset : offset + 8].hex()}"


_MEANINGS: Mapping[str, Callable[[bytes, bytes, int], str]] = {
    ".efi": _uki,
    ".raw": _raw,
    ".json": _lines,
    ".lock": _lines,
}
