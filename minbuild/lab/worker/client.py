"""Client of the lab's worker process: starts it, sends commands, reads its output, ends it, and
measures its effective time.

A virtual machine's own clock continues while other processes use the processors, so only the
scheduler's statistics (the "run delay" of schedstat) tell how much time the machine had.
"""

import contextlib
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import minbuild
from minbuild.errors import ToolError
from minbuild.lab.model import Decision, Network, Tools
from minbuild.lab.worker.network import SERVER_CARD, VETH_PEER
from minbuild.lab.worker.protocol import BlockDecoder, Tag, WorkerPlan, encode_plan, send_block
from minbuild.process import minimal_environment, run_program, start_program, stop_program

PROC = Path("/proc")
POLL_INTERVAL = 0.5
"""Seconds between two readings."""


class RunDelayMeter:
    """Measures the time that a process and its descendants waited for a processor.

    Each interval counts the wait of the thread that waited longest, since a virtual machine is as
    slow as its slowest thread, and the steal time of a hypervisor below this machine.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._delays: dict[int, float] = {}
        self._steal_time = read_steal_time()
        self._lost_seconds = 0.0
        self._polled_at = time.monotonic()

    def to_effective_seconds(self, wall_seconds: float) -> float:
        """Convert wall time since the start to the time that the process had."""
        now = time.monotonic()
        if now - self._polled_at >= POLL_INTERVAL:
            self._poll(now - self._polled_at)
            self._polled_at = now
        return max(0.0, wall_seconds - self._lost_seconds)

    def _poll(self, interval: float) -> None:
        previous, self._delays = self._delays, read_run_delays(self._pid)
        longest = max(
            (delay - previous.get(thread, 0.0) for thread, delay in self._delays.items()),
            default=0.0,
        )
        previous_steal_time, self._steal_time = self._steal_time, read_steal_time()
        self._lost_seconds += min(
            interval, max(0.0, longest) + self._steal_time - previous_steal_time
        )


def read_run_delays(pid: int) -> dict[int, float]:
    """Read the seconds that each thread of a process and its descendants has waited, by thread id.

    Empty where the kernel has no such statistics. Source: Linux, scheduler/sched-stats,
    "/proc/<pid>/schedstat".
    """
    seconds: dict[int, float] = {}
    for member in iter_process_tree(pid):
        with contextlib.suppress(OSError):
            for path in (PROC / str(member) / "task").iterdir():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    waited = int((path / "schedstat").read_text().split()[1])
                    seconds[int(path.name)] = waited / 10**9
    return seconds


def read_steal_time() -> float:
    """Read the mean seconds per processor that a hypervisor took since this machine's start.

    0 where the kernel does not count them. Source: proc_stat(5), "steal".
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        ticks = int((PROC / "stat").read_text().splitlines()[0].split()[8])
        return ticks / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
    return 0.0


def iter_process_tree(pid: int) -> Iterator[int]:
    """Yield the ids of a process, its children and theirs. Source: proc_pid_task(5), children."""
    yield pid
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    yield from iter_process_tree(int(child))


UNSHARE_ARGS = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
PIPE = -1
"""As subprocess.PIPE."""
CHUNK = 65536
EXIT_TIMEOUT = 30
"""Seconds for the worker to end its programs and remove its files, on a busy machine."""


def choose_network(requested: Network, tools: Tools) -> Decision:
    """Choose a network namespace where this user may create one, QEMU's user network elsewhere.

    Raises: ToolError when a namespace is requested and cannot be created.
    """
    if requested is Network.USER:
        return Decision(Network.USER, "requested")
    unshare = shutil.which("unshare", path=minimal_environment()["PATH"])
    reason = "the program unshare is missing (package util-linux)"
    if unshare:
        veth_args = ("link", "add", SERVER_CARD, "type", "veth", "peer", "name", VETH_PEER)
        argv = [unshare, *UNSHARE_ARGS, *tools.build_argv("ip"), *veth_args]
        try:
            run_program(argv, purpose="trying a network namespace", env=tools.build_environment())
        except ToolError as error:
            reason = f"no network namespace for this user: {error.what.splitlines()[-1].strip()}"
        else:
            return Decision(Network.NAMESPACE, "dnsmasq in a network namespace")
    if requested is Network.NAMESPACE:
        raise ToolError(reason, fix="use --network user for QEMU's user network")
    return Decision(Network.USER, reason)


def build_worker_argv(network: Network) -> tuple[str, ...]:
    """Build the command line of the worker, in new namespaces where the network is one."""
    python = (sys.executable, "-P", "-m", "minbuild.lab.worker.worker")
    if network is not Network.NAMESPACE:
        return python
    return (
        shutil.which("unshare", path=minimal_environment()["PATH"]) or "unshare",
        *UNSHARE_ARGS,
        *python,
    )


def end_with_parent(argv: tuple[str, ...], network: Network) -> tuple[str, ...]:
    """Make QEMU end with its parent, where no process namespace does that. Source: prctl(2)."""
    setpriv = shutil.which("setpriv", path=minimal_environment()["PATH"])
    if network is Network.NAMESPACE or setpriv is None:
        return argv
    return (setpriv, "--pdeathsig", "KILL", *argv)


class WorkerClient:
    """A running worker process; leaving the `with` block ends it."""

    def __init__(self, network: Network, plan: WorkerPlan) -> None:
        self._plan = plan
        environment = minimal_environment() | {
            "PYTHONPATH": str(Path(minbuild.__file__).parents[1])
        }
        self._process = start_program(
            build_worker_argv(network),
            purpose="starting the lab",
            env=environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input_fd = self._process.stdin.fileno()
        self.output_fd = self._process.stdout.fileno()
        self._decoder = BlockDecoder()
        self.run_delay_meter = RunDelayMeter(self._process.pid)
        """Effective time of the worker and its programs; QEMU waits longest for a processor."""

    def __enter__(self) -> "WorkerClient":
        with contextlib.suppress(BrokenPipeError):
            send_block(self._input_fd, Tag.PLAN, encode_plan(self._plan))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker by closing its stdin; kill it after EXIT_TIMEOUT."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        end = time.monotonic() + EXIT_TIMEOUT
        while self._process.poll() is None and time.monotonic() < end:
            if select.select([self.output_fd], [], [], 0.02)[0]:
                os.read(self.output_fd, CHUNK)
        stop_program(self._process)
        with self._process:
            pass

    def send_keys(self, keys: bytes) -> None:
        """Send keys to the console."""
        with contextlib.suppress(BrokenPipeError):
            send_block(self._input_fd, Tag.KEYS, keys)

    def run_command(self, name: str, argv: tuple[str, ...]) -> None:
        """Start a program in the lab's network."""
        with contextlib.suppress(BrokenPipeError):
            send_block(self._input_fd, Tag.RUN_COMMAND, json.dumps([name, argv]).encode())

    def receive(self, seconds: float) -> Iterator[tuple[Tag, bytes]]:
        """Yield the blocks that have arrived, waiting at most `seconds` for the first.

        Raises: ToolError when the worker failed.
        """
        if not select.select([self.output_fd], [], [], max(seconds, 0))[0]:
            return
        data = os.read(self.output_fd, CHUNK)
        if not data:
            raise self._make_exit_error()
        for tag, block in self._decoder.feed(data):
            if tag is Tag.FAILURE:
                message, where, fix = json.loads(block)
                raise ToolError(message, where=where, fix=fix)
            yield tag, block

    def _make_exit_error(self) -> ToolError:
        assert self._process.stderr is not None
        error_lines = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return ToolError(
            f"the lab's worker process exited: {error_lines[-1] if error_lines else 'no message'}",
            fix="use --network user for QEMU's user network",
        )
