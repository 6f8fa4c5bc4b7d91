"""The root in which a kernel is configured and compiled: the toolchain's files and nothing of this machine.

It is made in namespaces of a user's own, without root and without a network. The toolchain lies at
/usr, read-only; the source at /linux and the objects at /build. Paths in what is compiled are the
same on every machine.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.process import (
    DEVNULL,
    PIPE,
    SAME_AS_STDOUT,
    Process,
    describe_failure,
    minimal_environment,
    start_program,
    stop_program,
)

SOURCE, OBJECTS = "/linux", "/build"
UNSHARE_ARGS = (
    "--user",
    "--map-root-user",
    "--mount",
    "--net",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child",
)
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LC_ALL": "C",
    "PATH": "/usr/bin:/links",
    "TZ": "UTC0",
}
_DEVICES = ("null", "zero", "urandom")
_ENTER = """
set -e
top=$1 tools=$2 source=$3 objects=$4
shift 4
mount -t tmpfs -o mode=755 root "$top"
mkdir "$top/usr" "$top/dev" "$top/tmp" "$top/linux" "$top/build"
mount --bind "$tools/usr" "$top/usr"
mount -o remount,bind,ro,nosuid,nodev "$top/usr"
for link in bin sbin lib lib64; do ln -s "usr/$link" "$top/$link"; done
mkdir "$top/links"
ln -s ../usr/bin/mawk "$top/links/awk"
for device in DEVICES; do
    : >"$top/dev/$device"
    mount --bind "/dev/$device" "$top/dev/$device"
done
mount --bind "$source" "$top/linux"
mount --bind "$objects" "$top/build"
cd "$top"
exec chroot . /usr/bin/env -i "$@"
""".replace("DEVICES", " ".join(_DEVICES))
"""`mount` and `chroot` are this machine's; all that runs after them is the toolchain's. /links has what
Debian's packages leave to update-alternatives."""


@dataclass(frozen=True, slots=True)
class BuildRoot:
    """Where a kernel is built."""

    tools: Path
    """The toolchain, as `Toolbox.root`."""
    source: Path
    objects: Path

    def start_shell(self, purpose: str) -> Process:
        """Start a shell in /linux that reads commands from its stdin; the caller stops it."""
        return self._start("exec sh", purpose, {}, stderr=DEVNULL, stdin=PIPE)

    def run(self, command: str, *, purpose: str, stdin: int = DEVNULL) -> bytes:
        """Run a line of shell in /linux and return its stdout.

        Raises: ToolError with its last lines.
        """
        with self._start(command, purpose, {}, stderr=PIPE, stdin=stdin) as process:
            try:
                out, err = process.communicate()
            except BaseException:
                stop_program(process)
                raise
        if process.returncode:
            raise self._describe(command, purpose, process.returncode, err or out)
        return out

    def stream(
        self, command: str, *, purpose: str, env: Mapping[str, str] | None = None
    ) -> Iterator[str]:
        """Run a line of shell in /linux and yield its lines as they come, stderr's among them.

        Who stops reading ends it. Raises: ToolError with its last lines.
        """
        tail: list[str] = []
        with self._start(command, purpose, env or {}, stderr=SAME_AS_STDOUT) as process:
            assert process.stdout is not None
            try:
                for raw in process.stdout:
                    line = raw.decode("utf-8", "replace").rstrip("\n")
                    tail = [*tail[-30:], line]
                    yield line
                process.wait()
            finally:
                stop_program(process)
        if process.returncode:
            text = "\n".join(tail).encode()
            raise self._describe(command, purpose, process.returncode, text)

    def _start(
        self,
        command: str,
        purpose: str,
        env: Mapping[str, str],
        *,
        stderr: int,
        stdin: int = DEVNULL,
    ) -> Process:
        unshare = shutil.which("unshare", path=minimal_environment()["PATH"])
        if unshare is None:
            raise ToolError("the program unshare is missing", fix="install the package util-linux")
        top = self.objects.parent / "root"
        top.mkdir(exist_ok=True)
        places = [str(path) for path in (top, self.tools, self.source, self.objects)]
        variables = [
            f"{name}={value}" for name, value in sorted((_ENVIRONMENT | dict(env)).items())
        ]
        shell = ["/usr/bin/sh", "-c", f"cd {SOURCE} && {command}"]
        argv = [unshare, *UNSHARE_ARGS, "sh", "-c", _ENTER, "enter", *places, *variables, *shell]
        return start_program(argv, purpose=purpose, stderr=stderr, stdin=stdin)

    def _describe(self, command: str, purpose: str, code: int, output: bytes) -> ToolError:
        error = describe_failure([command.split(maxsplit=1)[0]], purpose, code, output)
        if b"unshare" in output[:200] or b"Operation not permitted" in output:
            error.what += (
                "\n    a kernel is compiled in a user namespace, which this machine may refuse"
            )
        error.where = command
        error.fix = "see the lines above; -vv shows the whole command"
        return error
