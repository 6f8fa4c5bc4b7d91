"""Shares of a list of builds, one for each machine: the same cut everywhere, without talking."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from minbuild.errors import UsageError
from minbuild.pipeline.session import BuildRequest, locate_provisional_lock

START_COST = 15
"""What the first host of a lock costs a machine, in further hosts of that lock: its packages are
fetched and read. Measured with all of them in a store nearby: 5.0 s of processor against 0.34."""
SIZE_WITHOUT_LOCK = 64 << 10
"""Bytes that count for a lock which is not written yet."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One share of several: `index` of `count`, from 1."""

    index: int
    count: int


@dataclass(frozen=True, slots=True, order=True)
class _Unit:
    """A build as it is cut: those of one lock stand together."""

    group: str
    name: str
    position: int
    """In the list of requests."""
    cost: int


def parse_shard(text: str) -> Shard:
    """Read I/N.

    Raises: UsageError.
    """
    index, slash, count = text.partition("/")
    numbers = index.isascii() and index.isdigit() and count.isascii() and count.isdigit()
    if not slash or not numbers or not 1 <= int(index) <= int(count):
        raise UsageError(
            f"--shard {text} is not a share of several",
            fix="write I/N with I from 1 to N, like --shard 2/8",
        )
    return Shard(int(index), int(count))


def take_shard(requests: Sequence[BuildRequest], shard: Shard) -> tuple[BuildRequest, ...]:
    """The builds of one share, in the order given.

    Every machine cuts alike: what counts are names, and the locks' contents, not paths or order.
    Builds of one lock stay together where that leaves the largest share as small as can be.
    """
    units = sorted(_describe(requests))
    shares = _cut(units, _find_smallest_limit(units, shard.count))
    chosen = shares[shard.index - 1] if shard.index <= len(shares) else []
    return tuple(requests[position] for position in sorted(unit.position for unit in chosen))


def _describe(requests: Sequence[BuildRequest]) -> list[_Unit]:
    units = []
    for position, request in enumerate(requests):
        try:
            lock = locate_provisional_lock(request).read_bytes()
        except OSError:
            lock = b""
        group = hashlib.sha256(lock or request.provisional_name.encode()).hexdigest()
        cost = len(lock) or SIZE_WITHOUT_LOCK
        units.append(_Unit(group, request.provisional_name, position, cost))
    return units


def _find_smallest_limit(units: Sequence[_Unit], count: int) -> int:
    """The smallest cost of the largest share when there are at most `count` of them."""
    low = max((_count_cost(unit, is_first=True) for unit in units), default=0)
    high = max(low, sum(_count_cost(unit, is_first=True) for unit in units))
    while low < high:
        limit = (low + high) // 2
        if len(_cut(units, limit)) <= count:
            high = limit
        else:
            low = limit + 1
    return low


def _count_cost(unit: _Unit, *, is_first: bool) -> int:
    """What a build costs; the first one of its lock in a share costs what the others are spared."""
    return unit.cost * (START_COST + 1 if is_first else 1)


def _cut(units: Sequence[_Unit], limit: int) -> list[list[_Unit]]:
    """Fill one share after the other up to a cost, in order."""
    shares: list[list[_Unit]] = []
    used = 0
    for unit in units:
        is_first = not shares or shares[-1][-1].group != unit.group
        cost = _count_cost(unit, is_first=is_first)
        if not shares or used + cost > limit:
            shares.append([])
            used, cost = 0, _count_cost(unit, is_first=True)
        shares[-1].append(unit)
        used += cost
    return shares
