"""Protocol between worker and client: tagged blocks over two pipes."""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

BLOCK_HEAD = struct.Struct(">cI")
"""Tag and length of each block."""


class Tag(Enum):
    """The kind of a block."""

    PLAN = b"P"
    """To the worker, first: the programs to start."""
    KEYS = b"K"
    """To the worker: bytes for the console."""
    RUN_COMMAND = b"R"
    """To the worker: name and command line of a program to start, as JSON."""
    POWERED_ON = b"U"
    """From the worker, as all others: QEMU was started."""
    CONSOLE = b"C"
    """Output on the console."""
    DNSMASQ = b"D"
    """dnsmasq's log."""
    SERVERS = b"S"
    """The log of the lab's own servers."""
    QEMU_STDERR = b"Q"
    """QEMU's error messages."""
    QEMU_EXIT = b"X"
    """QEMU's exit code, in decimal."""
    FAILURE = b"F"
    """The texts what, where and fix of an error, as JSON."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The programs and servers that the worker starts; paths are absolute or relative to `work`."""

    work: str
    """The working directory."""
    remove_work: bool
    """True: the worker deletes `work` when it ends, even when its client was killed."""
    environment: dict[str, str]
    qemu: tuple[str, ...]
    """QEMU's command line."""
    dnsmasq: tuple[str, ...]
    """dnsmasq's command line; empty on QEMU's user network."""
    ip: tuple[str, ...]
    """The command line of ip, without arguments; empty on QEMU's user network."""
    echo_port: int
    """TCP port of the echo server; 0 for none."""
    address: str
    """The address on which the lab's servers listen."""
    has_ntp: bool
    """True: a time server listens on UDP port 123."""
    http_directory: str = ""
    """A directory that is served by HTTP on port 80; "" for none."""
    outages: tuple[tuple[float, float], ...] = ()
    """Seconds from the start between which there is no dnsmasq."""
    cards: int = 1
    """Network cards of the machine."""
    silent_dns: bool = False
    """True: the DNS port is open and never answers."""
    tcp_probes: tuple[str, ...] = ()
    """Connections to make, each by `encode_tcp_probe`."""
    ip_commands: str = ""
    """Input of `ip -batch`: the lab's network cards with their addresses."""
    vlan_address: str = ""
    """The address in the VLAN on which the echo server listens, too."""
    host_address: str = ""
    """The host's fixed address; "" for one that dnsmasq's log shows."""


def encode_plan(plan: WorkerPlan) -> bytes:
    """Encode a plan as JSON."""
    return json.dumps(asdict(plan)).encode()


def decode_plan(data: bytes) -> WorkerPlan:
    """Decode a plan from `encode_plan`."""
    values: dict[str, Any] = json.loads(data)
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return WorkerPlan(**{**values, **lists})


def send_block(fd: int, tag: Tag, data: bytes = b"") -> None:
    """Write one block.

    Raises: BrokenPipeError when the other side has closed the pipe.
    """
    remaining = memoryview(BLOCK_HEAD.pack(tag.value, len(data)) + data)
    while remaining:
        remaining = remaining[os.write(fd, remaining) :]


class BlockDecoder:
    """Splits a stream into blocks."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[Tag, bytes]]:
        """Add data; yield the blocks that are complete."""
        self._buffer += data
        while len(self._buffer) >= BLOCK_HEAD.size:
            tag, length = BLOCK_HEAD.unpack_from(self._buffer)
            end = BLOCK_HEAD.size + length
            if len(self._buffer) < end:
                return
            block, self._buffer = self._buffer[BLOCK_HEAD.size : end], self._buffer[end:]
            yield Tag(tag), block


MAX_LINE = 1 << 14
"""Bytes of a line at most; a longer one is split."""


class LineDecoder:
    """Splits a stream of text into lines."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """Add data; yield the lines that are complete, without control codes."""
        self._buffer += data
        *complete, remainder = self._buffer.split(b"\n")
        while len(remainder) > MAX_LINE:
            complete.append(remainder[:MAX_LINE])
            del remainder[:MAX_LINE]
        self._buffer = remainder
        for line in complete:
            for at in range(0, max(len(line), 1), MAX_LINE):
                yield clean_line(bytes(line[at : at + MAX_LINE]))

    def flush(self) -> Iterator[str]:
        """Yield the text after the last line end, if any."""
        if self._buffer:
            yield clean_line(bytes(self._buffer))
        self._buffer = bytearray()


def clean_line(line: bytes) -> str:
    """Decode a line of the console, without escape sequences and control codes."""
    text = line.decode("utf-8", "replace")
    characters = []
    at = 0
    while at < len(text):
        if text[at] == "\x1b":
            at += _measure_escape(text, at)
        else:
            if text[at].isprintable() or text[at] == "\t":
                characters.append(text[at])
            at += 1
    return "".join(characters).rstrip()


def _measure_escape(text: str, at: int) -> int:
    """Measure the escape sequence at `at`. Source: ECMA-48, 5.4 (control sequences)."""
    if text[at + 1 : at + 2] != "[":
        return 2
    end = at + 2
    while end < len(text) and not "@" <= text[end] <= "~":
        end += 1
    return end + 1 - at
