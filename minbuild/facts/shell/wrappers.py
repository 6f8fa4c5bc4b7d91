"""Commands that run other commands (`xargs`, `timeout`), and words that are scripts.

Source: manual pages of GNU coreutils, findutils and util-linux; dash(1).
"""

from collections.abc import Iterator, Mapping, Sequence

from minbuild.facts.shell.words import ShellWord

SHELLS = ("sh", "dash", "ash", "bash")


def find_wrapped_commands(
    name: str, arguments: Sequence[ShellWord]
) -> Iterator[Sequence[ShellWord]]:
    """The commands that a command runs in turn."""
    if name in _WRAPPERS:
        yield _skip_options(arguments, _WRAPPERS[name])
    elif name == "find":
        for number, word in enumerate(arguments):
            if word.text in ("-exec", "-execdir", "-ok", "-okdir"):
                yield arguments[number + 1 : number + 2]


def _skip_options(words: Sequence[ShellWord], options: str) -> Sequence[ShellWord]:
    """The command among the words of another one: what follows its options and settings."""
    options, _, skip = options.partition(" ")
    operands = int(skip or 0)
    number = 0
    while number < len(words):
        text = words[number].text
        if text is None:
            return () if operands else words[number:]
        if text == "--":
            number += 1
        elif text.startswith("-") and len(text) > 1:
            number += 2 if len(text) == 2 and text[1] in options else 1
        elif "=" in text.partition("/")[0]:
            number += 1
        elif operands:
            operands -= 1
            number += 1
        else:
            return words[number:]
    return ()


_WRAPPERS: Mapping[str, str] = {
    "env": "uSC",
    "exec": "a",
    "command": "",
    "builtin": "",
    "nohup": "",
    "setsid": "",
    "nice": "n",
    "ionice": "cnpPu",
    "timeout": "ks 1",
    "xargs": "IadEnLPs",
    "stdbuf": "ioe",
    "flock": "wE 1",
    "chrt": " 1",
    "busybox": "",
    "time": "fo",
}
"""Commands that run another: their options that take a word, and how many words go before it.

Source: their manual pages (GNU coreutils, findutils, util-linux).
"""


def find_inline_script(name: str, words: Sequence[ShellWord]) -> ShellWord | None:
    """The word that is a script of its own: of trap, eval, sh -c."""
    if name == "trap" and len(words) > 1 and words[0].text not in ("-", "--", None):
        return words[0]
    if name == "eval" and len(words) == 1:
        return words[0]
    if name in SHELLS:
        for at, word in enumerate(words[:-1]):
            if word.text is not None and word.text.startswith("-") and word.text.endswith("c"):
                return words[at + 1]
    return None
