"""Toolbox whose Python tools are started ahead, and load beside the other work of a build.

Of a build after a small change, 0.2 s of 0.7 s were ukify: Python's start and its imports. Preloaded
it answers in 0.11 s, most of which is to copy the image. Memory in large pages that is kept until
the end (MALLOC_TUNABLES) halves that part, from 0.21 s. The check of the tools' tree, 1,500 files,
goes on in the same process, beside the resolver. See docs/decisions 0015 and 0018.

One preloaded tool serves several processes at once: those that were forked after it was started.
"""

import contextlib
import json
import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from minbuild.cache.store import Store
from minbuild.facts.model import FileEntry
from minbuild.manifest.model import Tool
from minbuild.parallel import is_single_threaded
from minbuild.process import ForkExec
from minbuild.toolbox.install import (
    install_tools,
    is_intact,
    map_confined_links,
    read_bytecode_digests,
    record_bytecode,
)
from minbuild.toolbox.toolbox import Toolbox, is_python_script

SERVER_SCRIPT = Path(__file__).with_name("preload_server.py")
VERIFIED = b"sound"
MALLOC_TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592"
)
"""ukify copies whole images often. It gets memory in large pages, and keeps it: the kernel clears
each page that it hands out. Source: glibc manual, Memory Allocation Tunables."""


class PreloadingToolbox(Toolbox):
    """Toolbox that can start a Python tool ahead; `run` then asks that, and else starts the tool.

    A preloaded tool that fails is run once more in the ordinary way, so its error reads the same.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        entries: Sequence[FileEntry],
        store: Store,
        *,
        arch: str,
        epoch: int = 0,
    ) -> None:
        """See `Toolbox`."""
        super().__init__(tools, entries, store, arch=arch, epoch=epoch)
        self._preloaded: dict[str, PreloadedTool] = {}

    def preload(self, name: str, processes: int = 1) -> None:
        """Check the tools and load a Python script, beside other work; `stop_preloaded` ends it.

        `processes`: how many of ours ask it at once. Does nothing where no process can be forked
        safely, and for a tool that is not installed.
        Raises: ToolError when the tool cannot be started.
        """
        if name in self._preloaded or not is_single_threaded() or not self.install_path.is_dir():
            return
        installed = self._open_installed(self.install_path)
        argv = installed.build_argv(self._find_tool(name))
        if is_python_script(argv):
            self._preloaded[name] = PreloadedTool(
                argv, installed.build_environment(), self._make_verifier(), processes
            )

    def stop_preloaded(self) -> None:
        """End the tools that were started ahead."""
        for name in list(self._preloaded):
            self._preloaded.pop(name).stop()

    def invalidate(self) -> None:
        self.stop_preloaded()
        super().invalidate()

    @cached_property
    def root(self) -> Path:
        """The directory on this machine that is the tools' root; checked in this run."""
        if any(preloaded.is_verified for preloaded in self._preloaded.values()):
            return self.install_path
        return install_tools(tuple(self._entries.values()), self._store)

    def run(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        purpose: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> bytes:
        preloaded = self._preloaded.get(name) if stdin is None else None
        if preloaded is not None and preloaded.is_verified:
            out = preloaded.run(args, cwd=cwd, env=env or {})
            if out is not None:
                record_bytecode(self.root, self._store)
                return out
        return super().run(name, args, purpose=purpose, cwd=cwd, env=env, stdin=stdin)

    def _make_verifier(self) -> Callable[[], bool]:
        """What tells, in the new process, whether the tools are intact."""
        if "root" in self.__dict__:
            return lambda: True  # checked in this run
        entries = tuple(self._entries.values())
        links = map_confined_links(entries)
        digests = read_bytecode_digests(self.install_path, self._store)
        return lambda: is_intact(self.install_path, entries, links, digests)


class PreloadedTool:
    """One Python tool that has been started; `stop` ends it."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        verify: Callable[[], bool],
        processes: int = 1,
    ) -> None:
        """Start it in a process that first calls `verify`, and ends where that is false.

        `argv`: the words that start the script, which comes last. `processes` serve requests, and
        load the script once.
        """
        # whole messages: several processes may ask at once
        self._socket, server_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def verify_and_report() -> bool:
            return verify() and bool(server_socket.send(VERIFIED))

        with server_socket:
            *python, script = argv
            server_argv = [*python, str(SERVER_SCRIPT), script, str(processes)]
            full_environment = {**environment, "GLIBC_TUNABLES": MALLOC_TUNABLES}
            self._process = ForkExec(
                server_argv,
                full_environment,
                stdin=server_socket.fileno(),
                before_exec=verify_and_report,
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
