"""The kernel's command line: its words as the kernel separates them, and how long it may be.

Source: Linux, lib/cmdline.c (next_arg), lib/ctype.c, kernel/params.c (parse_args).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minbuild.manifest.nodes import Node
from minbuild.manifest.scalars import Text
from minbuild.manifest.shape import Json, Reading

BLANKS = " \t\n\v\f\r\xa0"
"""Bytes that end a word, as Latin-1; 0xA0 is part of letters such as à in UTF-8."""
END = "--"
"""Words behind it are for init and not for the kernel."""
LARGEST = {
    "amd64": 2048, "arm64": 2048, "armhf": 1024, "i386": 2048, "loong64": 4096, "ppc64el": 2048,
    "riscv64": 1024, "s390x": 4096,
}  # fmt: skip
"""Bytes with the zero at the end. Source: Linux, COMMAND_LINE_SIZE in arch/*/include (uapi/)asm/setup.h."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One word as the kernel takes it: quotes around the word or its value are gone."""

    name: str
    value: str | None
    """None: the word has no `=`."""


def split(line: str) -> tuple[str, ...]:
    """The words of a command line with their quotes: a blank within double quotes ends none."""
    words: list[str] = []
    text = line.encode("utf-8", "surrogateescape").decode("latin-1")
    at = 0
    while at < len(text):
        if text[at] in BLANKS:
            at += 1
            continue
        start, quoted = at, False
        while at < len(text) and (quoted or text[at] not in BLANKS):
            quoted ^= text[at] == '"'
            at += 1
        words.append(text[start:at].encode("latin-1").decode("utf-8", "surrogateescape"))
    return tuple(words)


def parameter(word: str) -> Parameter:
    """Name and value of one word."""
    whole = word.startswith('"')
    text = word[1:] if whole else word
    equals = text.find("=", 1)
    end = len(text) - (whole and len(text) > 0 and text.endswith('"'))
    if equals < 0:
        return Parameter(text[:end], None)
    value = text[equals + 1 :]
    if value.startswith('"'):
        value = value[1:]
        return Parameter(text[:equals], value.removesuffix('"'))
    return Parameter(text[:equals], text[equals + 1 : max(end, equals + 1)])


def fault(word: str) -> str:
    """Why the kernel would not take `word` as one word; "" when it does."""
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in word):
        return "it holds a control character"
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in word):
        return "it holds half of a surrogate pair"
    if word.count('"') % 2:
        return "a double quote is not closed"
    if split(word) == (word,):
        return ""
    if " " in word:
        return "a blank stands outside of double quotes"
    return "it is empty" if not word else "the kernel takes a letter of it for a blank"


def join(*lists: Sequence[str]) -> str:
    """One line of the words of several lists, later ones last; words for init come after all."""
    own = [word for words in lists for word in _before(words)]
    of_init = [word for words in lists for word in words[len(_before(words)) + 1 :]]
    return " ".join((*own, END, *of_init) if of_init else own)


def add(line: str, more: Iterable[str]) -> str:
    """A line and words that the kernel itself is to see last, before those for init."""
    return join(split(line), tuple(more))


def _before(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index(END)] if END in words else words


class Word:
    """One word of a command line; with blanks when they stand in double quotes."""

    def read(self, node: Node, reading: Reading) -> str | None:
        text = _TEXT.read(node, reading)
        if text is None or (reading.render is None and "{" in text):
            return text
        why = fault(text)
        if why:
            fix = 'write one word for each list item, a value with blanks as name="a value"'
            reading.problems.add(f"{text!r} is not one word: {why}", node.where, fix)
        return None if why else text

    def schema(self) -> Json:
        word = r'([^\u0000- "\u007f]|"[^\u0000-\u001f"\u007f]*")+'
        return {"type": "string", "pattern": rf"^(?:{word})$|\{{[{{%#]"}


_TEXT = Text("one word")
