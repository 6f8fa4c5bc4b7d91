"""disk-image-create run on a build, here or in the builder machine: its log, its error, its images."""

import os
import pwd
import shlex
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minbuild.dib import elements as known
from minbuild.dib import here, machine, parcel
from minbuild.dib.elements import Element
from minbuild.dib.log import blame
from minbuild.dib.types import DibIn
from minbuild.errors import ToolError
from minbuild.manifest.types import DibFormat, DibLayout, DibWish
from minbuild.progress import Progress
from minbuild.records import full_disk
from minbuild.run import paste, start, stop

PROGRAM = (
    "import sys; sys.argv[0] = 'disk-image-create'; "
    "from diskimage_builder.disk_image_create import main; main()"
)
"""As its own script starts it, wherever that lies."""
ESP = 64 << 20
SLACK = 48 << 20
_SUFFIX = {DibFormat.SQUASHFS: "squash"}


@dataclass(frozen=True, slots=True)
class Order:
    """One run of disk-image-create."""

    wish: DibWish
    name: str
    """Of the images."""
    build: Path
    """The folder of the host."""
    log: Path
    """Where dib's words go, whatever comes of it."""
    size: int
    """Bytes of the host's files."""
    paths: Sequence[str]
    """Of the host's tree."""

    @property
    def names(self) -> tuple[str, ...]:
        boot = ("minbuild-boot",) if self.wish.layout is DibLayout.GPT else ()
        return ("minbuild-root", *boot, *self.wish.elements)

    @property
    def formats(self) -> tuple[DibFormat, ...]:
        """dib makes squashfs only when it stands first. Source: its disk-image-create, IMAGE_TYPES."""
        return tuple(sorted(self.wish.formats, key=lambda one: one is not DibFormat.SQUASHFS))

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{self.name}.{_SUFFIX.get(one, one)}" for one in self.wish.formats)

    def words(self, out: str) -> tuple[str, ...]:
        """dib's arguments, for images below `out`."""
        return ("-n", "-o", f"{out}/{self.name}", "-t", ",".join(self.formats), *self.names)


def assemble(
    order: Order,
    work: Path,
    *,
    progress: Progress,
    place: DibIn,
    builder: Callable[[Path], machine.Machine],
) -> tuple[Path, ...]:
    """Have dib make images of a host; returns them, in `work`.

    `builder` makes the builder machine, when dib cannot run here or shall not.
    Raises: ToolError when an element cannot be taken, dib cannot run or fails.
    """
    found = known.expand(order.names, known.search_path())
    known.refuse_inside(found, order.paths)
    lack = here.lacking(order.wish.layout, order.wish.formats)
    if place is DibIn.HERE and lack:
        raise ToolError(
            f"disk-image-create cannot run here: this machine lacks {', '.join(lack)}",
            where=str(order.wish.where),
            fix="let it run in a virtual machine: --dib-in vm; or install or load what is lacking",
        )
    if place is DibIn.VM or lack:
        if place is DibIn.AUTO:
            progress.note(f"dib runs in a virtual machine: this one lacks {', '.join(lack)}")
        _there(order, found, work, builder(work), progress)
    else:
        _here(order, work, progress)
    made = tuple(work / name for name in order.files)
    for each in made:
        if each.suffix == ".tar":
            without_devices(each)
    return made


def without_devices(path: Path) -> None:
    """Take the build machine's /dev out of a tar, where dib's own command leaves it."""
    plain = path.with_suffix(".plain")
    with tarfile.open(path) as old, tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            if not member.name.startswith("./dev/"):
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    plain.replace(path)


class _Log:
    """Takes dib's lines: the last one is shown, all are kept."""

    def __init__(self, order: Order, path: Path, progress: Progress) -> None:
        self._order, self._path, self._progress = order, path, progress
        with full_disk(path.parent):
            self._out = path.open("wb", buffering=0)  # to be followed
        self.lines: list[str] = []

    def take(self, raw: bytes) -> None:
        with full_disk(self._path.parent):
            self._out.write(raw)
        self.lines.append(raw.decode("utf-8", "replace").rstrip())
        self._progress.step(f"dib: {self.lines[-1]}")

    def close(self) -> None:
        self._out.close()

    def failed(self, what: str) -> ToolError:
        return ToolError(
            f"{what}\n    {blame(self.lines)}",
            where=f"{self._path}: disk-image-create {paste(self._order.words('.'))}",
            fix="correct what these lines name; the whole log is kept there",
        )


@contextmanager
def _log(order: Order, progress: Progress) -> Iterator[_Log]:
    log = _Log(order, order.log, progress)
    try:
        yield log
    finally:
        log.close()


def _there(
    order: Order,
    elements: Sequence[Element],
    work: Path,
    builder: machine.Machine,
    progress: Progress,
) -> None:
    """Run dib in the builder machine, which is gone afterwards with all that dib left in it."""
    layout = parcel.plain_layout().read_text("utf-8") if _is_plain(order) else ""
    settings = parcel.settings(_sizes(order), layout=layout)
    words = ("python3", "-c", PROGRAM, *order.words(parcel.OUT))
    packed = parcel.pack(words, settings, elements, order.build, work)
    with _log(order, progress) as log:
        result = machine.run(builder, packed, work, log.take, progress.note)
        code = parcel.unpack(result, order.files, work)
        result.unlink()
        if code is None:
            raise log.failed("the builder machine ended before it had a result")
        if code:
            raise log.failed(f"disk-image-create failed with exit code {code}")


def _here(order: Order, work: Path, progress: Progress) -> None:
    """Run dib on this machine, and take away what it left mounted."""
    argv = [sys.executable, "-c", PROGRAM, *order.words(str(work))]
    try:
        with _log(order, progress) as log:
            code = _run(argv, _environment(order, work), work, log.take)
            if code:
                raise log.failed(f"disk-image-create failed with exit code {code}")
    finally:
        here.sweep(work)


def _run(
    argv: Sequence[str], env: Mapping[str, str], work: Path, take: Callable[[bytes], None]
) -> int:
    import subprocess  # noqa: TID251  STDOUT alone: the process is started by the one door

    with start(argv, what="running dib", env=env, cwd=work,
               stderr=subprocess.STDOUT) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                take(raw)
            return process.wait()
        except BaseException:
            stop(process, seconds=30)
            raise


def _is_plain(order: Order) -> bool:
    return order.wish.layout is DibLayout.PLAIN


def _sizes(order: Order) -> dict[str, str]:
    """What the user may set otherwise: dib would reckon with images of some GB."""
    half = order.size * 2 + SLACK
    wanted = half if _is_plain(order) else ESP + 2 * half
    return {
        "DIB_JOURNAL_SIZE": "4",
        "DIB_IMAGE_SIZE": f"{wanted / (1 << 30):.3f}",
        "DIB_NO_TIMESTAMP": "1",
        "DIB_NO_TMPFS": "1",
    }


def _environment(order: Order, work: Path) -> dict[str, str]:
    """The user's own, since elements are steered by it, with our settings in it."""
    programs = work / "bin"
    programs.mkdir()
    _program(
        programs / "minbuild", f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m minbuild "$@"\n'
    )
    if shutil.which("sudo", path=here.search_path()) is None:
        _program(programs / "sudo", here.SUDO)
    for name in ("tmp", "cache", "locks"):
        (work / name).mkdir()
    ours = {
        "PATH": f"{programs}:{here.search_path()}",
        "ELEMENTS_PATH": known.search_path(),
        "DIB_MINBUILD": str(programs / "minbuild"),
        "DIB_MINBUILD_BUILD": str(order.build.resolve()),
        "TMP_DIR": str(work / "tmp"),
        "DIB_LOCKFILES": str(work / "locks"),
        "USER": os.environ.get("USER") or pwd.getpwuid(os.geteuid()).pw_name,
    }
    if _is_plain(order):
        ours["DIB_BLOCK_DEVICE_CONFIG"] = parcel.plain_layout().as_uri()
    defaults = {"DIB_IMAGE_CACHE": str(work / "cache"), **_sizes(order)}
    return {**defaults, **os.environ, **ours}


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
