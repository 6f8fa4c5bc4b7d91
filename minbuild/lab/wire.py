"""How the process inside the lab and the one outside talk: tagged blocks over two pipes."""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

HEAD = struct.Struct(">cI")
"""Tag and length of each block."""


class Tag(Enum):
    """What a block holds."""

    PLAN = b"P"
    """To the inside, first: what to start."""
    KEYS = b"K"
    """To the inside: bytes for the console."""
    RUN = b"R"
    """To the inside: a program to start, its name and words in JSON."""
    POWER = b"U"
    """From the inside: the machine was switched on."""
    CONSOLE = b"C"
    DNSMASQ = b"D"
    SERVERS = b"S"
    QEMU = b"Q"
    """What QEMU itself complains of."""
    END = b"X"
    """QEMU's exit code, in decimal."""
    FAILURE = b"F"
    """Three texts in JSON: what, where, fix."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the inside starts; every path is absolute or relative to `work`."""

    work: str
    remove: bool
    """True: `work` is deleted when the lab ends, however it ends."""
    environment: dict[str, str]
    qemu: tuple[str, ...]
    dnsmasq: tuple[str, ...]
    """Empty: QEMU's own network is used, and no card is made."""
    ip: tuple[str, ...]
    port: int
    """TCP port of the server that answers with what it is told; 0 for none."""
    address: str
    """Where the lab's servers listen."""
    clock: bool
    """True: a time server listens on UDP port 123."""
    web: str = ""
    """A directory that is served by HTTP on port 80; "" for none."""
    outages: tuple[tuple[float, float], ...] = ()
    """Seconds from the start between which there is no dnsmasq."""
    cards: int = 1
    """Network cards of the machine."""
    silent: bool = False
    """True: the DNS port takes questions and nobody answers."""
    dials: tuple[str, ...] = ()
    """Connections to make, each as `dial.render` writes it."""


def dump(plan: Plan) -> bytes:
    """Render a plan for `load`."""
    return json.dumps(asdict(plan)).encode()


def load(data: bytes) -> Plan:
    """Read what `dump` made."""
    words: dict[str, Any] = json.loads(data)
    lists = {key: tuple(value) for key, value in words.items() if isinstance(value, list)}
    return Plan(**{**words, **lists})


def send(fd: int, tag: Tag, data: bytes = b"") -> None:
    """Write one block whole.

    Raises: BrokenPipeError when nobody reads any more.
    """
    rest = memoryview(HEAD.pack(tag.value, len(data)) + data)
    while rest:
        rest = rest[os.write(fd, rest) :]


class Blocks:
    """Cuts a stream into blocks again."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[Tag, bytes]]:
        """Take more of the stream; give the blocks that are now whole."""
        self._rest += data
        while len(self._rest) >= HEAD.size:
            tag, length = HEAD.unpack_from(self._rest)
            end = HEAD.size + length
            if len(self._rest) < end:
                return
            block, self._rest = self._rest[HEAD.size : end], self._rest[end:]
            yield Tag(tag), block


LONGEST = 1 << 14
"""Bytes of a line; what goes on stands as a line of its own."""


class Lines:
    """Cuts a stream of text into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """Take more of the stream; give the lines that are now whole, without control codes."""
        self._rest += data
        *whole, rest = self._rest.split(b"\n")
        while len(rest) > LONGEST:
            whole.append(rest[:LONGEST])
            del rest[:LONGEST]
        self._rest = rest
        for line in whole:
            for at in range(0, max(len(line), 1), LONGEST):
                yield clean(bytes(line[at : at + LONGEST]))

    def end(self) -> Iterator[str]:
        """Give what stands after the last line's end."""
        if self._rest:
            yield clean(bytes(self._rest))
        self._rest = bytearray()


def clean(line: bytes) -> str:
    """Make text of a console's line: no escape sequences, no control codes."""
    text = line.decode("utf-8", "replace")
    kept = []
    at = 0
    while at < len(text):
        if text[at] == "\x1b":
            at += _escape(text, at)
        else:
            if text[at].isprintable() or text[at] == "\t":
                kept.append(text[at])
            at += 1
    return "".join(kept).rstrip()


def _escape(text: str, at: int) -> int:
    """Length of the escape sequence at `at`. Source: ECMA-48, 5.4 (control sequences)."""
    if text[at + 1 : at + 2] != "[":
        return 2
    end = at + 2
    while end < len(text) and not "@" <= text[end] <= "~":
        end += 1
    return end + 1 - at
