"""How the process inside the lab and the one outside talk: tagged blocks over two pipes."""

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
    """What a block holds."""

    PLAN = b"P"
    """To the inside, first: what to start."""
    KEYS = b"K"
    """To the inside: bytes for the console."""
    RUN_COMMAND = b"R"
    """To the inside: a program to start, its name and words in JSON."""
    POWERED_ON = b"U"
    """From the inside: the machine was switched on."""
    CONSOLE = b"C"
    DNSMASQ = b"D"
    SERVERS = b"S"
    QEMU_STDERR = b"Q"
    """What QEMU itself complains of."""
    QEMU_EXIT = b"X"
    """QEMU's exit code, in decimal."""
    FAILURE = b"F"
    """Three texts in JSON: what, where, fix."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What the inside starts; every path is absolute or relative to `work`."""

    work: str
    remove_work: bool
    """True: `work` is deleted when the lab ends, however it ends."""
    environment: dict[str, str]
    qemu: tuple[str, ...]
    dnsmasq: tuple[str, ...]
    """Empty: QEMU's own network is used, and no card is made."""
    ip: tuple[str, ...]
    echo_port: int
    """TCP port of the server that answers with what it is told; 0 for none."""
    address: str
    """Where the lab's servers listen."""
    has_ntp: bool
    """True: a time server listens on UDP port 123."""
    http_directory: str = ""
    """A directory that is served by HTTP on port 80; "" for none."""
    outages: tuple[tuple[float, float], ...] = ()
    """Seconds from the start between which there is no dnsmasq."""
    cards: int = 1
    """Network cards of the machine."""
    silent_dns: bool = False
    """True: the DNS port takes questions and nobody answers."""
    tcp_probes: tuple[str, ...] = ()
    """Connections to make, each as `dial.render` writes it."""


def encode_plan(plan: WorkerPlan) -> bytes:
    """Render a plan for `load`."""
    return json.dumps(asdict(plan)).encode()


def decode_plan(data: bytes) -> WorkerPlan:
    """Read what `dump` made."""
    values: dict[str, Any] = json.loads(data)
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return WorkerPlan(**{**values, **lists})


def send_block(fd: int, tag: Tag, data: bytes = b"") -> None:
    """Write one block whole.

    Raises: BrokenPipeError when nobody reads any more.
    """
    remaining = memoryview(BLOCK_HEAD.pack(tag.value, len(data)) + data)
    while remaining:
        remaining = remaining[os.write(fd, remaining) :]


class BlockDecoder:
    """Cuts a stream into blocks again."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[Tag, bytes]]:
        """Take more of the stream; give the blocks that are now whole."""
        self._buffer += data
        while len(self._buffer) >= BLOCK_HEAD.size:
            tag, length = BLOCK_HEAD.unpack_from(self._buffer)
            end = BLOCK_HEAD.size + length
            if len(self._buffer) < end:
                return
            block, self._buffer = self._buffer[BLOCK_HEAD.size : end], self._buffer[end:]
            yield Tag(tag), block


MAX_LINE = 1 << 14
"""Bytes of a line; what goes on stands as a line of its own."""


class LineDecoder:
    """Cuts a stream of text into lines."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """Take more of the stream; give the lines that are now whole, without control codes."""
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
        """Give what stands after the last line's end."""
        if self._buffer:
            yield clean_line(bytes(self._buffer))
        self._buffer = bytearray()


def clean_line(line: bytes) -> str:
    """Make text of a console's line: no escape sequences, no control codes."""
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
    """Length of the escape sequence at `at`. Source: ECMA-48, 5.4 (control sequences)."""
    if text[at + 1 : at + 2] != "[":
        return 2
    end = at + 2
    while end < len(text) and not "@" <= text[end] <= "~":
        end += 1
    return end + 1 - at
