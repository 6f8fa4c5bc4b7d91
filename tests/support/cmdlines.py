"""Command lines from a generator: words in every way that quotes can stand in them."""

import random
from collections.abc import Callable

from minbuild.manifest.kernel_cmdline import find_word_problem

LETTERS = "abz09,;:/'\\$#{}|&<>*?=~é"
COUNT = 28
"""Of each kind: the kernel hands over at most 32. Source: Linux, CONFIG_INIT_ENV_ARG_LIMIT."""


def words(seed: int) -> tuple[list[str], list[str]]:
    """Words with a value and words without one, which no kernel knows and each is given to init."""
    chance = random.Random(seed)
    return (
        _some(lambda number: _with_value(chance, f"zq{number}v")),
        _some(lambda number: _alone(chance, f"zq{number}f")),
    )


def _some(make: Callable[[int], str]) -> list[str]:
    found: list[str] = []
    while len(found) < COUNT:
        word = make(len(found))
        if not find_word_problem(word):
            found.append(word)
    return found


def _text(chance: random.Random, letters: str = LETTERS) -> str:
    return "".join(chance.choice(letters) for _ in range(chance.randrange(0, 9)))


def _with_value(chance: random.Random, name: str) -> str:
    plain, blank = _text(chance), _text(chance, LETTERS + "   à")
    return chance.choice(
        (
            f"{name}={plain}",
            f'{name}="{blank}"',
            f'"{name}={blank}"',
            f'{name}={plain}"{blank}"',
            f'{name}="{blank}"{plain}',
            f'{name}={plain}"{blank}"{plain}',
            f'{name}="{blank}""{blank}"',
            f'"{name}={plain}"{plain}',
        )
    )


def _alone(chance: random.Random, name: str) -> str:
    plain = _text(chance, LETTERS.replace("=", ""))
    blank = _text(chance, LETTERS.replace("=", "") + "   à")
    return chance.choice((f"{name}{plain}", f'"{name}{blank}"', f'{name}"{blank}"{plain}'))
