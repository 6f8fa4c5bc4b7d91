"""disk-image-create run on a build: its log folded into ours, its error found and shown."""

import os
import pwd
import re
import shutil
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from minbuild.dib import elements as known
from minbuild.dib import here
from minbuild.errors import ToolError
from minbuild.manifest.types import DibFormat, DibLayout, DibWish
from minbuild.progress import Progress
from minbuild.run import paste, start, stop
from minbuild.shipped import shipped

PROGRAM = (
    "import sys; sys.argv[0] = 'disk-image-create'; "
    "from diskimage_builder.disk_image_create import main; main()"
)
"""As its own script starts it, wherever that lies."""
ESP = 64 << 20
SLACK = 48 << 20
_NOISE = re.compile(
    r"INFO |DEBUG |Unmount |\++ |Copying hooks|Running hooks|dib-run-parts|Target:|-+$|$"
)
_ERROR = re.compile(r"\berror\b|Error\b|Exception\b|\bfailed\b|cannot |No such |not found|No space")
_SUFFIX = {DibFormat.SQUASHFS: "squash"}


def assemble(
    wish: DibWish,
    name: str,
    build: Path,
    work: Path,
    *,
    size: int,
    paths: Sequence[str],
    log: Path,
    progress: Progress,
) -> tuple[Path, ...]:
    """Have dib make images of the host in the folder `build`; returns them, in `work`.

    `log`: where its words go, whatever comes of it; `name`: of the images; `size`: bytes of the host's files; `paths`: of the host's tree.
    Raises: ToolError when this machine cannot run dib, an element cannot be taken, or dib fails.
    """
    names = ["minbuild-root", *_boot(wish), *wish.elements]
    path = known.search_path()
    known.refuse_inside(known.expand(names, path), paths)
    lack = here.lacking(wish.layout, wish.formats)
    if lack:
        raise ToolError(
            f"disk-image-create cannot run here: this machine lacks {', '.join(lack)}",
            where=str(wish.where),
            fix="install or load them, or use layout: plain and formats: [tar], which need least",
        )
    formats = ",".join(wish.formats)
    argv = [sys.executable, "-c", PROGRAM, "-n", "-o", str(work / name), "-t", formats, *names]
    try:
        _run(argv, _environment(wish, build, work, size), log, work, progress)
    finally:
        here.sweep(work)
    made = [work / f"{name}.{_SUFFIX.get(one, one)}" for one in wish.formats]
    for each in made:
        if each.suffix == ".tar":
            without_devices(each)
    return tuple(made)


def without_devices(path: Path) -> None:
    """Take the build machine's /dev out of a tar, where dib's own command leaves it."""
    plain = path.with_suffix(".plain")
    with tarfile.open(path) as old, tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            if not member.name.startswith("./dev/"):
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    plain.replace(path)


def blame(lines: Iterable[str]) -> str:
    """The lines of dib's log that say what went wrong."""
    said = [line for line in lines if not _NOISE.match(line)]
    telling = [line for line in said if _ERROR.search(line)]
    return "\n    ".join((telling or said)[-3:])


def _boot(wish: DibWish) -> tuple[str, ...]:
    return ("minbuild-boot",) if wish.layout is DibLayout.GPT else ()


def _run(
    argv: Sequence[str], env: Mapping[str, str], log: Path, work: Path, progress: Progress
) -> None:
    import subprocess  # noqa: TID251  STDOUT alone: the process is started by the one door

    lines: list[str] = []
    with start(argv, what="running dib", env=env, cwd=work,
               stderr=subprocess.STDOUT) as process, log.open("wb") as out:  # fmt: skip
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                out.write(raw)
                lines.append(raw.decode("utf-8", "replace").rstrip())
                progress.step(f"dib: {lines[-1]}")
            code = process.wait()
        except BaseException:
            stop(process, seconds=30)
            raise
    if code:
        raise ToolError(
            f"disk-image-create failed with exit code {code}\n    {blame(lines)}",
            where=f"{log}: disk-image-create {paste(argv[3:])}",
            fix="correct the element that these lines name; the whole log is kept there",
        )


def _environment(wish: DibWish, build: Path, work: Path, size: int) -> dict[str, str]:
    """The user's own, since elements are steered by it, with our settings in it."""
    programs = work / "bin"
    programs.mkdir()
    _program(programs / "minbuild", f'#!/bin/bash\nexec "{sys.executable}" -m minbuild "$@"\n')
    if shutil.which("sudo", path=here.search_path()) is None:
        _program(programs / "sudo", here.SUDO)
    for name in ("tmp", "cache", "locks"):
        (work / name).mkdir()
    plain = shipped("elements") / "minbuild-boot" / "layouts" / "plain.yaml"
    ours = {
        "PATH": f"{programs}:{here.search_path()}",
        "ELEMENTS_PATH": known.search_path(),
        "DIB_MINBUILD": str(programs / "minbuild"),
        "DIB_MINBUILD_BUILD": str(build.resolve()),
        "DIB_NO_TIMESTAMP": "1",
        "DIB_NO_TMPFS": "1",
        "TMP_DIR": str(work / "tmp"),
        "DIB_LOCKFILES": str(work / "locks"),
        "USER": os.environ.get("USER") or pwd.getpwuid(os.geteuid()).pw_name,
    }
    if wish.layout is DibLayout.PLAIN:
        ours["DIB_BLOCK_DEVICE_CONFIG"] = plain.as_uri()
    wanted = (ESP + 2 * (size * 2 + SLACK)) if wish.layout is DibLayout.GPT else size * 2 + SLACK
    defaults = {
        "DIB_IMAGE_CACHE": str(work / "cache"),
        "DIB_JOURNAL_SIZE": "4",
        "DIB_IMAGE_SIZE": f"{wanted / (1 << 30):.3f}",
    }
    return {**defaults, **os.environ, **ours}


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
