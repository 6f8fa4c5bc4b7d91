"""What a run of the program goes through: frames on its main path, modules, code objects.

Each run is a process of its own: `python -m tools.frames WATCH COMMAND…` runs a command line of
minbuild, and writes what it saw as JSON to the file that TOOLS_FRAMES names. Counted are frames of
functions in minbuild, from `cli.main.run`, which is one, down to the call.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import minbuild

OUT = "TOOLS_FRAMES"
INSIDE = str(Path(minbuild.__file__).parent) + os.sep
ENTRY = "run_command_line"
"""The function of cli.main that every command line goes through."""


@dataclass
class Watch:
    """What one run has shown."""

    uki: list[int] = field(default_factory=list)
    """Frames when ukify is started or, if it waits already, asked."""
    publish: list[int] = field(default_factory=list)
    """Frames when new outputs take their place."""
    needs: dict[int, int] = field(default_factory=dict)
    """Frames when a Need is made → how many."""
    codes: set[CodeType] = field(default_factory=set)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Take an event of Python's own. Source: PEP 578, and the library's table of events."""
        if event == "ctypes.dlsym" and args[1] in ("renameat2", b"renameat2"):
            self.publish.append(depth())
        elif (
            event == "socket.sendmsg"
            or (event == "subprocess.Popen" and "ukify" in str(args[1]))
            or (event == "os.posix_spawn" and "ukify" in str(args[1]))
        ):
            self.uki.append(depth())

    def profile(self, frame: FrameType, event: str, _arg: object) -> None:
        """Note each function of minbuild that is entered."""
        if event == "call" and frame.f_code.co_filename.startswith(INSIDE):
            self.codes.add(frame.f_code)

    def count_needs(self, make: Callable[..., None]) -> Callable[..., None]:
        """Wrap the constructor of Need."""

        def made(*args: object, **kwargs: object) -> None:
            at = depth()
            self.needs[at] = self.needs.get(at, 0) + 1
            make(*args, **kwargs)

        return made

    def as_json(self) -> str:
        """What was seen."""
        modules = [
            name for name, module in sys.modules.items()
            if name.partition(".")[0] == "minbuild" and not is_unused(module)
        ]  # fmt: skip
        return json.dumps({
            "uki": self.uki, "publish": self.publish, "modules": len(modules), "codes": len(self.codes),
            "needs": {str(at): count for at, count in sorted(self.needs.items())},
        })  # fmt: skip


def is_unused(module: ModuleType) -> bool:
    """Whether a module was imported lazily and has not run yet."""
    return type(module).__name__ == "_LazyModule"


def depth() -> int:
    """Frames of minbuild on this thread's stack; those of a thread's own start at its first."""
    frame: FrameType | None = sys._getframe(1)
    count = 0
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(INSIDE):
            count += 1
            if frame.f_code.co_name == ENTRY and path.endswith(f"cli{os.sep}main.py"):
                break
        frame = frame.f_back
    return count


def run_watched(kind: str, *argv: str) -> dict[str, Any]:
    """Run a command line in a process of its own; `kind` is `frames`, `codes` or `modules`."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as report:
        try:
            subprocess.run(
                [sys.executable, "-m", "tools.frames", kind, *argv],
                env={**os.environ, OUT: str(write), "PYTHONHASHSEED": "0"}, pass_fds=(write,),
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=900,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise SystemExit(
                f"minbuild {' '.join(argv)} failed:\n{error.stderr.decode()}"
            ) from error
        finally:
            os.close(write)
        result: dict[str, Any] = json.loads(report.read())
        return result


def _find_need_class() -> type:
    """The class Need, wherever below minbuild.resolve it is defined."""
    import importlib
    import pkgutil

    import minbuild.resolve

    for one in pkgutil.iter_modules(minbuild.resolve.__path__, "minbuild.resolve."):
        kind = getattr(importlib.import_module(one.name), "Need", None)
        if isinstance(kind, type):
            return kind
    raise LookupError("minbuild.resolve has no class Need")


def main(kind: str, argv: list[str]) -> int:
    """Run one command line and report; returns its exit code."""
    from minbuild.cli.main import run_command_line

    watch = Watch()
    if kind == "frames":
        need: Any = _find_need_class()
        need.__init__ = watch.count_needs(need.__init__)
        sys.addaudithook(watch.audit)
    elif kind == "codes":
        threading.setprofile(watch.profile)
        sys.setprofile(watch.profile)
    code = run_command_line(argv)
    sys.setprofile(None)
    with os.fdopen(int(os.environ[OUT]), "w") as report:
        report.write(watch.as_json())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
