"""A Python tool that is started ahead, loads while other work goes on, and waits for its arguments.

Most of the time of such a tool is Python's start and its imports. It serves several processes at
once: those that were forked after it was begun.
"""

import contextlib
import json
import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from minbuild.process import ForkExec

SERVER_SCRIPT = Path(__file__).with_name("preload_server.py")
VERIFIED = b"sound"
MALLOC_TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592"
)
"""ukify copies whole images often. It gets memory in large pages, and keeps it: the kernel clears
each page that it hands out. Source: glibc manual, Memory Allocation Tunables."""


class PreloadedTool:
    """One tool that has been started; `end` it."""

    def __init__(
        self,
        python: Sequence[str],
        script: str,
        environment: Mapping[str, str],
        verify: Callable[[], bool],
        processes: int = 1,
    ) -> None:
        """Start it in a process that first finds out whether `check` holds, and else ends.

        `python` is the words that start the script's interpreter. Requests are met by `at_once`
        processes, which load it once.
        """
        # whole messages: several processes may ask at once
        self._socket, server_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def verify_and_report() -> bool:
            return verify() and bool(server_socket.send(VERIFIED))

        with server_socket:
            argv = [*python, str(SERVER_SCRIPT), script, str(processes)]
            full_environment = {**environment, "GLIBC_TUNABLES": MALLOC_TUNABLES}
            self._process = ForkExec(
                argv, full_environment, stdin=server_socket.fileno(), before_exec=verify_and_report
            )

    @cached_property
    def is_verified(self) -> bool:
        """Whether the check held; waits until that is known."""
        # left there: other processes look too. A wait in recv would wake but one of them
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll()
        with contextlib.suppress(OSError):
            return self._socket.recv(len(VERIFIED), socket.MSG_PEEK) == VERIFIED
        return False

    def run(
        self, args: Sequence[str | Path], *, cwd: Path | None, env: Mapping[str, str]
    ) -> bytes | None:
        """Run the tool once; returns its stdout, None when it failed or could not be asked."""
        argv = [os.fspath(word) for word in args]
        request = {"args": argv, "cwd": os.fspath(cwd or "/"), "env": dict(env)}
        with contextlib.ExitStack() as files:
            out = files.enter_context(open(os.memfd_create("stdout"), "rb"))
            reader, writer = os.pipe()
            report = files.enter_context(open(reader, "rb"))
            with open(writer, "wb"), contextlib.suppress(OSError):  # it is gone: nobody reports
                message = json.dumps(request).encode()
                socket.send_fds(self._socket, [message], [out.fileno(), writer])
            try:
                code = report.read()
            except BaseException:
                self._process.kill()  # nothing may write any more
                raise
            out.seek(0)
            return out.read() if code == b"0" else None

    def stop(self) -> None:
        """Let it go; a process that was forked since leaves it to the others."""
        self._socket.close()
        self._process.end()
