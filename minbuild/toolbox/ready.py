"""A Python script that is loaded once and then run for each request; runs in the toolbox's Python.

    python ready.py SCRIPT      with a socket of whole messages as stdin

A request is a JSON object {"args", "cwd", "env"} with two open files: stdout, and one that gets
the exit code. Each runs in a process of its own, forked from the loaded script; the end of the
socket ends all. Imports nothing of minbuild, which this Python does not have.
"""

import importlib.util
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader

LONGEST = 1 << 17
"""Bytes of a request."""


def main(script: str) -> None:
    """Load a script and serve requests until there can be no more."""
    run = _load(script)
    requests = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what was forked
    while True:
        message, files, _, _ = socket.recv_fds(requests, LONGEST, 2)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _serve(run, script, json.loads(message), files)
        for file in files:
            os.close(file)


def _load(script: str) -> Callable[[], object]:
    """The script's main(); loaded as a module, what Python compiles is kept."""
    loader = SourceFileLoader("script", script)
    spec = importlib.util.spec_from_loader("script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["script"] = module
    loader.exec_module(module)
    found: Callable[[], object] = module.main
    return found


def _serve(
    run: Callable[[], object], script: str, request: dict[str, object], files: Sequence[int]
) -> None:
    """Run the script once and leave this process."""
    out, report = files
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(out, 1)
        os.dup2(0, 2)
        os.chdir(str(request["cwd"]))
        os.environ.update(request["env"])  # type: ignore[call-overload]
        sys.argv = [script, *request["args"]]  # type: ignore[misc]
        code = _code(run)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(report, str(code).encode())
    finally:
        os._exit(code)


def _code(run: Callable[[], object]) -> int:
    """Run to the end, however that comes."""
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  it is told by the exit code, as Python itself does
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
