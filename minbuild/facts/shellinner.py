"""Which commands run others, and which words are scripts.

Source: manual pages of GNU coreutils, findutils and util-linux; dash(1).
"""

from collections.abc import Iterator, Mapping, Sequence

from minbuild.facts.shellwords import Word

SHELLS = ("sh", "dash", "ash", "bash")


def started(name: str, rest: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """The commands that a command runs in turn."""
    if name in _INNER:
        yield _inner(rest, _INNER[name])
    elif name == "find":
        for at, word in enumerate(rest):
            if word.text in ("-exec", "-execdir", "-ok", "-okdir"):
                yield rest[at + 1 : at + 2]


def _inner(words: Sequence[Word], takes: str) -> Sequence[Word]:
    """The command among the words of another one: what follows its options and settings."""
    takes, _, skip = takes.partition(" ")
    left = int(skip or 0)
    at = 0
    while at < len(words):
        text = words[at].text
        if text is None:
            return () if left else words[at:]
        if text == "--":
            at += 1
        elif text.startswith("-") and len(text) > 1:
            at += 2 if len(text) == 2 and text[1] in takes else 1
        elif "=" in text.partition("/")[0]:
            at += 1
        elif left:
            left -= 1
            at += 1
        else:
            return words[at:]
    return ()


_INNER: Mapping[str, str] = {
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


def script_of(name: str, words: Sequence[Word]) -> Word | None:
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
