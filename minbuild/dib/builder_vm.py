"""The builder machine: how it is started, and what it says."""

import os
import select
import shlex
import shutil
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from minbuild.data import data_directory
from minbuild.dib import build_export
from minbuild.dib.elements import Element
from minbuild.errors import ToolError
from minbuild.lab.accel import (
    ACCEL_ARGS,
    QEMU,
    REAL_SYSTEM,
    KvmHistory,
    TrialFirmware,
    build_data_directory_args,
    can_retry_emulated,
    choose_accelerator,
)
from minbuild.lab.drives import escape_commas
from minbuild.lab.model import Network, Tools
from minbuild.lab.monitor import find_kvm_failure
from minbuild.lab.worker.client import RunDelayMeter, end_with_parent
from minbuild.process import SAME_AS_STDOUT, start_program, stop_program

MEMORY_MIB = 2048
"""MiB."""
DISK_SIZE = 64 << 30
"""Bytes of the disks that the machine works on and writes to; they have holes."""
SILENCE_LIMIT = 120
"""Seconds in which the builder would have spoken under emulation: several times what it needs on an idle machine."""
BUILDER_PREFIX = b"builder: "
POLL_INTERVAL = 1.0
READ_SIZE = 65536
BUILDER_CMDLINE = "console=ttyS0 quiet loglevel=4 rdinit=/init panic=-1"


@dataclass(frozen=True, slots=True)
class BuilderVm:
    """A builder, made and ready to be started."""

    kernel: Path
    initrd: Path
    python: Path
    """dib and its bytecode, a tar."""
    tools: Tools


def run_job(
    machine: BuilderVm,
    job: Path,
    work: Path,
    on_line: Callable[[bytes], None],
    note: Callable[[str], None],
) -> Path:
    """Run an order in the machine to its end; returns the disk with its result.

    `heard` is given every line of the console, and QEMU's own; `note` what the user shall know.
    Where KVM ran nothing, it is done once more by emulation.
    Raises: ToolError when QEMU cannot be started.
    """
    accel = choose_accelerator(None, machine.tools, TrialFirmware.BIOS, nested=False)
    suspect = can_retry_emulated(None, accel)
    reason = _run_once(machine, job, work, on_line, accel.name, suspect=suspect)
    if reason and suspect:
        note(f"under KVM {reason}: the builder machine starts once more, by emulation")
        if not _run_once(machine, job, work, on_line, "tcg", suspect=False):
            KvmHistory(machine.tools).save_fault(
                REAL_SYSTEM, f"under KVM {reason}, and by emulation it went on"
            )
            note("KVM is left alone on this machine from now on: minbuild store forget-kvm")
    return work / "result.disk"


def _run_once(
    machine: BuilderVm,
    job: Path,
    work: Path,
    on_line: Callable[[bytes], None],
    accel: str,
    *,
    suspect: bool,
) -> str:
    """Run it once; returns how it showed that it ran nothing, "" when the builder spoke."""
    scratch, result = work / "scratch.disk", work / "result.disk"
    for disk in (scratch, result):
        disk.unlink(missing_ok=True)
        with disk.open("wb") as file:
            file.truncate(DISK_SIZE)
    argv = [*machine.tools.build_argv(QEMU), *make_qemu_argv(machine, accel)]
    argv += _make_disk_argv(job, written=False) + _make_disk_argv(scratch, written=True)
    argv += _make_disk_argv(result, written=True) + _make_disk_argv(machine.python, written=False)
    with start_program(end_with_parent(tuple(argv), Network.USER), purpose="running the builder machine",
               env=machine.tools.build_environment(), stderr=SAME_AS_STDOUT) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            reason = watch_console(
                process.stdout.fileno(), on_line, RunDelayMeter(process.pid), suspect=suspect
            )
        finally:
            stop_program(process)
    scratch.unlink()
    return reason


def watch_console(
    console: int, on_line: Callable[[bytes], None], granted: RunDelayMeter, *, suspect: bool
) -> str:
    """Give every line until the console ends, or shows that nothing runs; returns why it does.

    `suspect`: what runs the machine may run nothing, and silence is a sign of that. The kernel is
    told to be quiet: only the builder's own word counts.
    """
    began, remainder, spoke = time.monotonic(), b"", False
    while True:
        if select.select([console], [], [], POLL_INTERVAL)[0]:
            data = os.read(console, READ_SIZE)
            *lines, remainder = (remainder + data).split(b"\n")
            if not data:
                lines, remainder = ([remainder] if remainder else []), b""
            for line in lines:
                on_line(line.replace(b"\r", b"") + b"\n")
                spoke = spoke or line.startswith(BUILDER_PREFIX)
                if suspect and not spoke and (reason := find_kvm_failure(line)):
                    return reason
            if not data:
                return "" if spoke else "it ended before the builder said a word"
        silent = granted.to_effective_seconds(time.monotonic() - began)
        if suspect and not spoke and silent >= SILENCE_LIMIT:
            return f"the builder said no word for {silent:.0f} s"


def make_qemu_argv(machine: BuilderVm, accel: str) -> tuple[str, ...]:
    """QEMU's arguments for the machine without its disks."""
    return (
        *("-M", "q35", *ACCEL_ARGS[accel], "-smp", "2", "-m", str(MEMORY_MIB)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *build_data_directory_args(machine.tools),
        *(
            "-kernel",
            str(machine.kernel),
            "-initrd",
            str(machine.initrd),
            "-append",
            BUILDER_CMDLINE,
        ),
        *("-chardev", "stdio,id=c,signal=off", "-serial", "chardev:c"),
    )


def _make_disk_argv(path: Path, *, written: bool) -> tuple[str, ...]:
    """A disk in the order of its letter. A full disk here is an error there, not a halt."""
    options = "cache=unsafe,discard=unmap" if written else "readonly=on"
    drive = f"if=virtio,format=raw,file={escape_commas(path)},werror=report,rerror=report,{options}"
    return ("-drive", drive)


JOB_DIRECTORY = "/job/order"
OUTPUT_DIRECTORY = "/job/out"
EXIT_CODE_MEMBER = "./.code"
"""dib's exit code in the result."""
COPY_CHUNK = 1 << 20
MINBUILD_STUB = f"""\
#!/bin/bash
# What elements call as minbuild: the host's files are resolved already
set -eu
case "${{1:-}}" in
export) exec cat {JOB_DIRECTORY}/root.tar ;;
esac
echo "ERROR: minbuild ${{1:-}} cannot run in the builder machine (use --dib-in here)" >&2
exit 1
"""
VM_ENVIRONMENT = {
    "DIB_LOCKFILES": "/job/locks",
    "DIB_IMAGE_CACHE": "/job/cache",
    "DIB_MINBUILD": f"{JOB_DIRECTORY}/minbuild",
    "DIB_MINBUILD_BUILD": f"{JOB_DIRECTORY}/build",
    "ELEMENTS_PATH": f"{JOB_DIRECTORY}/elements",
    "PYTHONPATH": "/job/python",
    "PYTHONPYCACHEPREFIX": "/job/pyc",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TMP_DIR": "/job/tmp",
    "USER": "root",
}


def write_job(
    argv: Sequence[str],
    settings: Mapping[str, str],
    elements: Sequence[Element],
    build: Path,
    work: Path,
) -> Path:
    """Write the order to `work`: the command, its environment, the elements and the host.

    Elements that come with dib are left out, the builder has them.
    Raises: UsageError when `build` is no build folder.
    """
    top = work / "parcel" / "order"
    (top / "build").mkdir(parents=True)
    build_files = build_export.read_build_directory(build)
    with (top / "root.tar").open("wb") as out:
        build_export.write_root_tar(build_files.nodes, build_files.content, out)
    for name in (build_export.FOOTPRINT, f"{build_files.footprint.name}.efi"):
        shutil.copyfile(build / name, top / "build" / name)
    for element in elements:
        if not element.shipped_with_dib:
            shutil.copytree(element.directory, top / "elements" / element.name,
                            ignore_dangling_symlinks=True)  # fmt: skip
    exports = [f"export {name}={shlex.quote(text)}" for name, text in sorted(settings.items())]
    (top / "run").write_text("\n".join([*exports, f"exec {shlex.join(argv)}\n"]), "utf-8")
    (top / "minbuild").write_text(MINBUILD_STUB, "utf-8")
    (top / "minbuild").chmod(0o755)
    job_path = work / "order.tar"
    with tarfile.open(job_path, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(top, "order")
    shutil.rmtree(top.parent)
    return job_path


def merge_environment(defaults: Mapping[str, str], *, layout: str) -> dict[str, str]:
    """The environment of dib in the builder: the user's variables of dib's, with ours in them.

    `layout`: of the block device, as text; "" for that of the elements.
    """
    environment = {name: text for name, text in os.environ.items() if name.startswith("DIB_")}
    if layout:
        environment["DIB_BLOCK_DEVICE_CONFIG"] = layout
    elif environment.get("DIB_BLOCK_DEVICE_CONFIG", "").startswith("file://"):
        layout_path = Path(environment["DIB_BLOCK_DEVICE_CONFIG"].removeprefix("file://"))
        environment["DIB_BLOCK_DEVICE_CONFIG"] = layout_path.read_text("utf-8")
    return {**defaults, **environment, **VM_ENVIRONMENT}


def find_plain_layout() -> Path:
    """The layout of one file system over the whole image."""
    return data_directory("elements") / "minbuild-boot" / "layouts" / "plain.yaml"


def read_result(result: Path, names: Sequence[str], work: Path) -> int | None:
    """Take the wanted files out of a result into `work`; returns dib's exit code.

    None when the machine left no whole result.
    """
    try:
        with tarfile.open(result, "r:") as tar:
            members = {member.name: member for member in tar if member.isreg()}
            if EXIT_CODE_MEMBER not in members:
                return None
            code = int(_open_member(tar, members[EXIT_CODE_MEMBER]).read())
            for name in names:
                member = members.get(f"./{name}")
                if member is not None:
                    _copy_sparse(_open_member(tar, member), work / name)
    except (tarfile.TarError, ValueError):
        return None
    except OSError as error:
        raise ToolError(
            f"an image of dib cannot be written: {error.strerror}",
            where=str(error.filename or work),
            fix="free space there, or name another store: --store DIR",
        ) from error
    return code


def _open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None  # it is regular
    return file


def _copy_sparse(source: IO[bytes], target: Path) -> None:
    """Copy with holes where there are only zeros."""
    with target.open("wb") as out:
        while chunk := source.read(COPY_CHUNK):
            if chunk.count(0) == len(chunk):
                out.seek(len(chunk), os.SEEK_CUR)
            else:
                out.write(chunk)
        out.truncate()
