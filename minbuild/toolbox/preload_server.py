"""A Python script that is loaded once and then run for each request; runs in the toolbox's Python.

    python ready.py SCRIPT PROCESSES    with a socket of whole messages as stdin

A request is a JSON object {"args", "cwd", "env"} with two open files: stdout, and one that gets
the exit code. Each process meets one after the other, in the memory that the last one has left: for
images, to get it anew takes as long as the work. The end of the socket ends all. Imports nothing of
minbuild, which this Python does not have.
"""

import gc
import importlib.util
import json
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader

MAX_REQUEST_SIZE = 1 << 17
"""Bytes of a request."""


def serve_requests(script: str, processes: int) -> None:
    """Load a script and serve requests, in so many processes, until there can be no more."""
    run = _load_main(script)
    requests = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    environment = dict(os.environ)
    gc.freeze()  # what is loaded stays, and need not be looked through
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    while True:
        message, files, _, _ = socket.recv_fds(requests, MAX_REQUEST_SIZE, 2)
        if not message:
            os._exit(0)
        out, report = files
        os.dup2(out, 1)
        os.close(out)
        code = _run_script(run, script, json.loads(message), environment)
        sys.stdout.flush()
        os.dup2(0, 1)
        _report_exit_code(report, code)
        gc.collect()


def _load_main(script: str) -> Callable[[], object]:
    """The script's main(); loaded as a module, what Python compiles is kept."""
    loader = SourceFileLoader("script", script)
    spec = importlib.util.spec_from_loader("script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["script"] = module
    loader.exec_module(module)
    script_main: Callable[[], object] = module.main
    return script_main


def _run_script(
    run: Callable[[], object],
    script: str,
    request: Mapping[str, object],
    environment: Mapping[str, str],
) -> int:
    """Run the script once, with nothing of the request before, to the end, however that comes."""
    try:
        os.chdir(str(request["cwd"]))
        os.environ.clear()
        os.environ.update(environment)
        os.environ.update(request["env"])  # type: ignore[call-overload]
        tempfile.tempdir = None  # it follows from the environment
        sys.argv = [script, *request["args"]]  # type: ignore[misc]
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  it is told by the exit code, as Python itself does
        traceback.print_exc()
        return 1
    return 0


def _report_exit_code(report: int, code: int) -> None:
    try:
        os.write(report, str(code).encode())
    except BrokenPipeError:
        pass  # who asked is gone
    finally:
        os.close(report)


if __name__ == "__main__":
    serve_requests(sys.argv[1], int(sys.argv[2]))
