"""The `minbuild` command in a process that counts what it asks of the machine.

Run as a script: watched.py REPORT WORD…; writes what it counted to REPORT as JSON.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PROCESSES = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}
"""Source: CPython, Doc/library/audit_events."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run asked for."""

    code: int
    opened: tuple[str, ...]
    """Every file that was opened, the code of Python modules apart."""
    processes: int
    connections: int
    read: int
    """Bytes, the code of Python modules apart."""


def count_usage(*args: str, cwd: Path, env: dict[str, str]) -> Usage:
    """Run the command in `cwd` and count."""
    report = cwd / "counted.json"
    argv = [sys.executable, __file__, str(report), *args]
    subprocess.run(argv, cwd=cwd, env=env, capture_output=True, check=True)
    counted = json.loads(report.read_text())
    report.unlink()
    return Usage(**{**counted, "opened": tuple(counted["opened"])})


def main(report: str, argv: list[str]) -> None:
    """Run the command here and write what was counted."""
    events: list[tuple[str, str]] = []

    def note(event: str, args: tuple[object, ...]) -> None:
        subject = args[0] if args else ""
        # a module that is imported lazily would be run by its repr
        events.append((event, "" if isinstance(subject, ModuleType) else str(subject)))

    sys.addaudithook(note)
    before = _count_read_bytes()
    from minbuild.cli.main import run_command_line

    code = run_command_line(argv)
    read = _count_read_bytes() - before
    seen = list(events)
    files = [name for event, name in seen if event == "open"]
    python = [name for name in files if name.endswith((".py", ".pyc")) and Path(name).is_file()]
    counted = {
        "code": code,
        "opened": [name for name in files if not name.endswith((".py", ".pyc"))],
        "processes": sum(event in PROCESSES for event, _ in seen),
        "connections": sum(event == "socket.connect" for event, _ in seen),
        "read": read - sum(Path(name).stat().st_size for name in python),
    }
    Path(report).write_text(json.dumps(counted), encoding="utf-8")


def _count_read_bytes() -> int:
    """Bytes that this process has read so far. Source: proc_pid_io(5), rchar."""
    counters = Path("/proc/self/io").read_text(encoding="ascii")
    return int(counters.split()[1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
