"""Fuzz one reader by coverage: `python -m tests.fuzz.guided READER -runs=100000`.

Needs atheris (`pip install minbuild[fuzz]`): it watches which lines of ours an input reaches, and
changes those further that reach new ones. What follows READER is libFuzzer's own (-runs, -seed,
-max_total_time); a fault is written to tests/fuzz/corpus/READER/ and ends the run. Inputs start from
the sound ones, and half of the changes keep to the format (see `shape`).
"""

import hashlib
import random
import struct
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["minbuild"]):
    from tests.fuzz.seeds import FOUND, TARGETS, seeds
    from tests.fuzz.shape import SHAPED, shaped
    from tests.fuzz.targets import survives

LONGEST = 1 << 20
"""Bytes of the longest input."""


def main() -> None:
    """Fuzz; libFuzzer ends the process."""
    words = sys.argv[1:]
    if not words or words[0] not in TARGETS:
        sys.exit(f"name a reader: {', '.join(TARGETS)}")
    target = words[0]

    def one(data: bytes) -> None:
        try:
            survives(target, data)
        except BaseException:
            place = FOUND / target / hashlib.sha256(data).hexdigest()[:16]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            print(f"{target}: {place}", file=sys.stderr)
            raise

    def change(data: bytes, longest: int, seed: int) -> bytes:
        source = random.Random(seed)
        if target in SHAPED and data and source.random() < 0.5:
            try:
                return shaped(target, data, source)[:longest]
            except (ValueError, IndexError, struct.error):  # it has lost its shape
                pass
        return bytes(atheris.Mutate(data, longest))

    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(target)):
            Path(corpus, str(number)).write_bytes(data)
        atheris.Setup(
            [sys.argv[0], f"-max_len={LONGEST}", *words[1:], corpus], one, custom_mutator=change
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
