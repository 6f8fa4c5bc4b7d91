r"""Text of strangers in what is written: it obeys neither a terminal nor the output's own syntax.

Names and texts come from packages, images, mirrors and other people's documents. In every output
for people a character that cannot be shown, or that an output would take for its own, is spelled
`\n`, `\x1b`, `\u202e`, as in C and Python; a byte that is no UTF-8 stands as `\xe9` everywhere (see
`paths.spelled`). A backslash that would be taken for such a spelling is spelled `\x5c`, so that
each can be told from the other.
"""

import json
import re

_AMBIGUOUS = re.compile(
    r"\\(?=[tnr]|x(?:[01][0-9a-f]|23|3a|60|7[cf])|u[0-9a-f]{4}|U[0-9a-f]{8})", re.ASCII
)
_CI_COMMANDS = re.compile(r"#(?=#(?:\[|vso\[))|^(\s*):(?=:)")
"""What a CI system obeys in a log: `::error::` at a line's start, `##[error]` anywhere.

Source: GitHub's runner, ActionCommand.cs; Azure Pipelines, "Logging commands".
"""
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNSAFE_JSON = re.compile(
    "[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]|#(?=#)"
)
"""Characters that JSON allows raw, and that terminals, editors or scripts obey."""
_PLAIN_MARKDOWN = re.compile(r"[^\\`@#~$\[\]{}^!]*")
_AUTOLINK = re.compile(r"://|www\.|:[a-z]*:|mailto|\bgh-\d|\b[0-9a-f]{7,40}\b", re.IGNORECASE)
"""What GitHub makes a link, a mention or a picture of without being asked. Source: GFM, 6.9."""


def escape_line(text: str) -> str:
    """Text on one line that no terminal and no CI system obeys."""
    if text.isascii() and text.isprintable() and not _MAY_BE_SPECIAL.search(text):
        return text
    text = _AMBIGUOUS.sub(r"\\x5c", text)
    text = _CI_COMMANDS.sub(lambda found: r"\x23" if found[1] is None else rf"{found[1]}\x3a", text)
    return "".join(one if one.isprintable() else _spell_character(one) for one in text)


_MAY_BE_SPECIAL = re.compile(r"\\|##|^\s*::")


def escape_lines(text: str) -> str:
    """Text of several lines: each one printable, tabs as they are."""
    return "\n".join(
        "\t".join(escape_line(part) for part in line.split("\t")) for line in text.split("\n")
    )


def dump_json(document: object, *, indent: int | None = 1, sort: bool = False) -> str:
    """A document as JSON with a newline; what terminals or scripts obey is spelled as JSON does."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        document, indent=indent, sort_keys=sort, ensure_ascii=False, separators=separators
    )
    return escape_json(text) + "\n"


def escape_json(text: str) -> str:
    r"""JSON whose strings hold no lone surrogate and nothing that is obeyed.

    A surrogate that stands for a byte becomes `\xe9`, as names have it.
    """
    text = _UNSAFE_JSON.sub(lambda found: _spell_utf16(found[0]), text)
    return _SURROGATES.sub(lambda found: rf"\\x{ord(found[0]) & 0xFF:02x}", text)


def quote_dot(text: str) -> str:
    """A string of the DOT language."""
    escaped = escape_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def escape_csv(text: str) -> str:
    """A name in a CSV file that no spreadsheet takes for a formula, and no terminal for an order."""
    escaped = escape_line(text)
    return f"'{escaped}" if escaped.startswith(("=", "+", "-", "@")) else escaped


def format_code(text: str) -> str:
    """A path or name in Markdown's code style, safe in a table's cell."""
    escaped = escape_line(text).replace("`", r"\x60")
    escaped = escaped.replace("|", r"\x7c" if "\\" in escaped else r"\|")
    return f"`{escaped}`" if escaped else ""


def escape_markdown(text: str) -> str:
    """Text in Markdown, safe in a table's cell; what could become a link or a mention is code."""
    escaped = escape_line(text)
    if _PLAIN_MARKDOWN.fullmatch(escaped) is None or _AUTOLINK.search(escaped):
        return format_code(text)
    for special, replacement in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "\\|"),
        ("*", "\\*"),
        ("_", "\\_"),
    ):
        escaped = escaped.replace(special, replacement)
    return escaped


def escape_markup(text: str) -> str:
    """Text in HTML or XML."""
    import html  # 5 ms, and few outputs are HTML

    return html.escape(escape_line(text))


def quote_attribute(text: str) -> str:
    """An attribute's value in XML, with its quotes."""
    return f'"{escape_markup(text)}"'


def escape_sarif(text: str) -> str:
    """A message of SARIF, in which brackets are links and braces are arguments.

    Source: SARIF 2.1.0, 3.11.5 and 3.11.6.
    """
    escaped = escape_line(text).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return escaped.replace("{", "{{").replace("}", "}}")


def escape_annotation(text: str) -> str:
    """The text of a workflow command. Source: GitHub, "Workflow commands"."""
    return escape_line(text).replace("%", "%25")


def escape_annotation_field(text: str) -> str:
    """A property of a workflow command."""
    return escape_annotation(text).replace(":", "%3A").replace(",", "%2C")


def _spell_character(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return rf"\x{number & 0xFF:02x}"
    if 0x7F < number < 0x100:
        return rf"\u{number:04x}"
    return character.encode("unicode_escape").decode()


def _spell_utf16(character: str) -> str:
    """A character as JSON spells it, in one or two parts."""
    data = character.encode("utf-16-be")
    return "".join(rf"\u{data[at] << 8 | data[at + 1]:04x}" for at in range(0, len(data), 2))
