"""Fuzz every reader: `python -m tests.fuzz --inputs 1000000`; prints a table of what came out.

A fault is written to tests/fuzz/corpus/TARGET/ and ends the run with exit code 1.
"""

import argparse
import hashlib
import os
import random
import resource
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.fuzz.mutate import draw, mutated
from tests.fuzz.seeds import FOUND, TARGETS, seeds
from tests.fuzz.shape import SHAPED, shaped
from tests.fuzz.targets import survives

SHARES = {
    "deb": 10,
    "archive": 4,
    "elf": 16,
    "module": 16,
    "cpio": 12,
    "image": 6,
    "disk": 4,
    "ext4": 1,
    "erofs": 1,
    "xfs": 1,
    "btrfs": 1,
    "container": 2,
    "packages": 2,
    "budget": 2,
    "ports": 2,
    "kind": 2,
    "sums": 2,
    "lock": 6,
    "manifest": 4,
    "footprint": 4,
    "history": 2,
}
"""Percent of all inputs; a manifest takes the longest to read."""
MEMORY = 1 << 30
"""Bytes of address space beyond what the process has when it starts."""
BATCH = 2000
PROGRESS = 100_000
"""Inputs of a reader between two lines about it."""


def batch(target: str, seed: int, count: int) -> tuple[str, int, int, int]:
    """Feed `count` inputs; returns how many were read, how many refused, and how many faults."""
    _limit()
    source = random.Random(seed)
    known = seeds(target)
    read = faults = 0
    for _ in range(count):
        data = source.choice(known)
        if target in SHAPED and source.random() < 0.5:
            data = shaped(target, data, source)
        else:
            data = mutated(data, draw(source), source.choice(known))
        try:
            read += survives(target, data)
        except BaseException:  # noqa: BLE001 - whatever it is, it is the fault that is looked for
            faults += 1
            place = FOUND / target / hashlib.sha256(data).hexdigest()[:16]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            print(f"{target}: {place}\n{traceback.format_exc()[-1500:]}", file=sys.stderr)
    return target, read, count - read - faults, faults


def _limit() -> None:
    """Let memory that a bomb would take fail, once in each process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MEMORY, hard))


def main() -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--target", action="append", choices=TARGETS, metavar="READER",
                        help="this one alone, with all inputs; may be repeated")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    words = parser.parse_args()
    began = time.monotonic()
    tasks = []
    shares = dict.fromkeys(words.target, 100) if words.target else SHARES
    for target, share in shares.items():
        left = -(-words.inputs * share // 100)
        for number in range(-(-left // BATCH)):
            size = min(BATCH, left - number * BATCH)
            tasks.append((target, words.seed * 1_000_003 + number, size))
    totals = {target: [0, 0, 0] for target in TARGETS}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ProcessPoolExecutor(words.jobs) as pool:
        try:
            for target, *counts in pool.map(batch, *zip(*tasks, strict=True)):
                totals[target] = [a + b for a, b in zip(totals[target], counts, strict=True)]
                if sum(totals[target]) % PROGRESS == 0:
                    print(
                        f"{target}: {sum(totals[target])}, {totals[target][2]} faults",
                        file=sys.stderr,
                        flush=True,
                    )
        except KeyboardInterrupt:  # the table of what was done
            pool.shutdown(cancel_futures=True)
    print(f"{'reader':<10} {'inputs':>9} {'read':>9} {'refused':>9} {'faults':>7}")
    for target, (read, refused, faults) in totals.items():
        if target not in shares:
            continue
        print(f"{target:<10} {read + refused + faults:>9} {read:>9} {refused:>9} {faults:>7}")
    total = sum(map(sum, totals.values()))
    faults = sum(counts[2] for counts in totals.values())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    seconds = time.monotonic() - began
    print(
        f"{total} inputs, {faults} faults, {seconds:.0f} s, at most {peak} MiB of memory a process"
    )
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
