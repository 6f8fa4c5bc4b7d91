"""Kernel command line: split into words as the kernel does, joined, and its longest length.

Source: Linux, lib/cmdline.c (next_arg), lib/ctype.c, kernel/params.c (parse_args).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minbuild.manifest.document.nodes import Node
from minbuild.manifest.document.scalars import Json, ReadContext, Text

BLANKS = " \t\n\v\f\r\xa0"
"""Separators of words, as Latin-1; 0xA0 is a byte of letters such as à in UTF-8."""
INIT_SEPARATOR = "--"
"""Words after it are for init, not for the kernel."""
MAX_LENGTH = {
    "amd64": 2048, "arm64": 2048, "armhf": 1024, "i386": 2048, "loong64": 4096, "ppc64el": 2048,
    "riscv64": 1024, "s390x": 4096,
}  # fmt: skip
"""Bytes with the zero at the end. Source: Linux, COMMAND_LINE_SIZE in arch/*/include (uapi/)asm/setup.h."""


@dataclass(frozen=True, slots=True)
class KernelParameter:
    """A word as the kernel parses it, without quotes: `console=ttyS0`."""

    name: str
    value: str | None
    """None: no `=`."""


def split_cmdline(line: str) -> tuple[str, ...]:
    """Split a command line into words, quotes kept; a blank in double quotes does not separate."""
    words: list[str] = []
    text = line.encode("utf-8", "surrogateescape").decode("latin-1")
    position = 0
    while position < len(text):
        if text[position] in BLANKS:
            position += 1
            continue
        start, quoted = position, False
        while position < len(text) and (quoted or text[position] not in BLANKS):
            quoted ^= text[position] == '"'
            position += 1
        words.append(text[start:position].encode("latin-1").decode("utf-8", "surrogateescape"))
    return tuple(words)


def parse_parameter(word: str) -> KernelParameter:
    """Parse name and value of a word."""
    is_quoted = word.startswith('"')
    text = word[1:] if is_quoted else word
    equals = text.find("=", 1)
    end = len(text) - (is_quoted and len(text) > 0 and text.endswith('"'))
    if equals < 0:
        return KernelParameter(text[:end], None)
    value = text[equals + 1 :]
    if value.startswith('"'):
        value = value[1:]
        return KernelParameter(text[:equals], value.removesuffix('"'))
    return KernelParameter(text[:equals], text[equals + 1 : max(end, equals + 1)])


def find_word_problem(word: str) -> str:
    """Return why the kernel does not parse `word` as one word; "" if it does."""
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in word):
        return "it contains a control character"
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in word):
        return "it contains half of a surrogate pair"
    if word.count('"') % 2:
        return "a double quote is not closed"
    if split_cmdline(word) == (word,):
        return ""
    if " " in word:
        return "it has a blank outside of double quotes"
    return "it is empty" if not word else "the kernel reads one of its letters as a blank"


def join_cmdline(*lists: Sequence[str]) -> str:
    """Join the words of several lists; words for init come last."""
    for_kernel = [word for words in lists for word in _select_kernel_words(words)]
    for_init = [word for words in lists for word in words[len(_select_kernel_words(words)) + 1 :]]
    return " ".join((*for_kernel, INIT_SEPARATOR, *for_init) if for_init else for_kernel)


def append_words(line: str, additions: Iterable[str]) -> str:
    """Append words for the kernel to a line, before those for init."""
    return join_cmdline(split_cmdline(line), tuple(additions))


def _select_kernel_words(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index(INIT_SEPARATOR)] if INIT_SEPARATOR in words else words


class CmdlineWord:
    """Shape of one word of the command line; blanks must be in double quotes."""

    def read(self, node: Node, context: ReadContext) -> str | None:
        text = _WORD_TEXT.read(node, context)
        if text is None or (context.render is None and "{" in text):
            return text
        problem = find_word_problem(text)
        if problem:
            fix = 'write one word for each list item, a value with blanks as name="a value"'
            context.problems.add(f"{text!r} is not one word: {problem}", node.where, fix)
        return None if problem else text

    def schema(self) -> Json:
        word = r'([^\u0000- "\u007f]|"[^\u0000-\u001f"\u007f]*")+'
        return {"type": "string", "pattern": rf"^(?:{word})$|\{{[{{%#]"}


_WORD_TEXT = Text("one word")
