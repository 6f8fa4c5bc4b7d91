"""disk-image-create run on a build, here or in the builder machine: its log, its error, its images."""

import os
import pwd
import re
import shlex
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minbuild.dib import builder_vm, local_requirements
from minbuild.dib import elements as known
from minbuild.dib.elements import Element
from minbuild.errors import ToolError
from minbuild.file_io import open_atomic, translate_disk_errors
from minbuild.manifest.image_settings import DibFormat, DibLayout, DibLocation, DibSettings
from minbuild.process import SAME_AS_STDOUT, format_command, start_program, stop_program
from minbuild.progress import Progress

_NOISE = re.compile(
    r"INFO |DEBUG |Unmount |\++ |Copying hooks|Running hooks|dib-run-parts|Target:|-+$|$"
    r"|builder: (?!error)|\[ *\d+\.\d+\] reboot: "
)
BUILDER_ERROR = "builder: error: "
"""The builder machine's own word."""
_ERROR = re.compile(
    r"\berror\b|Error\b|Exception\b|\bfailed\b|cannot |No such |not found|No space"
    r"|Out of memory|Kernel panic"
)


def find_error_lines(lines: Iterable[str]) -> str:
    """The lines of dib's log that say what went wrong."""
    messages = [line for line in lines if not _NOISE.match(line)]
    builder_errors = [line for line in messages if line.startswith(BUILDER_ERROR)]
    if builder_errors:  # of what the kernel says besides, there may be hundreds of lines
        return builder_errors[0]
    error_lines = [line for line in messages if _ERROR.search(line)]
    return "\n    ".join((error_lines or messages)[-3:])


DIB_PROGRAM = (
    "import sys; sys.argv[0] = 'disk-image-create'; "
    "from diskimage_builder.disk_image_create import main; main()"
)
"""As its own script starts it, wherever that lies."""
ESP_SIZE = 64 << 20
IMAGE_SLACK = 48 << 20
_FORMAT_SUFFIXES = {DibFormat.SQUASHFS: "squash"}


@dataclass(frozen=True, slots=True)
class DibJob:
    """One run of disk-image-create."""

    settings: DibSettings
    name: str
    """Of the images."""
    build_directory: Path
    """The folder of the host."""
    log: Path
    """Where dib's words go, whatever comes of it."""
    size: int
    """Bytes of the host's files."""
    paths: Sequence[str]
    """Of the host's tree."""

    @property
    def element_names(self) -> tuple[str, ...]:
        boot = ("minbuild-boot",) if self.settings.layout is DibLayout.GPT else ()
        return ("minbuild-root", *boot, *self.settings.elements)

    @property
    def formats(self) -> tuple[DibFormat, ...]:
        """dib makes squashfs only when it stands first. Source: its disk-image-create, IMAGE_TYPES."""
        return tuple(sorted(self.settings.formats, key=lambda one: one is not DibFormat.SQUASHFS))

    @property
    def image_names(self) -> tuple[str, ...]:
        return tuple(
            f"{self.name}.{_FORMAT_SUFFIXES.get(one, one)}" for one in self.settings.formats
        )

    def make_argv(self, out: str) -> tuple[str, ...]:
        """dib's arguments, for images below `out`."""
        return ("-n", "-o", f"{out}/{self.name}", "-t", ",".join(self.formats), *self.element_names)


def choose_location(job: DibJob, location: DibLocation, progress: Progress) -> DibLocation:
    """Choose where dib runs, HERE or VM, and note why it does not run here.

    Raises: ToolError when an element cannot be taken, or HERE is asked for and this machine lacks
    what dib needs.
    """
    known.refuse_chroot_phases(_expand_elements(job), job.paths)
    missing = local_requirements.list_missing_requirements(
        job.settings.layout, job.settings.formats
    )
    if location is DibLocation.HERE and missing:
        raise ToolError(
            f"disk-image-create cannot run here: this machine lacks {', '.join(missing)}",
            where=str(job.settings.where),
            fix="let it run in a virtual machine: --dib-in vm; or install or load what is lacking",
        )
    if location is DibLocation.AUTO and missing:
        progress.note(f"dib runs in a virtual machine: this one lacks {', '.join(missing)}")
    return DibLocation.VM if location is DibLocation.VM or missing else DibLocation.HERE


def make_dib_images(
    job: DibJob, work: Path, *, progress: Progress, builder: builder_vm.BuilderVm | None
) -> tuple[Path, ...]:
    """Have dib make images of a host, here or in a builder machine; returns them, in `work`.

    Raises: ToolError when dib fails.
    """
    if builder is not None:
        _run_in_vm(job, _expand_elements(job), work, builder, progress)
    else:
        _run_locally(job, work, progress)
    images = tuple(work / name for name in job.image_names)
    for image in images:
        if image.suffix == ".tar":
            remove_device_nodes(image)
    return images


def _expand_elements(job: DibJob) -> tuple[Element, ...]:
    return known.expand_elements(job.element_names, known.make_elements_path())


def remove_device_nodes(path: Path) -> None:
    """Take the build machine's /dev out of a tar, where dib's own command leaves it."""
    with (
        open_atomic(path) as out,
        tarfile.open(path) as source,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in source:
            if not member.name.startswith("./dev/"):
                target.addfile(member, source.extractfile(member) if member.isreg() else None)


class _DibLog:
    """Takes dib's lines: the last one is shown, all are kept."""

    def __init__(self, job: DibJob, path: Path, progress: Progress) -> None:
        self._job, self._path, self._progress = job, path, progress
        with translate_disk_errors(path.parent):
            self._out = path.open("wb", buffering=0)  # to be followed
        self.lines: list[str] = []

    def write_line(self, raw: bytes) -> None:
        with translate_disk_errors(self._path.parent):
            self._out.write(raw)
        self.lines.append(raw.decode("utf-8", "replace").rstrip())
        self._progress.step(f"dib: {self.lines[-1]}")

    def close(self) -> None:
        self._out.close()

    def make_error(self, message: str) -> ToolError:
        return ToolError(
            f"{message}\n    {find_error_lines(self.lines)}",
            where=f"{self._path}: disk-image-create {format_command(self._job.make_argv('.'))}",
            fix="correct what these lines name; the whole log is kept there",
        )


@contextmanager
def _open_log(job: DibJob, progress: Progress) -> Iterator[_DibLog]:
    log = _DibLog(job, job.log, progress)
    try:
        yield log
    finally:
        log.close()


def _run_in_vm(
    job: DibJob,
    elements: Sequence[Element],
    work: Path,
    builder: builder_vm.BuilderVm,
    progress: Progress,
) -> None:
    """Run dib in the builder machine, which is gone afterwards with all that dib left in it."""
    layout = builder_vm.find_plain_layout().read_text("utf-8") if _has_plain_layout(job) else ""
    settings = builder_vm.merge_environment(_choose_sizes(job), layout=layout)
    argv = ("python3", "-c", DIB_PROGRAM, *job.make_argv(builder_vm.OUTPUT_DIRECTORY))
    job_path = builder_vm.write_job(argv, settings, elements, job.build_directory, work)
    with _open_log(job, progress) as log:
        result = builder_vm.run_job(builder, job_path, work, log.write_line, progress.note)
        code = builder_vm.read_result(result, job.image_names, work)
        result.unlink()
        if code is None:
            raise log.make_error("the builder machine ended before it had a result")
        if code:
            raise log.make_error(f"disk-image-create failed with exit code {code}")


def _run_locally(job: DibJob, work: Path, progress: Progress) -> None:
    """Run dib on this machine, and take away what it left mounted."""
    argv = [sys.executable, "-c", DIB_PROGRAM, *job.make_argv(str(work))]
    try:
        with _open_log(job, progress) as log:
            code = _run_process(argv, _make_environment(job, work), work, log.write_line)
            if code:
                raise log.make_error(f"disk-image-create failed with exit code {code}")
    finally:
        local_requirements.clean_up_mounts(work)


def _run_process(
    argv: Sequence[str], env: Mapping[str, str], work: Path, write_line: Callable[[bytes], None]
) -> int:
    with start_program(argv, purpose="running dib", env=env, cwd=work,
               stderr=SAME_AS_STDOUT) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                write_line(raw)
            return process.wait()
        except BaseException:
            stop_program(process, seconds=30)
            raise


def _has_plain_layout(job: DibJob) -> bool:
    return job.settings.layout is DibLayout.PLAIN


def _choose_sizes(job: DibJob) -> dict[str, str]:
    """What the user may set otherwise: dib would reckon with images of some GB."""
    root_size = job.size * 2 + IMAGE_SLACK
    image_size = root_size if _has_plain_layout(job) else ESP_SIZE + 2 * root_size
    return {
        "DIB_JOURNAL_SIZE": "4",
        "DIB_IMAGE_SIZE": f"{image_size / (1 << 30):.3f}",
        "DIB_NO_TIMESTAMP": "1",
        "DIB_NO_TMPFS": "1",
    }


def _make_environment(job: DibJob, work: Path) -> dict[str, str]:
    """The user's own, since elements are steered by it, with our settings in it."""
    programs = work / "bin"
    programs.mkdir()
    _write_program(
        programs / "minbuild", f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m minbuild "$@"\n'
    )
    if shutil.which("sudo", path=local_requirements.make_tool_path()) is None:
        _write_program(programs / "sudo", local_requirements.SUDO_STUB)
    for name in ("tmp", "cache", "locks"):
        (work / name).mkdir()
    settings = {
        "PATH": f"{programs}:{local_requirements.make_tool_path()}",
        "ELEMENTS_PATH": known.make_elements_path(),
        "DIB_MINBUILD": str(programs / "minbuild"),
        "DIB_MINBUILD_BUILD": str(job.build_directory.resolve()),
        "TMP_DIR": str(work / "tmp"),
        "DIB_LOCKFILES": str(work / "locks"),
        "USER": os.environ.get("USER") or pwd.getpwuid(os.geteuid()).pw_name,
    }
    if _has_plain_layout(job):
        settings["DIB_BLOCK_DEVICE_CONFIG"] = builder_vm.find_plain_layout().as_uri()
    defaults = {"DIB_IMAGE_CACHE": str(work / "cache"), **_choose_sizes(job)}
    return {**defaults, **os.environ, **settings}


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
