"""The command line in a process of its own, forked from a Python that has loaded it.

Loading is nine tenths of what a short command takes. The process has its own directory, environment,
streams and memory, as a command that a shell starts; what is decided when Python starts (hash seed,
locale) is the loaded one's: see `CommandServer.can_run_with`.
"""

import array
import atexit
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minbuild.cli.commands import COMMANDS
from minbuild.cli.main import main

TOP = Path(__file__).parents[2]
SERVER = "from tests.support.forked_command import serve; serve()"
LONGEST = 1 << 22
"""Bytes of a request: the environment is its largest part."""


def is_decided_at_start(name: str) -> bool:
    """Whether Python reads this variable once, when it starts."""
    return name.startswith(("PYTHON", "LC_", "LANG", "LD_"))


def select_decided(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python reads once."""
    return {name: value for name, value in env.items() if is_decided_at_start(name)}


@dataclass
class CommandServer:
    """The loaded Python, which is asked over a socket; one request at a time."""

    connection: socket.socket
    process: "subprocess.Popen[bytes]"
    started_with: Mapping[str, str]
    """What of its environment was decided when it started."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    seconds: float = 0.0
    """Of processor time that all commands took: they are no children of this process."""

    def can_run_with(self, env: Mapping[str, str]) -> bool:
        """Whether a command in this environment is one that a shell would have started so."""
        return select_decided(env) == self.started_with

    def run(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
        """Exit code (negative: the signal), stdout and stderr."""
        streams = [os.memfd_create(name) for name in ("stdout", "stderr")]
        request = {"argv": argv, "cwd": str(cwd), "env": dict(env), "umask": _read_umask()}
        try:
            with self.lock:
                _send(self.connection, json.dumps(request).encode(), streams)
                data = self.connection.recv(LONGEST)
            assert data, f"the server of commands is gone: {self.process.wait()}"
            answer = json.loads(data)
            self.seconds += answer["seconds"]
            out, err = (_read(stream) for stream in streams)
        finally:
            for stream in streams:
                os.close(stream)
        return answer["code"], out, err

    def end(self) -> None:
        """Let it go, and wait until it has."""
        self.connection.close()
        self.process.wait()


@functools.cache
def command_server() -> CommandServer:
    """That of this process, started when it is first asked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
    started_with = select_decided(os.environ)
    with theirs:
        process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=theirs.fileno(), cwd=TOP)
    server = CommandServer(ours, process, started_with)
    atexit.register(server.end)
    return server


def serve() -> None:
    """Answer requests on stdin until nobody can ask any more."""
    connection = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with whoever asks
    for entry in COMMANDS.values():
        importlib.import_module(f"minbuild.cli.{entry.module}")
    while True:
        data, streams = _receive(connection)
        if not data:
            return
        child = os.fork()
        if child == 0:
            connection.close()
            _become_command(json.loads(data), streams)
        for stream in streams:
            os.close(stream)
        _, status, used = os.wait4(child, 0)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "seconds": used.ru_utime + used.ru_stime,
        }
        connection.send(json.dumps(answer).encode())


def _become_command(request: dict[str, Any], streams: list[int]) -> None:
    """Be what a shell would have started; does not return."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["minbuild", *request["argv"]]
    main()


def _send(connection: socket.socket, data: bytes, files: list[int]) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))
    connection.sendmsg([data], [rights])


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    data, files, _, _ = socket.recv_fds(connection, LONGEST, 2)
    return data, files


def _read(stream: int) -> str:
    with open(stream, encoding="utf-8", errors="strict", closefd=False) as file:
        file.seek(0)
        return file.read()


def _read_umask() -> int:
    return next(
        int(line.split()[1], 8)
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("Umask:")
    )
