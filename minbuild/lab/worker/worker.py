"""Worker process of the lab: starts QEMU, dnsmasq and the servers, and ends with its client.

Run as `python -m minbuild.lab.worker.worker`, in new namespaces where the machine allows that. It
reads a plan and commands from stdin and writes blocks to stdout. The end of stdin means that the
client has ended: the worker then ends everything it started. As the first process of a process
namespace it takes all others with it; without one, QEMU ends by PR_SET_PDEATHSIG.
"""

import contextlib
import json
import os
import selectors
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.errors import MinbuildError
from minbuild.lab.worker.network import FrameRelay
from minbuild.lab.worker.protocol import (
    BlockDecoder,
    LineDecoder,
    Tag,
    WorkerPlan,
    decode_plan,
    send_block,
)
from minbuild.lab.worker.servers import (
    EchoServer,
    HttpServer,
    NtpServer,
    SyslogServer,
    WriteLog,
    open_silent_dns,
)
from minbuild.lab.worker.tcp_probe import TcpProber, decode_tcp_probe
from minbuild.process import SAME_AS_STDOUT, describe_failure, start_program, stop_program

if TYPE_CHECKING:
    from subprocess import Popen  # noqa: TID251  the type alone

OUTPUT_CHUNK = 65536


class SideCommand:
    """A program in the lab's network; its output is logged as `NAME: …`, its exit code last."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        loop: selectors.BaseSelector,
        log: WriteLog,
    ) -> None:
        self._name = name
        self._loop = loop
        self._log = log
        self._lines = LineDecoder()
        self._process = start_program(argv, purpose=name, env=environment, stderr=SAME_AS_STDOUT)
        assert self._process.stdout is not None
        self._stdout_fd = self._process.stdout.fileno()
        loop.register(self._stdout_fd, selectors.EVENT_READ, self._read_output)

    def _read_output(self) -> None:
        data = os.read(self._stdout_fd, OUTPUT_CHUNK)
        for line in self._lines.feed(data):
            self._log(f"{self._name}: {line}")
        if data:
            return
        for line in self._lines.flush():
            self._log(f"{self._name}: {line}")
        self._loop.unregister(self._stdout_fd)
        self._log(f"{self._name}: ended with {self._process.wait()}")

    def close(self) -> None:
        """End the program if it still runs."""
        stop_program(self._process)
        with self._process:
            pass


DEVNULL = -3
"""As subprocess.DEVNULL."""
LOG_CHUNK = 65536
POLL_INTERVAL = 0.2
"""Seconds between two looks at the clock while an outage is due to begin or to end."""
PURPOSE = "serving DHCP and DNS"


class Dnsmasq:
    """The DHCP and DNS server, stopped during the outages."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        outages: Sequence[Sequence[float]],
        loop: selectors.BaseSelector,
        handle_log: Callable[[bytes], None],
    ) -> None:
        """Start to serve; `outages` are pairs of seconds from now, `handle_log` gets the log."""
        self._argv = argv
        self._environment = environment
        self._outages = outages
        self._loop = loop
        self._handle_log = handle_log
        self._started_at = time.monotonic()
        self._process: Popen[bytes] | None = None
        self._last_log = b""
        self.tick()

    @property
    def poll_interval(self) -> float | None:
        """Seconds that the loop may sleep; None for no limit."""
        now = time.monotonic() - self._started_at
        return (
            POLL_INTERVAL
            if any(now < end for _, end in self._outages) or self._is_in_outage(now)
            else None
        )

    def tick(self) -> None:
        """Start or stop the server when an outage ends or begins."""
        in_outage = self._is_in_outage(time.monotonic() - self._started_at)
        if in_outage and self._process is not None:
            self.close()
        elif not in_outage and self._process is None:
            self._start()

    def close(self) -> None:
        """Stop the server if it runs."""
        if self._process is None:
            return
        assert self._process.stderr is not None
        self._loop.unregister(self._process.stderr.fileno())
        stop_program(self._process)
        with self._process:
            self._process = None

    def _is_in_outage(self, now: float) -> bool:
        return any(begin <= now < end for begin, end in self._outages)

    def _start(self) -> None:
        process = start_program(self._argv, purpose=PURPOSE, env=self._environment, stdout=DEVNULL)
        assert process.stderr is not None
        fd = process.stderr.fileno()
        self._process = process
        self._loop.register(fd, selectors.EVENT_READ, lambda: self._read_log(fd, process))

    def _read_log(self, fd: int, process: "Popen[bytes]") -> None:
        data = os.read(fd, LOG_CHUNK)
        if data:
            self._last_log = (self._last_log + data)[-LOG_CHUNK:]
            self._handle_log(data)
            return
        raise describe_failure(self._argv, PURPOSE, process.wait(), self._last_log)


PIPE = -1
"""As subprocess.PIPE."""
CHUNK = 65536
STDIN, STDOUT = 0, 1


class Worker:
    """QEMU, the servers and the relay of one boot, driven by one event loop."""

    def __init__(self, plan: WorkerPlan, decoder: BlockDecoder) -> None:
        self._plan = plan
        self._decoder = decoder
        self._loop = selectors.DefaultSelector()
        self._running = True
        self._dnsmasq: Dnsmasq | None = None
        self._exit_stack = contextlib.ExitStack()

    def run(self) -> None:
        """Start all, relay their output until QEMU or the client ends, then end all."""
        with self._exit_stack:
            self._loop.register(STDIN, selectors.EVENT_READ, self._read_commands)
            self._start_servers()
            self._start_qemu()
            send_block(STDOUT, Tag.POWERED_ON)
            while self._running:
                for key, _ in self._loop.select(self._compute_timeout()):
                    key.data()
                self._prober.tick()
                if self._dnsmasq is not None:
                    self._dnsmasq.tick()

    def _compute_timeout(self) -> float | None:
        """Compute the seconds until a timer is due; None for no timer."""
        waits = [
            self._prober.poll_interval,
            self._dnsmasq.poll_interval if self._dnsmasq is not None else None,
        ]
        return min((wait for wait in waits if wait is not None), default=None)

    def _start_servers(self) -> None:
        plan = self._plan
        self._prober = TcpProber(
            [decode_tcp_probe(text) for text in plan.tcp_probes],
            self._loop,
            self._log_server_line,
            plan.host_address,
        )
        if plan.ip:
            self._start_relay(FrameRelay(plan.ip, plan.ip_commands, plan.environment, plan.cards))
        if plan.dnsmasq:
            self._dnsmasq = Dnsmasq(
                plan.dnsmasq, plan.environment, plan.outages, self._loop, self._forward_dnsmasq_log
            )
            self._exit_stack.callback(self._dnsmasq.close)
        if plan.silent_dns:
            self._exit_stack.enter_context(open_silent_dns(plan.address))
        if plan.echo_port:
            EchoServer(plan.address, plan.echo_port, self._loop, self._log_server_line)
            if plan.ip:
                EchoServer(plan.vlan_address, plan.echo_port, self._loop, self._log_server_line)
        if plan.has_ntp:
            NtpServer(plan.address, self._loop, self._log_server_line)
        if plan.ip:
            SyslogServer(plan.address, self._loop, self._log_server_line)
        if plan.http_directory:
            HttpServer(plan.address, Path(plan.http_directory), self._loop, self._log_server_line)

    def _start_relay(self, relay: FrameRelay) -> None:
        self._exit_stack.callback(relay.close)
        self._loop.register(relay.card_socket, selectors.EVENT_READ, relay.relay_from_card)
        self._loop.register(relay.vlan_socket, selectors.EVENT_READ, relay.relay_from_vlan)
        for number, end in enumerate(relay.qemu_sockets):
            self._loop.register(end, selectors.EVENT_READ, partial(relay.relay_from_qemu, number))

    def _start_qemu(self) -> None:
        process = start_program(
            self._plan.qemu,
            purpose="booting the image",
            env=self._plan.environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        self._exit_stack.callback(stop_program, process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._qemu_process = process
        self._console_input = process.stdin.fileno()
        stdout_fd, stderr_fd = process.stdout.fileno(), process.stderr.fileno()
        self._loop.register(
            stdout_fd, selectors.EVENT_READ, lambda: self._forward_console(stdout_fd)
        )
        self._loop.register(
            stderr_fd, selectors.EVENT_READ, lambda: self._forward_stderr(stderr_fd)
        )

    def _read_commands(self) -> None:
        data = os.read(STDIN, CHUNK)
        if not data:
            self._running = False
        for tag, block in self._decoder.feed(data):
            if tag is Tag.KEYS:
                with contextlib.suppress(OSError):
                    os.write(self._console_input, block)
            elif tag is Tag.RUN_COMMAND:
                name, argv = json.loads(block)
                command = SideCommand(
                    name, argv, self._plan.environment, self._loop, self._log_server_line
                )
                self._exit_stack.callback(command.close)

    def _forward_console(self, fd: int) -> None:
        data = os.read(fd, CHUNK)
        if data:
            send_block(STDOUT, Tag.CONSOLE, data)
            return
        self._running = False
        code = self._qemu_process.wait()
        send_block(STDOUT, Tag.QEMU_EXIT, str(code).encode())

    def _forward_stderr(self, fd: int) -> None:
        data = os.read(fd, CHUNK)
        if data:
            send_block(STDOUT, Tag.QEMU_STDERR, data)
        else:
            self._loop.unregister(fd)

    def _forward_dnsmasq_log(self, data: bytes) -> None:
        send_block(STDOUT, Tag.DNSMASQ, data)
        self._prober.learn_addresses(data.decode("utf-8", "replace"))

    def _log_server_line(self, text: str) -> None:
        send_block(STDOUT, Tag.SERVERS, text.encode() + b"\n")


def run_plan() -> int:
    """Run the plan from stdin; errors are sent to the client, so the exit code is 0."""
    decoder = BlockDecoder()
    plan = _receive_plan(decoder)
    if plan is None:
        return 0
    os.chdir(plan.work)
    try:
        Worker(plan, decoder).run()
    except BrokenPipeError:
        pass  # the client has ended
    except MinbuildError as error:
        texts = json.dumps([error.what, error.where, error.fix])
        with contextlib.suppress(BrokenPipeError):
            send_block(STDOUT, Tag.FAILURE, texts.encode())
    finally:
        if plan.remove_work:
            shutil.rmtree(Path(plan.work), ignore_errors=True)
    return 0


def _receive_plan(decoder: BlockDecoder) -> WorkerPlan | None:
    while data := os.read(STDIN, CHUNK):
        for tag, block in decoder.feed(data):
            if tag is Tag.PLAN:
                return decode_plan(block)
    return None


if __name__ == "__main__":
    sys.exit(run_plan())
