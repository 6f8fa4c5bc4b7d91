"""Parameters of expensive tests, of which each run takes some: by the seed of the run, or all."""

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

WHOLE = os.environ.get("MINBUILD_ORACLE") == "all"


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
