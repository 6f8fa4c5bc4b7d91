"""Command lines from a generator: words in every way that quotes can stand in them."""

import random
from collections.abc import Callable

from minbuild.manifest.kernel_cmdline import find_word_problem

LETTERS = "abz09,;:/'\\$#{}|&<>*?=~é"
COUNT = 28
"""Of each kind: the kernel hands over at most 32. Source: Linux, CONFIG_INIT_ENV_ARG_LIMIT."""


def random_parameters(seed: int) -> tuple[list[str], list[str]]:
    """Words with a value and words without one, which no kernel knows and each is given to init."""
    chance = random.Random(seed)
    return (
        _repeat(lambda number: _random_assignment(chance, f"zq{number}v")),
        _repeat(lambda number: _random_flag(chance, f"zq{number}f")),
    )


def _repeat(make: Callable[[int], str]) -> list[str]:
    texts: list[str] = []
    while len(texts) < COUNT:
        word = make(len(texts))
        if not find_word_problem(word):
            texts.append(word)
    return texts


def _random_text(chance: random.Random, letters: str = LETTERS) -> str:
    return "".join(chance.choice(letters) for _ in range(chance.randrange(0, 9)))


def _random_assignment(chance: random.Random, name: str) -> str:
    plain, blank = _random_text(chance), _random_text(chance, LETTERS + "   à")
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


def _random_flag(chance: random.Random, name: str) -> str:
    plain = _random_text(chance, LETTERS.replace("=", ""))
    blank = _random_text(chance, LETTERS.replace("=", "") + "   à")
    return chance.choice((f"{name}{plain}", f'"{name}{blank}"', f'{name}"{blank}"{plain}'))
