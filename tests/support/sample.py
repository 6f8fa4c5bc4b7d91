"""Expensive tests and parameters, of which each run takes some: by the seed of the run, or all."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])

WHOLE = os.environ.get("MINBUILD_ORACLE") == "all"
FEATURES = (
    *("install", "metrics", "credentials", "hardened", "first boot of edge", "boot loader"),
    *("dib in a machine", "services", "power", "another manifest", "media"),
)
"""Boots of hosts with a feature that no other host of the suite has: half a minute to two of a core."""
KVMS = ("good", "loses a system", "builder machine")
"""Boots under a KVM of each kind; one that is silent is booted by every run."""


def sampled_params(values: Sequence[Any], count: int = 1) -> list[Any]:
    """All values, marked `sampled`; all but `count` of them are marked `long`, too.

    The end of the run prints the seed, MINBUILD_ORACLE_SEED (see tests/conftest.py);
    `-m "long or sampled"` runs the whole.
    """
    if WHOLE:
        return list(values)
    source = random.Random(f"{os.environ['MINBUILD_ORACLE_SEED']} {values}")
    chosen = source.sample(range(len(values)), count)
    return [
        pytest.param(
            value, marks=[pytest.mark.sampled, *([] if number in chosen else [pytest.mark.long])]
        )
        for number, value in enumerate(values)
    ]


def sampled_feature(name: str) -> Callable[[Test], Test]:
    """Mark a test as one of FEATURES or KVMS, of which a run takes one each: see `sampled_params`."""
    names = FEATURES if name in FEATURES else KVMS
    source = random.Random(f"{os.environ['MINBUILD_ORACLE_SEED']} {names}")
    marks = [] if WHOLE else [pytest.mark.sampled]
    if not WHOLE and source.choice(names) != name:
        marks.append(pytest.mark.long)

    def mark(test: Test) -> Test:
        for one in marks:
            test = one(test)
        return test

    assert name in names
    return mark
