"""Changing bytes the way that finds faults in parsers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fuzz.seeds import TOKENS

KINDS = 8


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what is done, where (of 2**32), and with which number."""

    kind: int
    place: int
    number: int


def draw(source: random.Random) -> list[Change]:
    """Some changes, few more often than many."""
    count = 1 + min(int(source.expovariate(0.5)), 12)
    return [
        Change(source.randrange(KINDS), source.getrandbits(32), source.getrandbits(32))
        for _ in range(count)
    ]


def mutated(seed: bytes, changes: Sequence[Change], other: bytes = b"") -> bytes:
    """`seed` with changes; `other` is what may be spliced in."""
    data = bytearray(seed)
    for change in changes:
        at = change.place * (len(data) + 1) >> 32
        size = 1 + change.number % 16
        match change.kind:
            case 0 if data:
                data[at % len(data)] ^= 1 << change.number % 8
            case 1 if data:
                data[at % len(data)] = change.number % 256
            case 2:
                del data[at:]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = TOKENS[change.number % len(TOKENS)]
            case 5:
                token = TOKENS[change.number % len(TOKENS)]
                data[at : at + len(token)] = token
            case 6:
                data[at:at] = data[at : at + size * 8]
            case 7 if other:
                start = change.number % len(other)
                data[at : at + size * 4] = other[start : start + size * 4]
            case _:
                pass
    return bytes(data)
